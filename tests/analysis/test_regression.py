"""Probability of a regression of scripted runs with a known scatter."""

import math

import numpy as np
import pytest

from profiler.analysis.regression import regression_of
from profiler.errors import UsageError
from tests.support.runs import law
from tests.support.scripted_tables import WATTS, Script


@pytest.fixture
def make(tmp_path):
    """Function that builds a run with steps of a mean power and a relative scatter, on one host."""

    def build(name, factor=1.0, *, scatter=0.02, steps=200, loss=law, seed=0, **meta):
        random = np.random.default_rng(seed)
        script = Script(tmp_path / name)
        script.meta |= {"name": name, "host": "h", **meta}
        for number in range(1, steps + 1):
            script.step(loss(number), watts=WATTS * factor * (1.0 + scatter * random.standard_normal()))
        return script.run()

    return build


@pytest.mark.parametrize(
    ("factor", "limit", "fails"),
    [(1.10, 0.05, True), (1.02, 0.05, False), (0.8, 0.05, False), (1.02, 0.0, True), (1.0, 0.0, False)],
)
def test_an_increase_above_the_limit_is_a_regression(make, factor, limit, fails):
    found = regression_of(make("base"), make("new", factor, seed=1), limit=limit)
    assert found.is_regression is fails
    assert found.ratio.low <= factor <= found.ratio.high
    assert found.ratio.median == pytest.approx(factor, rel=0.01)


def test_a_scatter_that_hides_the_increase_is_not_a_regression(make):
    found = regression_of(make("base", scatter=0.8), make("new", 1.08, scatter=0.8, seed=1), limit=0.05)
    assert 0.05 < found.p_above < 0.95


def test_false_alarms_at_the_limit_are_as_rare_as_stated(make):
    """At a true increase equal to the limit, one comparison in twenty fails."""
    pairs = [(make(f"b{i}", steps=60, seed=i), make(f"n{i}", 1.05, steps=60, seed=99 + i)) for i in range(40)]
    alarms = sum(regression_of(base, new, limit=0.05).is_regression for base, new in pairs)
    assert 0 < alarms <= 6


def test_the_given_spread_lowers_the_certainty(make):
    base, new = make("base"), make("new", 1.1, seed=1)
    alone, wide = (regression_of(base, new, limit=0.05, spread=spread) for spread in (None, 0.1))
    assert alone.is_regression
    assert not wide.is_regression
    assert (alone.spread, wide.spread, wide.repeats) == (None, 0.1, 0)


def test_repeats_of_the_base_give_the_spread_and_a_better_mean(make):
    bases = [make(f"base-{i}", factor, seed=i) for i, factor in enumerate((0.97, 1.0, 1.03))]
    new = make("new", 1.10, seed=9)
    found = regression_of(bases[0], new, limit=0.05, repeats=bases[1:])
    assert found.repeats == 3
    assert found.spread == pytest.approx(0.03, rel=0.1)
    assert found.ratio.median == pytest.approx(1.10, rel=0.01)
    assert not found.is_regression, "three repeats that scatter by 3 % do not show 10 % against 5 %"
    assert regression_of(bases[0], new, limit=0.05).is_regression


def test_sensors_of_different_hosts_have_errors_of_their_own(make):
    same = regression_of(make("base"), make("new", 1.07, seed=1), limit=0.05)
    other = regression_of(make("base"), make("new", 1.07, seed=1, host="other"), limit=0.05)
    assert other.p_above < same.p_above


def test_totals_include_the_time_outside_steps(make):
    base, new = make("base"), make("new", 1.0, seed=1)
    found = regression_of(base, new, limit=0.05, of="total")
    assert found.base.joules == pytest.approx(base.total_joules)
    assert not found.is_regression


def test_the_energy_to_a_level_follows_the_steps_it_takes(make):
    slower = make("new", loss=lambda step: law(step / 1.4), steps=400, seed=1)
    found = regression_of(make("base"), slower, limit=0.05, of="level", level=2.1)
    assert found.ratio.median == pytest.approx(1.4, rel=0.1)
    assert found.is_regression


def test_the_crossing_is_not_known_better_than_the_points_around_it(make):
    found = regression_of(make("base"), make("new", seed=1), limit=0.05, of="level", level=2.1)
    assert 0.0 < found.p_above < 1.0
    assert found.ratio.high > 1.005 * found.ratio.low


def test_a_level_reached_within_the_first_points_is_refused(make):
    refused("within its first points", make("base"), make("new", seed=1), of="level", level=law(1))


def test_a_level_that_the_new_run_missed_by_far_is_a_regression(make):
    flat = make("new", loss=lambda step: max(law(step), 2.3), steps=400, seed=1)
    found = regression_of(make("base"), flat, limit=0.05, of="level", level=2.1)
    assert found.is_regression
    assert found.new.is_least
    assert math.isinf(found.ratio.high)


def refused(match, base, new, **options):
    with pytest.raises(UsageError, match=match):
        regression_of(base, new, limit=0.05, **options)


def test_runs_that_cannot_be_compared_are_refused(make):
    base = make("base")
    refused("needs 10", base, make("one-step", steps=1))
    refused("incomplete: no sensor covers gpu:1", base, make("missing", missing=["gpu:1"]))
    refused("new is failed", base, make("new", status="failed"), of="total")
    refused("new did not reach the loss 2.1", base, make("new", steps=40), of="level", level=2.1)
    refused("base or a repeat of it did not reach", base, make("new"), of="level", level=0.5)


def test_different_devices_are_refused(make):
    base, new = make("base"), make("new")
    new.meta["domains"][0] |= {"name": "cpu:package-0"}
    refused("cover different devices: gpu in base, cpu in new", base, new)
    new.meta["domains"][0] |= {"name": "gpu:3"}
    new.__dict__.pop("domains", None)
    regression_of(base, new, limit=0.05)
    new.meta["domains"].clear()
    new.__dict__.pop("domains", None)
    refused("new has no measured energy", base, new)


def test_a_level_of_zero_is_refused(make):
    runs = [make(name, loss=lambda step: max(1.0 - step / 150, 0.0)) for name in ("base", "new")]
    refused("is its best possible value", *runs, of="level", level=0.0)
