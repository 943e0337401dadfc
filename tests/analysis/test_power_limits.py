"""Cost of a step under each power limit, on scripted runs whose best limit is known."""

import itertools
import json
import math
import random

import pandas as pd
import pytest

from profiler.analysis.power_limits import power_limits_of
from profiler.reporting import render, report_of
from tests.support.runs import law
from tests.support.scripted_tables import Script

LADDER = (700.0, 600.0, 500.0, 400.0, 300.0, 200.0)
HOST_WATTS, PEAK_WATTS, STEP_SECONDS = 150.0, 650.0, 0.25


def step_seconds(limit):
    """Time of a step: the clock, and with it the speed, falls with the cube root of the power."""
    return STEP_SECONDS * max(PEAK_WATTS / limit, 1.0) ** (1 / 3) * (1.0 if limit > 250 else 1.4)


def watts(limit, host=HOST_WATTS):
    return min(limit, PEAK_WATTS) + host


def step_joules(limit, host=HOST_WATTS):
    return step_seconds(limit) * watts(limit, host)


@pytest.fixture
def play(tmp_path):
    """Function that scripts a run under a sequence of limits, each for some steps, and returns it."""

    def run(
        limits, *, steps=40, noise=0.01, drift=0.0, host=HOST_WATTS, edit=lambda samples: samples, seed=1
    ):
        draw, script, changes = random.Random(seed), Script(tmp_path / "run"), []
        script.span("setup", 2.0)
        for visit, limit in enumerate(limits):
            changes.append((script.time, limit))
            for _ in range(steps):
                factor = draw.gauss(1.0, noise) * (1.0 + drift * visit / len(limits))
                script.step(
                    law(len(script.steps) + 1), step_seconds(limit) * factor, watts=watts(limit, host)
                )
        samples = script.samples()
        enforced = [next(w for at, w in reversed(changes) if at <= t + 1e-9) if t >= 2 else LADDER[0]
                    for t in samples["time_seconds"]]  # fmt: skip
        samples["limit_watts"] = enforced
        last = samples["time_seconds"].floordiv(1.0)
        samples.loc[last.diff() == 0, "limit_watts"] = math.nan
        return script.run(edit(samples.assign(sm_mhz=math.nan, throttle="")))

    return run


@pytest.mark.parametrize("host", [0.0, HOST_WATTS, 600.0, 1_000.0])
@pytest.mark.parametrize("drift", [0.0, 0.2])
def test_the_best_limit_is_found_within_one_step_of_the_ladder(play, host, drift):
    truth = min(LADDER, key=lambda limit: step_joules(limit, host))
    found = power_limits_of(play([*LADDER] * 2, host=host, drift=drift))
    assert abs(LADDER.index(found.least_joules) - LADDER.index(truth)) <= 1
    assert found.least_seconds in (700.0, 600.0)
    assert [effect.visits for effect in found.limits] == [2] * len(LADDER)


def test_the_best_limit_counts_the_rest_of_the_machine(play):
    """A processor that always draws power makes slow steps dear: the best limit is higher than for the GPU alone."""
    ladder = [*LADDER] * 2
    alone, together = (power_limits_of(play(ladder, host=host)).least_joules for host in (0.0, 1_000.0))
    assert alone < together


@pytest.mark.parametrize("drift", [0.0, 0.2])
def test_intervals_contain_the_truth(play, drift):
    found = power_limits_of(play([*LADDER] * 3, drift=drift))
    for effect in found.limits:
        true = step_joules(effect.limit_watts) * (1 + drift / 2)
        assert effect.step_joules.low * 0.98 <= true <= effect.step_joules.high * 1.02
        assert effect.step_joules.high - effect.step_joules.low < 0.1 * true
    assert found.p_least_joules > 0.5


def test_equal_limits_rarely_seem_to_differ(play):
    """At 700, 660 and 655 W the board draws 650 W: no limit is better than another."""
    found = [power_limits_of(play([700.0, 660.0, 655.0] * 3, noise=0.05, seed=seed)) for seed in range(12)]
    assert sum(one.p_least_joules > 0.9 for one in found) <= 3


def test_a_limit_that_was_enforced_once_is_not_compared(play):
    found = power_limits_of(play([700.0, 400.0]))
    assert found.least_joules is None
    assert "cannot be separated from that of time" in found.refused
    assert all(effect.step_joules.high == math.inf for effect in found.limits)


def test_a_limit_that_was_enforced_once_beside_others_is_never_the_best(play):
    found = power_limits_of(play([700.0, 500.0, 300.0, 500.0, 700.0], host=0.0))
    assert found.least_joules == 500.0
    assert {effect.limit_watts: effect.visits for effect in found.limits} == {700.0: 2, 500.0: 2, 300.0: 1}


def test_a_limit_that_changes_every_second_names_nothing(play):
    found = power_limits_of(play([700.0, 400.0] * 30, steps=4))
    assert (found.limits, found.least_joules) == ((), None)
    assert "changed so often" in found.refused


def test_a_constant_limit_is_no_comparison(play):
    def constant(samples):
        return samples.assign(limit_watts=samples["limit_watts"].mul(0).add(400.0))

    assert power_limits_of(play([400.0, 400.0], edit=constant)) is None


@pytest.mark.parametrize(
    "edit",
    [
        lambda samples: samples.assign(limit_watts=math.nan),
        lambda samples: samples.drop(columns="limit_watts"),
    ],
)
def test_boards_that_report_no_limit_are_no_comparison(play, edit):
    assert power_limits_of(play([700.0, 400.0, 700.0, 400.0], edit=edit)) is None


def test_times_at_which_the_boards_have_different_limits_are_excluded(play):
    """The second board stays at its first limit in the second half."""

    def two_boards(samples):
        is_late = samples["time_seconds"] > samples["time_seconds"].iloc[-1] / 2
        other = samples.assign(domain="gpu:1")
        other.loc[is_late & other["limit_watts"].notna(), "limit_watts"] = 700.0
        return pd.concat([samples, other]).sort_values("time_seconds", kind="stable", ignore_index=True)

    run = play([700.0, 400.0] * 4, edit=two_boards)
    run.meta["domains"].append({**run.meta["domains"][0], "name": "gpu:1"})
    found = power_limits_of(run)
    assert {effect.limit_watts: effect.visits for effect in found.limits} == {700.0: 4, 400.0: 2}


@pytest.mark.parametrize("extension", [".txt", ".md", ".html"])
def test_reports_name_the_best_limit(play, extension):
    shown = " ".join(render(report_of(play([*LADDER] * 2)), extension).split())
    assert "needs the least energy:" in shown
    assert "less than at 700 W" in shown


def test_json_has_a_row_per_limit(play):
    table = json.loads(render(report_of(play([*LADDER] * 2)), ".json"))["power_limits"]
    assert [row["limit_watts"] for row in table["rows"]] == list(LADDER)
    best = next(row for row in table["rows"] if row["limit_watts"] == table["least_joules"])
    assert best["joules"]["median"] == min(row["joules"]["median"] for row in table["rows"])
    seconds = [row["seconds"] for row in table["rows"][1:]]
    assert all(before < after for before, after in itertools.pairwise(seconds))
