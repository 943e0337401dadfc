"""``energy-profiler export``: text to stdout, any format to a file, no silent overwriting."""

import json
import re

import pytest

from profiler import load_run
from profiler.cli import main
from profiler.export import FORMATS, export
from tests.support.runs import write_run


@pytest.fixture(autouse=True)
def run_dir(tmp_path):
    return write_run(tmp_path / "run", steps=30)


@pytest.mark.parametrize("name", [name for name, one in FORMATS.items() if one.is_text])
@pytest.mark.parametrize("output", [[], ["-o", "-"]])
def test_text_formats_go_to_stdout(run_dir, capsys, name, output):
    assert main(["export", "run", "--format", name, *output]) == 0
    out, err = capsys.readouterr()
    assert out.encode() == export(load_run("run"), name)
    assert err == ""


@pytest.mark.parametrize("name", ["csv", "chrome-trace"])
def test_existing_file_needs_force(run_dir, tmp_path, capsys, name):
    file = tmp_path / "made"
    assert main(["export", "run", "--format", name, "-o", str(file)]) == 0
    assert file.read_bytes() == export(load_run("run"), name)
    file.write_text("mine")
    assert main(["export", "run", "--format", name, "-o", str(file)]) == 2
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert main(["export", "run", "--format", name, "-o", str(file), "--force"]) == 0
    assert file.read_bytes() == export(load_run("run"), name)


MISTAKES = {
    "no such run": (["nothing", "--format", "csv"], "there is no such directory"),
    "parquet on a terminal": (
        ["run", "--format", "parquet"],
        "parquet is a binary format; name a file with -o.",
    ),
    "a directory": (["run", "--format", "csv", "-o", "run"], "run is a directory; name a file in it."),
    "no such folder": (
        ["run", "--format", "csv", "-o", "no/where.csv"],
        "cannot write no/where.csv: No such file or directory",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_user_error_is_one_line_and_exit_code_2(capsys, arguments, message):
    assert main(["export", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)


def test_partial_reads_the_rows_before_the_damage(run_dir, capsys):
    file = run_dir / "steps.csv"
    file.write_text(file.read_text().replace("\n20,", "\ntwenty,"))
    assert main(["export", "run", "--format", "chrome-trace"]) == 2
    assert "steps.csv, line 21" in capsys.readouterr().err
    assert main(["export", "run", "--format", "chrome-trace", "--partial"]) == 0
    events = json.loads(capsys.readouterr().out)["traceEvents"]
    assert sum(event["name"].startswith("step ") for event in events) == 19


def test_help_lists_all_formats(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    out = capsys.readouterr().out
    assert all(one.help in out for one in FORMATS.values())
    assert "energy-profiler export energy_runs/" in out


def test_prices_may_be_given_afterwards(capsys):
    assert main(["export", "run", "--format", "model-card", "--grid-gco2e-per-kwh", "360", "--pue", "2"]) == 0
    card = capsys.readouterr().out
    joules = load_run("run").total_joules
    assert float(re.search(r"emissions: ([\d.e-]+)", card)[1]) == pytest.approx(
        joules / 3.6e6 * 2 * 360, rel=0.01
    )
