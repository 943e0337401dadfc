"""The best size of recorded runs."""

import json
import math

import pytest

from profiler.cli import main
from tests.support.runs import write_run


def loss_of(parameters):
    # Every step costs 100 J in these runs, whatever the size.
    return lambda step: 1.5 + 40.0 * parameters**-0.35 + 3.0 * step**-0.4


@pytest.fixture
def sweep(tmp_path):
    for index, parameters in enumerate((1_000, 3_000, 10_000, 30_000, 100_000)):
        meta = {"name": f"m{index}", "work": {"parameters": parameters, "tokens": {"per_step": 512.0}}}
        write_run(tmp_path / f"m{index}", steps=200, loss=loss_of(parameters), meta=meta)
    return tmp_path


def test_it_answers_for_each_budget(sweep, capsys):
    write_run(sweep / "unknown", steps=50, meta={"name": "unknown"})
    assert main(["size", str(sweep), "--budget", "20kJ", "--budget", "1MJ", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert [one["joules"] for one in known["best"]] == [20_000, 1_000_000]
    # A larger model costs no more here, so that the largest size is the best one.
    assert all(one["is_edge"] for one in known["best"])
    assert known["cost_exponent"] == pytest.approx(0.0, abs=0.02)
    assert known["sizes"] == 5
    assert known["unit"] == "tokens"
    assert known["excluded"] == ["unknown: its number of parameters is not known."]


def test_the_text(sweep, capsys):
    assert main(["size", str(sweep), "--budget", "20kJ"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("For 20.0 kJ: 200 k")
    assert "tokens; the best size lies at the end of those considered." in out
    assert "From 5 runs of 5 sizes, 1.00 k to 100 k parameters" in out


def test_annealed_runs_are_stated(sweep, capsys):
    assert main(["size", str(sweep), "--budget", "20kJ"]) == 0
    assert "learning rate fell" not in capsys.readouterr().out
    for index, parameters in enumerate((2_000, 200_000)):
        meta = {"name": f"a{index}", "work": {"parameters": parameters, "tokens": {"per_step": 512.0}}}
        write_run(
            sweep / f"a{index}",
            steps=200,
            loss=loss_of(parameters),
            learning_rate=lambda step: 1e-3 * (1.0 - step / 200),
            meta=meta,
        )
    assert main(["size", str(sweep), "--budget", "20kJ"]) == 0
    assert "! The learning rate fell in 2 of 7 runs." in capsys.readouterr().out


def test_too_few_sizes(tmp_path, capsys):
    meta = {"config": {"parameters": 1000}}
    write_run(tmp_path / "a", steps=60, meta=meta)
    write_run(tmp_path / "b", steps=60, loss=lambda step: math.nan if step > 20 else 2.0, meta=meta)
    assert main(["size", str(tmp_path), "--budget", "20kJ"]) == 2
    err = capsys.readouterr().err
    assert "The runs have 1 model size" in err
    assert "1 run excluded, such as" in err


@pytest.mark.parametrize("arguments", [["--budget", "x"], ["--budget", "5MJ", "--metric", "acc"]])
def test_a_users_error_is_one_line(sweep, capsys, arguments):
    assert main(["size", str(sweep), *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
