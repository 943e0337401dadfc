"""``energy-profiler compare --fail-above``: exit codes, formats and messages."""

import json

import pandas as pd
import pytest

from profiler.cli import main
from tests.support.runs import write_run


@pytest.fixture(autouse=True)
def folders(tmp_path):
    """A base, two repeats of it, a run that uses 10 % more, and one that uses 4 % more."""
    for name, factor in {"base": 1.0, "again": 1.01, "third": 0.99, "worse": 1.1, "like": 1.04}.items():
        scale(write_run(tmp_path / name, steps=100, meta={"name": name, "host": "h"}), factor)


def scale(path, factor):
    """Multiply every energy of a run, with 2 % of scatter between steps."""
    for file in ("steps.csv", "spans.csv", "samples.csv"):
        table = pd.read_csv(path / file)
        columns = [
            name for name in table if name.endswith(("_joules", "_watts")) and name != "uncertainty_joules"
        ]
        table[columns] *= factor
        table.to_csv(path / file, index=False, float_format="%.6f")
    meta = json.loads((path / "run.json").read_text())
    for key in ("step_joules", "span_joules"):
        meta["totals"][key] *= factor
    (path / "run.json").write_text(json.dumps(meta))


def test_the_exit_code_is_the_answer(capsys):
    assert main(["compare", "base", "worse", "--fail-above", "5%"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(
        "Energy regression. worse uses 10.0 % more energy per step than base (90 % interval"
    )
    assert "The probability holds for these two runs" in out
    assert err == ""
    assert main(["compare", "base", "like", "--fail-above", "5%"]) == 0
    assert capsys.readouterr().out.startswith("No energy regression.")
    assert main(["compare", "worse", "base", "--fail-above", "5"]) == 0


@pytest.mark.parametrize("of", ["step", "total", "level=2.1"])
def test_each_energy_can_be_compared(of, capsys):
    assert main(["compare", "base", "worse", "--fail-above", "5%", "--of", of]) == 1
    assert "10.0 % more" in capsys.readouterr().out


def test_repeats_and_spread_are_part_of_the_text(capsys):
    main(["compare", "base", "worse", "--fail-above", "5%", "--repeat", "again", "--repeat", "third"])
    assert "a spread of 1 % between runs, estimated from 3 bases" in capsys.readouterr().out
    assert main(["compare", "base", "worse", "--fail-above", "5%", "--seed-spread", "20"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Undecided.")
    assert "includes the given spread of 20 %" in out


def test_markdown_for_a_pull_request(tmp_path, capsys):
    assert main(["compare", "base", "worse", "--fail-above", "5%", "--markdown"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("**Energy regression.** worse uses")
    assert "| energy per step | 100 J | 110 J |" in printed
    assert {line.count("|") for line in printed.splitlines() if line.startswith("|")} == {4}
    assert main(["compare", "base", "worse", "--fail-above", "5%", "-o", "summary.md"]) == 1
    assert (tmp_path / "summary.md").read_text() == printed


def test_json_has_every_number(capsys):
    assert main(["compare", "base", "worse", "--fail-above", "5%", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["is_regression"] is True
    assert found["limit"] == 1.05
    assert found["ratio"]["median"] == pytest.approx(1.1)
    assert found["p_above"] > 0.95
    assert [run["name"] for run in found["runs"]] == ["base", "worse"]


MISTAKES = {
    "three runs": (["base", "like", "worse", "--fail-above", "5%"], "BASE NEW"),
    "no percentage": (["base", "worse", "--fail-above", "much"], "percentage such as 5%"),
    "a negative percentage": (["base", "worse", "--fail-above=-5%"], "percentage such as 5%"),
    "an unknown energy": (
        ["base", "worse", "--fail-above", "5%", "--of", "epoch"],
        "step, total or level=LOSS",
    ),
    "a level that is no number": (
        ["base", "worse", "--fail-above", "5%", "--of", "level=x"],
        "must be a number",
    ),
    "one run twice": (["base", "base", "--fail-above", "5%"], "given twice"),
    "a repeat that is the base": (["base", "worse", "--fail-above", "5%", "--repeat", "base"], "given twice"),
    "a metric": (["base", "worse", "--fail-above", "5%", "--metric", "loss"], "do not apply"),
    "no limit": (["base", "worse", "--markdown"], "belong to --fail-above"),
    "a page": (["base", "worse", "--fail-above", "5%", "-o", "x.html"], ".txt, .md, .json"),
    "no such run": (["base", "nowhere", "--fail-above", "5%"], "no such directory"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_errors_have_exit_code_2(arguments, message, capsys):
    assert main(["compare", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, len(err.splitlines())) == ("", 1)


def test_a_damaged_run_has_exit_code_2(tmp_path, capsys):
    (tmp_path / "worse" / "steps.csv").write_text("{")
    assert main(["compare", "base", "worse", "--fail-above", "5%"]) == 2
    assert "steps.csv" in capsys.readouterr().err
