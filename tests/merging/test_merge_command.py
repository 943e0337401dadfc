"""``energy-profiler merge``."""

import json

import pytest

from profiler import load_run
from profiler.cli import main
from tests.support.rank_jobs import write_rank
from tests.support.runs import write_run


@pytest.fixture
def job(tmp_path):
    for rank in range(2):
        write_rank(tmp_path / "job", rank, counts=rank == 0)
    return tmp_path / "job"


def test_a_job_is_merged_in_its_own_directory(job, capsys):
    for _ in range(2):
        assert main(["merge", str(job)]) == 0
        assert capsys.readouterr() == (f"{job}: 2 records of 1 host\n", "")
    assert json.loads((job / "run.json").read_text())["merged"]["sources"].keys() == {
        "rank-00000-attempt-0",
        "rank-00001-attempt-0",
    }
    assert main(["report", str(job)]) == 0
    assert "gpu:0@rank-1" in capsys.readouterr().out


def test_directories_are_merged_into_a_new_one(job, tmp_path, capsys):
    assert main(["merge", str(job), "-o", str(tmp_path / "merged")]) == 0
    assert not (job / "run.json").exists()
    assert load_run(tmp_path / "merged").total_joules == load_run(job).total_joules


def test_warnings_of_the_merge_are_printed(tmp_path, capsys):
    job = tmp_path / "job"
    for rank in range(3):
        write_rank(job, rank, world=4, counts=rank == 0)
    assert main(["merge", str(job)]) == 0
    error = capsys.readouterr().err
    assert error.startswith("energy-profiler: rank 3 of attempt 0 left no record here: totals are incomplete")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{job}", "{job}/rank-00000-attempt-0"], "name the merged run's directory with -o DIR."),
        (["{job}/rank-00000-attempt-0"], "name the merged run's directory with -o DIR."),
        (["{job}", "-o", "{job}/rank-00000-attempt-0"], "holds a run; name another directory."),
        (["nowhere"], "nowhere: there is no such directory."),
    ],
)
def test_mistakes_are_one_line(job, capsys, arguments, message):
    assert main(["merge", *(argument.format(job=job) for argument in arguments)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_damaged_record_is_named_and_partial_reads_the_rest(job, capsys):
    path = job / "rank-00001-attempt-0" / "steps.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:31], "not,a,row\n", *lines[31:]]))
    assert main(["merge", str(job)]) == 2
    assert f"{path}, line 32: 3 cells where the header has 22." in capsys.readouterr().err
    assert main(["merge", str(job), "--partial"]) == 0
    assert load_run(job).total_joules == 300 * 12 + 100 * 12 + 300 * (2 + 30 / 4)


def test_the_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["merge", "--help"])
    assert "energy-profiler merge node-0/" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"world": 3}, "world_size is 2 and 3"),
        ({"job": "other"}, "job is this and other"),
        ({"late": 10_000.0}, "was recorded 2.77 h after the others had ended"),
    ],
)
def test_records_of_different_jobs_are_refused_unless_forced(tmp_path, capsys, changes, reason):
    paths = [
        write_rank(tmp_path / name, rank, host=f"host {rank}", **({"job": "this"} | more))
        for rank, (name, more) in enumerate((("a", {}), ("b", changes)))
    ]
    command = ["merge", *map(str, paths), "-o", str(tmp_path / "merged")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert "--force" in error
    assert not (tmp_path / "merged").exists()
    assert main([*command, "--force"]) == 0
    assert load_run(tmp_path / "merged").total_joules == pytest.approx(2 * 400 * 12)


def test_two_records_of_one_rank_are_numbered_if_forced(tmp_path, capsys):
    paths = [write_rank(tmp_path / name, 0, host=name, device=f"GPU-{name}") for name in "ab"]
    command = ["merge", *map(str, paths), "-o", str(tmp_path / "merged")]
    assert main(command) == 2
    assert "both are rank 0, attempt 0. Merge them anyway with --force." in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    assert list(load_run(tmp_path / "merged").ranks["rank"]) == [0, 1]


def test_runs_of_single_processes_must_overlap_in_time(tmp_path, capsys):
    paths = [
        write_run(tmp_path / name, steps=20, meta={"started_unix_seconds": start, "name": name})
        for name, start in (("first", 1_767_323_045.0), ("later", 1_767_323_145.0))
    ]
    command = ["merge", *map(str, paths), "-o", str(tmp_path / "merged")]
    assert main(command) == 2
    assert "after the others had ended" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
