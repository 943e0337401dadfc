"""The report as Markdown."""

from dataclasses import replace
from itertools import groupby

from profiler.reporting import render
from profiler.reporting.markdown import methods
from tests.support.scripted_reports import HOSTILE, make, summary


def test_it_has_the_answer_the_targets_and_a_methods_paragraph():
    shown = render(make(), ".md")
    assert "**Completed after 20.6 min, 82 % measured**" in shown
    assert "- Cost: 490 kJ (0.14 kWh) in 20.6 min; 82 % measured, ±11 %." in shown
    assert "| 1.758 | 5 % lower | 420 kJ |" in shown
    assert shown.rstrip().splitlines()[-1].startswith("Training took 10,000 steps")


def test_a_run_without_steps_has_a_methods_sentence():
    report = make()
    assert methods(replace(report, step_seconds=None)).startswith("No training steps were detected. ")


def test_every_row_of_a_table_has_as_many_cells():
    lines = render(make(), ".md").splitlines()
    tables = [list(rows) for is_table, rows in groupby(lines, lambda line: line.startswith("|")) if is_table]
    assert len(tables) > 1
    for rows in tables:
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1, rows


def test_names_stay_text():
    shown = render(make(summary=summary(name=HOSTILE)), ".md")
    assert "<script>" not in shown.replace("\\<", "")


def test_the_methods_paragraph_names_the_sources():
    assert "gpu:0: NVML total energy, counter; cpu:package-0: load model, estimated" in methods(make())


def test_estimated_energy_is_not_described_as_read():
    assert "was read from" not in methods(make())


def test_every_table_has_a_caption():
    lines = render(make(), ".md").splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("| ---")]
    assert len(heads) > 1
    assert [lines[number - 3] for number in heads if not lines[number - 3].startswith("**")] == []
