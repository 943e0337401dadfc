"""The text block of ten kinds of run, to the letter; figures of forecasts, which change with the model, are masked."""

import math
import random
import re
from pathlib import Path

import pytest

from profiler import load_run
from profiler.reporting import render, report_of
from profiler.reporting.answer import answer_of
from profiler.reporting.methodology import methods
from tests.support.runs import write_run

GOLDENS = Path(__file__).parent / "goldens"


def curve(floor=1.5, noise=0.01):
    chance = random.Random(0)
    return lambda step: (floor + 3.0 * step**-0.4) * math.exp(chance.gauss(0.0, noise))


def flat(step):
    return 0.0861 * (1.0 + 1e-4 * math.sin(step)) if step > 60 else 0.0861 * (1.0 + (60 - step) / 30)


def to_nan(step):
    return 1.5 + 3.0 * step**-0.4 if step < 240 else math.nan


def upwards(step):
    return 1.5 + 3.0 * step**-0.4 if step < 300 else 30.0 + 0.1 * math.sin(step)


def reseeded(kind):
    """Return the arguments of a kind of run, with the noise from its start."""
    known = KINDS[kind]
    return {**known, "loss": curve()} if known.get("loss") is NOISY else known


NOISY = object()
KINDS = {
    "healthy": {"loss": NOISY},
    "flat": {"loss": flat},
    "diverged to NaN": {"loss": to_nan},
    "diverged upwards": {"loss": upwards},
    "zero steps": {"steps": 0},
    "one step": {"steps": 1},
    "killed": {"loss": NOISY, "meta": {"status": "interrupted"}},
    "failed": {"loss": NOISY, "meta": {"status": "failed"}},
    "estimated": {"loss": NOISY, "meta": {"totals": None}},
    "all targets reached": {"loss": NOISY, "meta": {"goals": {"target_loss": 2.0}}},
}


def estimate(path):
    """Make all energy of a run estimated."""
    for name in ("steps.csv", "spans.csv"):
        head, *rows = (path / name).read_text().splitlines()
        columns = head.split(",")
        total, modelled = columns.index("total_joules"), columns.index("modelled_joules")
        cells = [row.split(",") for row in rows]
        for row in cells:
            row[modelled] = row[total]
        (path / name).write_text("\n".join([head, *map(",".join, cells)]) + "\n")
    meta = (path / "run.json").read_text()
    (path / "run.json").write_text(meta.replace('"provenance": "counter"', '"provenance": "modelled"'))


def masked(text):
    """Replace the figures of forecasts: they are tested with the forecasts."""
    lines, is_forecast = [], False
    for line in text.splitlines():
        is_forecast = (is_forecast or line.startswith(("worth", "advice"))) and not line.startswith(
            ("next", "!")
        )
        lines.append(re.sub(r"\d[\d.,]*( [kMGTP]?J)?", "#", line) if is_forecast else line)
    return re.sub(r" +", " ", "\n".join(lines)) + "\n"


@pytest.mark.parametrize("kind", KINDS)
def test_the_block_of_each_kind_of_run(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = write_run(Path("run"), **reseeded(kind))
    if kind == "estimated":
        estimate(path)
    text = render(report_of(load_run(path)), ".txt")
    lines = text.splitlines()
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 80
    golden = GOLDENS / f"{kind.replace(' ', '-')}.txt"
    assert masked(text) == golden.read_text()


STATES = {
    "healthy": "", "flat": "loss flat", "diverged to NaN": "loss DIVERGED after step 239",
    "diverged upwards": "loss DIVERGED,", "zero steps": "", "one step": "too early to forecast",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "has_forecast"), [("healthy", True), ("diverged to NaN", False), ("one step", False)]
)
def test_methods_explain_a_forecast_only_where_there_is_one(tmp_path, kind, has_forecast):
    report = report_of(load_run(write_run(tmp_path / "run", **reseeded(kind))))
    assert ("Forecast" in dict(methods(report))) is has_forecast


def test_a_curve_of_one_value_is_not_drawn(tmp_path):
    report = report_of(load_run(write_run(tmp_path / "run", steps=1)))
    assert report.details.headline.chart is None


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("extension", [".txt", ".html", ".json"])
def test_every_format_has_the_state_and_no_price_without_a_trend(tmp_path, kind, extension):
    report = report_of(load_run(write_run(tmp_path / "run", **reseeded(kind))))
    shown = render(report, extension)
    assert STATES[kind] in shown
    if kind not in ("healthy", "flat"):
        assert report.outlook is None or not report.outlook.targets
        assert answer_of(report).confidence is None
        assert "needs about" not in shown
