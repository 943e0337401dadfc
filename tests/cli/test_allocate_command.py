"""The advice on the runs of a sweep."""

import json
import math

import pytest

from profiler.cli import main
from profiler.storage.schema import METRICS
from tests.support.runs import law, write_run


@pytest.fixture
def sweep(tmp_path):
    for name, floor in (("good", 0.0), ("poor", 1.0), ("poorer", 2.0)):
        write_run(
            tmp_path / name, steps=150, loss=lambda step, floor=floor: law(step) + floor, meta={"name": name}
        )
    return tmp_path


def test_one_object_per_run(sweep, capsys):
    assert main(["allocate", str(sweep), "--budget", "100kJ", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert [(one["run"], one["stop"]) for one in known["runs"]] == [
        ("good", False),
        ("poor", True),
        ("poorer", True),
    ]
    assert known["runs"][0]["p_best"] > 0.95
    # Each run spent 15.8 kJ.
    assert known["runs"][1]["joules_saved"] == pytest.approx(84_200, rel=0.01)
    assert known["joules_saved"] == pytest.approx(168_400, rel=0.01)
    assert known["budget_joules"] == 100_000
    assert all(test["kept_best"] for test in known["backtest"])


@pytest.mark.parametrize("names", [("good", "poor", "poorer"), ("", "good")])
def test_runs_may_be_named_as_their_directory_may(sweep, capsys, names):
    assert main(["allocate", *(str(sweep / name) for name in names), "--budget", "100kJ", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 3


def test_a_directory_that_does_not_exist_is_a_user_error(tmp_path, capsys):
    assert main(["allocate", str(tmp_path / "absent"), "--budget", "100kJ"]) == 2
    assert "is not a directory; name runs or a directory that contains them" in capsys.readouterr().err


def test_the_table(sweep, capsys):
    (sweep / "broken").mkdir()
    (sweep / "broken" / "run.json").write_text("{")
    path = write_run(sweep / "damaged samples", steps=5)
    (path / "samples.csv").write_text("x" * 2_000_000)
    assert main(["allocate", str(sweep), "--budget", "100kJ"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(
        "Stop 2 of 3 runs, which saves 168 kJ: the other one is the best one at 100 kJ per run"
    )
    assert "do not resume" in out
    assert "Backtest: at 25 %" in out
    assert err.count("excluded") == 2
    assert "broken" in err
    assert "damaged samples" in err


@pytest.mark.parametrize(("budget", "is_far"), [("100kJ", False), ("200kJ", True)])
def test_a_budget_beyond_ten_times_the_energy_is_marked(sweep, capsys, budget, is_far):
    assert main(["allocate", str(sweep), "--budget", budget]) == 0
    assert ("over ten times the energy of" in capsys.readouterr().out) is is_far


def test_a_running_run_is_stopped(sweep, capsys):
    write_run(
        sweep / "live",
        steps=150,
        loss=lambda step: law(step) + 2.0,
        meta={"name": "live", "status": "running", "totals": None},
    )
    assert main(["allocate", str(sweep), "--budget", "100kJ"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("live")]
    assert " stop " in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "many"], "such as 5MJ"),
        (["--budget", "0J"], "such as 5MJ"),
        (["--budget", "5MJ", "--metric", "val_error"], "3 runs of 3 lack val_error: good, poor, poorer."),
    ],
)
def test_a_users_error_is_one_line(sweep, capsys, arguments, message):
    assert main(["allocate", str(sweep), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_sweep_of_one_run(tmp_path, capsys):
    write_run(tmp_path / "one", steps=50)
    assert main(["allocate", str(tmp_path), "--budget", "5MJ"]) == 2
    assert "needs two runs" in capsys.readouterr().err


def test_a_sweep_that_diverged(tmp_path, capsys):
    for name in "ab":
        write_run(tmp_path / name, steps=60, loss=lambda step: law(step) if step < 30 else math.nan)
    assert main(["allocate", str(tmp_path), "--budget", "5MJ"]) == 2
    assert "None of the 2 runs has a forecast" in capsys.readouterr().err


def test_runs_with_different_main_metrics(sweep, capsys):
    rows = "".join(f"{step / 4},{step},{100 * step},val_error,{2 / step!r}\n" for step in range(1, 100))
    (sweep / "good" / METRICS.filename).write_text(METRICS.header + rows)
    assert main(["allocate", str(sweep), "--budget", "100kJ"]) == 2
    assert "different main metrics (val_error, loss): choose one with --metric" in capsys.readouterr().err
    assert main(["allocate", str(sweep), "--budget", "100kJ", "--metric", "loss"]) == 0


def test_finished_runs_keep_their_level(tmp_path, capsys):
    for name, length in (("finished", 300), ("halfway", 600)):
        write_run(
            tmp_path / name,
            steps=300,
            learning_rate=lambda step, length=length: 1e-3 * (1.0 - step / length),
            meta={"name": name},
        )
    assert main(["allocate", str(tmp_path), "--budget", "100kJ"]) == 0
    out = capsys.readouterr().out
    assert "! finished: Its schedule of the learning rate has ended" in out
    write_run(tmp_path / "second", steps=320, learning_rate=lambda step: 1e-3 * (1.0 - step / 320))
    runs = (str(tmp_path / name) for name in ("finished", "second"))
    assert main(["allocate", *runs, "--budget", "100kJ", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert all(one["is_finished"] for one in known["runs"])
    assert known["joules_saved"] == 0.0
    assert main(["allocate", str(tmp_path / "finished"), str(tmp_path / "second"), "--budget", "100kJ"]) == 0
    assert capsys.readouterr().out.startswith("None of 2 runs can use more energy")
