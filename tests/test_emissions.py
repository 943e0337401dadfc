"""What joules amount to: kilowatt-hours, carbon and money stand beside the joules and never in them."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import EnergyProfiler
from profiler.config import Options
from profiler.emissions import WORLD_ELECTRICITY, Prices, grid_of, prices_of
from profiler.errors import UsageError
from tests.support.small_training import scripted, train

amounts = st.floats(0.0, 1e18)


def test_a_kilowatt_hour_costs_what_is_stated():
    prices = Prices(pue=1.5, grid_gco2e_per_kwh=400.0, grid_source="somewhere", price_per_kwh=0.3)
    assert prices.kwh(3.6e6) == 1.5
    assert prices.gco2e(3.6e6) == 600.0
    assert prices.money(3.6e6) == pytest.approx(0.45)


def test_what_is_not_known_is_not_zero():
    prices = Prices()
    assert prices.kwh(3.6e6) == 1.0
    assert prices.gco2e(3.6e6) is None
    assert prices.money(3.6e6) is None


def test_what_costs_nothing_is_not_unknown():
    prices = Prices(grid_gco2e_per_kwh=0.0, price_per_kwh=0.0)
    assert prices.gco2e(1e9) == 0.0
    assert prices.money(1e9) == 0.0


@given(joules=amounts, pue=st.floats(1.0, 3.0), grid=st.floats(0.0, 2e3), price=st.floats(0.0, 10.0))
def test_costs_are_in_proportion_to_energy(joules, pue, grid, price):
    prices = Prices(pue=pue, grid_gco2e_per_kwh=grid, price_per_kwh=price)
    assert prices.kwh(joules) == pytest.approx(joules * pue / 3.6e6)
    assert prices.gco2e(joules) == pytest.approx(grid * prices.kwh(joules))
    assert prices.money(joules) == pytest.approx(price * prices.kwh(joules))


@pytest.mark.parametrize("country", ["DEU", "deu", "Germany", " germany "])
def test_a_country_is_found_by_code_and_by_name(country):
    intensity, source = grid_of(country)
    assert 300 < intensity < 500
    assert source.startswith("Germany 20")
    assert "Our World in Data (CC BY), in codecarbon" in source


@pytest.mark.parametrize(
    ("country", "message"),
    [
        ("DE", "Use a code of three letters, such as DEU, IND or USA."),
        ("Germny", "Did you mean DEU"),
        ("", "no country ''"),
        ("Central African Republic", "no carbon intensity for Central African Republic"),
    ],
)
def test_a_country_without_a_figure_is_refused(country, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        grid_of(country)


@pytest.mark.parametrize("country", ["SWE", "POL", "USA", "CHN", "India", "France"])
def test_every_intensity_is_that_of_a_life_cycle(country):
    """Grams a kWh: no grid is under wind power's 10 or over coal's 1,000."""
    assert 10 < grid_of(country)[0] < 1000


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
def test_what_cannot_be_a_price_is_refused_before_the_run(options):
    with pytest.raises(UsageError):
        Options(**options)


def test_a_run_keeps_its_prices(tmp_path):
    with EnergyProfiler(
        run_dir=tmp_path / "run", sensors=[scripted()], country="FRA", price_per_kwh=0.25, pue=1.1
    ) as prof:
        train(2)
    prices = prices_of(prof.run.meta)
    assert prices == Prices(
        pue=1.1, grid_gco2e_per_kwh=grid_of("FRA")[0], grid_source=grid_of("FRA")[1], price_per_kwh=0.25
    )
    assert prof.run.total_joules == pytest.approx(100 * prof.run.meta["totals"]["window_seconds"], rel=0.05)


def test_a_figure_of_ones_own_says_so(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()], grid_gco2e_per_kwh=50) as prof:
        pass
    assert json.loads((prof.run.path / "run.json").read_text())["prices"] == {
        "pue": 1.0,
        "grid_gco2e_per_kwh": 50,
        "grid_source": "as given",
        "price_per_kwh": None,
    }


def test_a_run_of_which_nothing_was_said_has_no_prices(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted()]) as prof:
        pass
    assert "prices" not in prof.run.meta
    assert prices_of(prof.run.meta) == Prices()


def test_fields_of_a_newer_version_are_left_aside():
    assert prices_of({"prices": {"pue": 1.2, "water_litres_per_kwh": 1.8}}) == Prices(pue=1.2)


def test_the_yardstick_is_the_world():
    assert pytest.approx(1.1124e20) == WORLD_ELECTRICITY.joules
