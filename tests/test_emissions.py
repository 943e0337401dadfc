"""Conversion of joules into kilowatt-hours, emissions and money."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import EnergyProfiler
from profiler._codecarbon import grid_intensity
from profiler.config import ProfilerConfig
from profiler.emissions import WORLD_ELECTRICITY, Prices, read_prices
from profiler.errors import UsageError
from tests.support.small_training import scripted, train

amounts = st.floats(0.0, 1e18)


def test_costs_of_a_kilowatt_hour():
    prices = Prices(pue=1.5, grid_gco2e_per_kwh=400.0, grid_source="somewhere", price_per_kwh=0.3)
    assert prices.kwh(3.6e6) == 1.5
    assert prices.gco2e(3.6e6) == 600.0
    assert prices.money(3.6e6) == pytest.approx(0.45)


def test_unknown_is_not_zero():
    prices = Prices()
    assert prices.kwh(3.6e6) == 1.0
    assert prices.gco2e(3.6e6) is None
    assert prices.money(3.6e6) is None


def test_zero_is_not_unknown():
    prices = Prices(grid_gco2e_per_kwh=0.0, price_per_kwh=0.0)
    assert prices.gco2e(1e9) == 0.0
    assert prices.money(1e9) == 0.0


@given(joules=amounts, pue=st.floats(1.0, 3.0), grid=st.floats(0.0, 2e3), price=st.floats(0.0, 10.0))
def test_costs_are_proportional_to_energy(joules, pue, grid, price):
    prices = Prices(pue=pue, grid_gco2e_per_kwh=grid, price_per_kwh=price)
    assert prices.kwh(joules) == pytest.approx(joules * pue / 3.6e6)
    assert prices.gco2e(joules) == pytest.approx(grid * prices.kwh(joules))
    assert prices.money(joules) == pytest.approx(price * prices.kwh(joules))


@pytest.mark.parametrize(
    "options",
    [
        {"pue": 0.99},
        {"pue": math.nan},
        {"pue": math.inf},
        {"pue": True},
        {"pue": "1.2"},
        {"grid_gco2e_per_kwh": -1.0},
        {"price_per_kwh": -0.01},
        {"price_per_kwh": math.inf},
        {"country": "Atlantis"},
        {"country": "DEU", "grid_gco2e_per_kwh": 300.0},
    ],
    ids=str,
)
def test_invalid_prices_raise_before_the_run(options):
    with pytest.raises(UsageError):
        ProfilerConfig(**options)


def test_a_run_stores_its_prices(tmp_path):
    with EnergyProfiler(
        run_dir=tmp_path / "run", sensors=[scripted()], country="FRA", price_per_kwh=0.25, pue=1.1
    ) as prof:
        train(2)
    prices = read_prices(prof.run.meta)
    assert prices == Prices(
        pue=1.1,
        grid_gco2e_per_kwh=grid_intensity("FRA")[0],
        grid_source=grid_intensity("FRA")[1],
        price_per_kwh=0.25,
        country="FRA",
    )
    assert prof.run.total_joules == pytest.approx(100 * prof.run.meta["totals"]["window_seconds"], rel=0.05)


def test_a_given_intensity_has_its_own_source(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()], grid_gco2e_per_kwh=50) as prof:
        pass
    assert json.loads((prof.run.path / "run.json").read_text())["prices"] == {
        "pue": 1.0,
        "grid_gco2e_per_kwh": 50,
        "grid_source": "as given",
        "price_per_kwh": None,
    }


def test_a_run_without_prices_stores_none(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        pass
    assert "prices" not in prof.run.meta
    assert read_prices(prof.run.meta) == Prices()


def test_keys_of_a_newer_version_are_ignored():
    assert read_prices({"prices": {"pue": 1.2, "water_litres_per_kwh": 1.8}}) == Prices(pue=1.2)


def test_world_electricity_in_joules():
    assert pytest.approx(1.1124e20) == WORLD_ELECTRICITY.joules
