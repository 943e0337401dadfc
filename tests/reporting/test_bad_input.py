"""Runs and terminals that a report must survive: names, sizes, damage, and a run that is still being written."""

import io
import re
import sys

import pytest
from rich.console import Console

from profiler import load_run
from profiler.cli import main
from profiler.reporting import RENDERERS, render, report_of
from profiler.reporting.live_report import Watch
from profiler.reporting.watch_terminal import screen
from tests.support.growing_run import GrowingRun
from tests.support.runs import write_run

NAMES = {
    "markup": "val_<script>alert(1)</script>&amp;",
    "control characters": "val_\x1b[31m\u202eloss\x07",
    "300 letters": "val_" + "loss" * 74,
    "a formula": "=val_loss+cmd|' /C calc'!A0",
    "no ASCII": "val_потеря_损失",
}


def with_metric(path, name, points=60, **options):
    values = [(step, name, 1.5 + 3.0 * step**-0.4) for step in range(1, points + 1)]
    return write_run(path, steps=max(points, 10), metrics=values, **options)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_format_survives_the_name_of_a_metric(tmp_path, name):
    run = load_run(with_metric(tmp_path / "run", name))
    stored = next(iter(run.metrics["name"].unique()))
    report = report_of(run, metric=stored, goal="min")
    for extension in RENDERERS:
        shown = render(report, extension)
        assert not {"\x1b", "\x07"} & set(shown)
        assert "<script>alert(1)" not in shown.replace("\\<", "") or extension in (".txt", ".json")
    assert max(map(len, render(report, ".txt").splitlines())) <= 80


def test_a_terminal_without_unicode_gets_a_report(tmp_path, monkeypatch):
    run = with_metric(tmp_path / "run", NAMES["no ASCII"], meta={"name": "Läufer № 1"})
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii"))
    assert main(["report", str(run)]) == 0
    sys.stdout.flush()
    assert b"L?ufer ? 1: completed" in out.getvalue()
    assert b"measured, +/-6.2 %" in out.getvalue()


@pytest.mark.parametrize("width", [1, 40, 200])
def test_the_live_view_fits_any_width(tmp_path, width):
    growing = GrowingRun(tmp_path / "run", steps=100)
    growing.grow(60)
    console = Console(width=width, file=io.StringIO())
    console.print(screen(Watch(growing.path).poll()))
    assert max(map(len, console.file.getvalue().splitlines())) <= width


@pytest.mark.parametrize("steps", [0, 1, 60])
def test_a_run_that_is_still_written_has_a_report(tmp_path, capsys, steps):
    growing = GrowingRun(tmp_path / "run", steps=100)
    growing.grow(steps)
    with (growing.path / "steps.csv").open("a") as file:
        file.write("61,1,17.0")
    assert main(["report", str(growing.path)]) == 0
    assert "running after" in capsys.readouterr().out.splitlines()[0]


def test_damaged_metrics_are_one_line_and_partial_reads_the_rest(tmp_path, capsys):
    path = with_metric(tmp_path / "run", "val_loss")
    with (path / "metrics.csv").open("a") as file:
        file.write("not,a,row\n")
    assert main(["report", str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "metrics.csv, line 62" in err
    assert "--partial" in err
    assert main(["report", str(path), "--partial"]) == 0
    assert "val_loss" in capsys.readouterr().out


@pytest.mark.slow
def test_a_million_values_of_a_metric(tmp_path):
    path = with_metric(tmp_path / "run", "val_loss", points=100)
    head, row, *_ = (path / "metrics.csv").read_text().splitlines()
    _, _, _, name, _ = row.split(",")
    rows = (
        f"{2 + k / 40_000:.6f},{1 + k // 10_000},{800 + k / 100:.6f},{name},{2 + 1 / (k + 1)!r}"
        for k in range(10**6)
    )
    (path / "metrics.csv").write_text("\n".join([head, *rows]) + "\n")
    report = report_of(load_run(path, partial=True))
    assert report.metric == "val_loss"
    assert len(render(report, ".html", plotlyjs="cdn")) < 1_000_000


@pytest.mark.parametrize(
    "law",
    [lambda n: 1.7e308 * (0.5 + 0.5 / n), lambda n: (-1) ** n * 1.7e308],
    ids=["positive", "both signs"],
)
@pytest.mark.parametrize("suffix", [".svg", ".html"])
def test_figures_of_the_largest_numbers_do_not_overflow(tmp_path, law, suffix):
    run = load_run(write_run(tmp_path / "run", steps=60, loss=law))
    run.report(tmp_path / f"report{suffix}")
    drawn = (tmp_path / f"report{suffix}").read_text()
    assert "<svg" in drawn or "plotly" in drawn.lower()
    assert suffix == ".html" or not {"nan", "inf"} & set(re.findall(r"[a-z]+", drawn.lower()))
