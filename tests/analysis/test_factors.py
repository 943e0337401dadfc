"""Factors of pairs of scripted runs whose ratios are known."""

import math

import numpy as np
import pytest

from profiler.analysis.curve import fit_metric, learning_rate_trace
from profiler.analysis.factors import FACTORS, explain
from profiler.errors import ForecastRefusedError
from tests.support.runs import law
from tests.support.scripted_tables import SECONDS, WATTS, Script


def scripted(path, *, pace=1, seconds=1.0, watts=1.0, outside=0.0, steps=600, loss=law, host="a"):
    """A run that learns ``pace`` times as fast, with factors against the default; 2 s of set-up cost as much power."""
    script = Script(path, watts=WATTS * watts)
    script.meta["host"] = host
    for number in range(1, steps + 1):
        script.step(loss(number * pace), seconds=SECONDS * seconds)
        if outside and number % 10 == 0:
            script.span("evaluation", 10 * SECONDS * seconds * outside)
    return script.run()


def why(first, second, **options):
    runs = first, second
    fits = tuple(fit_metric(run, learning_rate_trace(run)) for run in runs)
    return explain(runs, fits, **options)


def factors(found):
    return {one.name: one for one in found.factors}


@pytest.mark.parametrize(
    "known",
    [
        {"steps_to_level": 0.5},
        {"seconds_per_step": 1.3},
        {"watts": 0.8},
        {"outside_steps": 1.25},
        {"steps_to_level": 2.0, "seconds_per_step": 0.6, "watts": 1.1, "outside_steps": 1.1},
        {},
    ],
)
def test_each_factor_is_found(tmp_path, known):
    ratio = {name: known.get(name, 1.0) for name in FACTORS}
    first = scripted(tmp_path / "a")
    second = scripted(
        tmp_path / "b",
        pace=1 / ratio["steps_to_level"],
        seconds=ratio["seconds_per_step"],
        watts=ratio["watts"],
        outside=ratio["outside_steps"] - 1.0,
        steps=int(600 * max(ratio["steps_to_level"], 1.0)),
    )
    found = factors(why(first, second))
    for name, value in ratio.items():
        assert found[name].ratio == pytest.approx(value, rel=0.015), name
        assert found[name].low <= value * 1.015, name
        assert found[name].high >= value / 1.015, name
        if value == 1.0 and name not in ("steps_to_level", "outside_steps"):
            assert found[name].probability < 0.9, name
        elif value != 1.0:
            assert found[name].probability > 0.99, name
    assert math.prod(found[name].ratio for name in FACTORS) == pytest.approx(found["joules"].ratio, rel=1e-9)


def test_the_power_by_kind_of_device(tmp_path):
    runs = [scripted(tmp_path / "a"), scripted(tmp_path / "b", watts=2.0)]
    for run, share in zip(runs, (0.75, 0.5), strict=True):
        run.steps["gpu_joules"] = share * run.steps["total_joules"]
        run.steps["cpu_joules"] = (1.0 - share) * run.steps["total_joules"]
    found = factors(why(*runs))
    assert found["watts.gpu"].ratio == pytest.approx(2.0 * 0.5 / 0.75)
    assert found["watts.cpu"].ratio == pytest.approx(2.0 * 0.5 / 0.25)
    assert "watts.dram" not in found


def test_errors_of_the_same_sensors_cancel(tmp_path):
    first = scripted(tmp_path / "a")
    same, other = scripted(tmp_path / "b", watts=1.02), scripted(tmp_path / "c", watts=1.02, host="b")
    here, there = factors(why(first, same))["watts"], factors(why(first, other))["watts"]
    assert why(first, same).is_same_machine
    assert not why(first, other).is_same_machine
    assert here.probability > 0.99
    # Both sensors have an error of 2 %.
    assert there.high / there.low == pytest.approx(math.exp(2 * 1.645 * 0.02 * math.sqrt(2)), rel=1e-3)
    assert there.probability < 0.9


def test_the_spread_between_seeds_widens_the_steps(tmp_path):
    first, second = scripted(tmp_path / "a"), scripted(tmp_path / "b", pace=1.1)
    alone, spread = (factors(why(first, second, seed_spread=s)) for s in (0.0, 0.1))
    assert spread["steps_to_level"].high / spread["steps_to_level"].low > 1.5
    assert spread["steps_to_level"].probability < alone["steps_to_level"].probability
    assert spread["seconds_per_step"] == alone["seconds_per_step"]


def test_noise_of_the_loss_widens_the_steps(tmp_path):
    rng = np.random.default_rng(0)

    def noisy(number):
        return law(number) * math.exp(0.05 * rng.standard_normal())

    quiet = factors(why(scripted(tmp_path / "a"), scripted(tmp_path / "b")))["steps_to_level"]
    runs = scripted(tmp_path / "c", loss=noisy), scripted(tmp_path / "d", loss=noisy)
    noise = factors(why(*runs))["steps_to_level"]
    assert noise.low <= 1.0 <= noise.high
    assert noise.high / noise.low > quiet.high / quiet.low


def test_a_curve_that_diverged_has_the_uncertainty_of_its_scatter(tmp_path):
    rng = np.random.default_rng(4)

    def broken(number):
        return law(number) * math.exp(0.05 * rng.standard_normal()) if number < 500 else math.nan

    found = factors(why(scripted(tmp_path / "a", loss=broken), scripted(tmp_path / "b", loss=broken)))
    steps = found["steps_to_level"]
    assert steps.high / steps.low > 1.05
    assert steps.low <= 1.0 <= steps.high


def test_a_level_may_be_given(tmp_path):
    found = why(scripted(tmp_path / "a"), scripted(tmp_path / "b", pace=2), level=2.0)
    assert found.level == 2.0
    # law(step) = 2 where step = 6 ** 2.5.
    assert found.steps == pytest.approx((6**2.5, 6**2.5 / 2), rel=0.03)


def test_runs_without_a_common_level_are_refused(tmp_path):
    first = scripted(tmp_path / "a")
    second = scripted(tmp_path / "b", loss=lambda number: 0.2 * law(number))
    with pytest.raises(ForecastRefusedError, match="no level"):
        why(first, second)


def test_a_loss_of_zero_has_no_factors(tmp_path):
    runs = [
        scripted(tmp_path / str(end), loss=lambda step, end=end: max(1.0 - step / end, 0.0))
        for end in (400, 450)
    ]
    with pytest.raises(ForecastRefusedError, match="no level that both crossed"):
        why(*runs, level=0.0)
