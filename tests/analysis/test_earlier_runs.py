"""Anneal gains of earlier runs: used for the same task alone, where an anneal lies ahead."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from profiler import load_run
from profiler.forecasting.anneal_gain import AnnealGain, with_gains
from profiler.forecasting.binning import CurveBins
from profiler.forecasting.priors import Priors
from profiler.lr_plan import SECTION, RatePlan
from profiler.reporting import exit_block, render, report_of
from tests.support.runs import write_run

STEPS, DECAY, SEEN = 400, 320, 240
USED = "earlier run"


def cosine(step):
    return 0.5e-3 * (1.0 + math.cos(math.pi * step / STEPS))


def rate(step):
    return 1e-3 * min(1.0, (STEPS - step) / (STEPS - DECAY))


def loss(gain, seed=0, scale=1.0, rate=rate):
    """A power law whose log level an anneal lowers by ``gain``, as the square root of the rate."""
    noise = np.random.default_rng(seed).standard_normal(STEPS + 1)

    def value(step):
        level = scale * (1.5 + 3.0 * step**-0.4) * math.exp(-gain * (1.0 - math.sqrt(rate(step) / 1e-3)))
        return level * math.exp(0.003 * noise[step])

    return value


def earlier(folder, name, gain, seed=1, *, steps=STEPS, started=100.0, scale=1.0, rate=rate, **meta):
    path = folder / name
    extra = {"started_unix_seconds": started, "config": {}} | meta
    return write_run(path, steps=steps, loss=loss(gain, seed, scale, rate), learning_rate=rate, meta=extra)


def unfinished(folder, *, seen=SEEN, gain=0.12, rate=rate, **meta):
    """A run with its plan, which has not begun to anneal by default."""
    plan = RatePlan.sampled(rate, 1, STEPS, "planned_learning_rate")
    extra = {"started_unix_seconds": 300.0, SECTION: plan.section(), "total_steps": STEPS} | meta
    path = write_run(folder / "now", steps=seen, loss=loss(gain, rate=rate), learning_rate=rate, meta=extra)
    return load_run(path)


def end_of(fit):
    return fit.loss_at(fit.planned_joules)


def test_gain_of_earlier_runs_of_the_task_replaces_the_assumed_one(tmp_path):
    for seed in (1, 2):
        earlier(tmp_path, f"before-{seed}", 0.12, seed)
    run = unfinished(tmp_path)
    truth = loss(0.12, 3)(STEPS)
    known, alone = end_of(run.fit()), end_of(run.fit(earlier_runs=False))
    assert abs(math.log(known.median / truth)) < 0.02 < abs(math.log(alone.median / truth))
    assert known.low < truth < known.high
    assert any("2 earlier runs of this task" in note for note in run.fit().notes)
    assert "2 earlier runs of this task" in render(report_of(run), ".txt")


def test_gain_of_an_earlier_run_helps_halfway_through_an_anneal(tmp_path):
    """Image classifiers and speech models lose 20 to 45 % of their loss to an anneal, several times the assumption."""
    earlier(tmp_path, "before", 0.35, rate=cosine)
    run = unfinished(tmp_path, seen=STEPS // 2, gain=0.35, rate=cosine)
    truth = loss(0.35, 3, rate=cosine)(STEPS)
    known, alone = end_of(run.fit()), end_of(run.fit(earlier_runs=False))
    assert abs(math.log(known.median / truth)) < 0.6 * abs(math.log(alone.median / truth))
    assert known.low < truth < known.high


def test_anneal_that_gained_nothing_before_is_expected_to_gain_nothing(tmp_path):
    earlier(tmp_path, "before", 0.0)
    fit = unfinished(tmp_path).fit()
    held = fit.loss_at(fit.planned_joules, scenario="held").median
    assert end_of(fit).median > 0.985 * held


@pytest.mark.parametrize(
    "other",
    [
        {"scale": 1.5},
        {"status": "failed"},
        {"started": 400.0},
        {"started": 250.0},
        {"steps": SEEN},
        {"config": {"dataset": "another"}},
        {"work": {"parameters": 7}},
        {"resumed": {"from": "x"}},
    ],
    ids=[
        "other losses",
        "failed",
        "later",
        "not ended before",
        "not annealed",
        "other data",
        "other size",
        "resumed",
    ],
)
def test_other_runs_are_not_used(tmp_path, other):
    earlier(tmp_path, "before", 0.12, **other)
    run = (
        unfinished(tmp_path, work={"parameters": 5}, config={"dataset": "one"})
        if "work" in other
        else unfinished(tmp_path)
    )
    assert not any(USED in note for note in run.fit().notes)


def test_given_priors_are_kept(tmp_path):
    earlier(tmp_path, "before", 0.12)
    fit = unfinished(tmp_path).fit(priors=Priors(anneal_gain=0.01))
    assert fit.priors.anneal_gain == 0.01


def test_run_without_earlier_ones_is_fitted_as_before(tmp_path):
    run = unfinished(tmp_path)
    assert run.fit().priors == Priors()
    assert end_of(run.fit()) == end_of(run.fit(earlier_runs=False))


def test_damaged_neighbour_is_ignored(tmp_path):
    path = earlier(tmp_path, "before", 0.12)
    (path / "steps.csv").write_text("nonsense\n", encoding="utf-8")
    assert unfinished(tmp_path).fit().priors == Priors()


def test_links_to_a_run_are_no_further_runs(tmp_path):
    for name in ("best", "latest"):
        (tmp_path / name).symlink_to(
            earlier(tmp_path, "before", 0.12) if name == "best" else tmp_path / "before"
        )
    assert any("that of an earlier run" in note for note in unfinished(tmp_path).fit().notes)


def test_unreadable_neighbour_does_not_hide_the_others(tmp_path, monkeypatch):
    earlier(tmp_path, "before", 0.12)
    (tmp_path / "closed").mkdir()
    stat = Path.stat

    def refuse(path, **options):
        if path.parent.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    run = unfinished(tmp_path)
    monkeypatch.setattr(Path, "stat", refuse)
    assert any(USED in note for note in run.fit().notes)


def test_many_later_runs_do_not_displace_the_earlier_ones(tmp_path):
    path = earlier(tmp_path, "before", 0.12)
    os.utime(path / "run.json", (100.0, 100.0))
    for number in range(70):
        later = tmp_path / f"later-{number}"
        later.mkdir()
        (later / "run.json").write_text(
            (path / "run.json").read_text(encoding="utf-8").replace("100.0", "900.0")
        )
    assert any(USED in note for note in unfinished(tmp_path).fit().notes)


def test_block_at_exit_uses_the_earlier_runs_that_its_report_uses(tmp_path):
    earlier(tmp_path, "before", 0.12)
    run = unfinished(tmp_path)
    joules, losses, weights = run.curve()
    bins = CurveBins(origin_joules=run.fit().origin_joules)
    bins.extend(joules.tolist(), losses.tolist(), weights.tolist())
    block = exit_block(run.summary(), bins, run.learning_rate)
    assert USED in block
    assert block + "\n" == render(report_of(run), ".txt")


def test_gains_that_disagree_widen_the_prior():
    gains = [
        [AnnealGain(gain=value, error=0.002) for value in values] for values in ((0.08, 0.08), (0.04, 0.12))
    ]
    same, apart = (with_gains(Priors(), one) for one in gains)
    assert same.anneal_gain == pytest.approx(0.08)
    assert apart.anneal_spread > 1.5 * same.anneal_spread
