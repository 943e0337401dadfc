"""Run directories from anywhere: whatever their files are, readers return or raise an error with file and field."""

import json
import os
import random
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiler import load_run
from profiler.errors import RunDamagedError, RunError
from profiler.merging.follow import Follower
from profiler.merging.merge import merge
from tests.support.damaged_runs import mutate, read_all
from tests.support.rank_jobs import write_rank
from tests.support.runs import write_run

RECORDED = Path(__file__).parents[1] / "data" / "schema_1_0"
QUICKLY_SECONDS = 10.0


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run", steps=8)


def change(path, **entries):
    file = path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def refused(path, match, read=lambda path: load_run(path).summary()):
    began = time.monotonic()
    with pytest.raises(RunError, match=match) as caught:
        read(path)
    assert time.monotonic() - began < QUICKLY_SECONDS
    return caught.value


@pytest.mark.parametrize("name", ["run.json", "steps.csv", "samples.csv"])
def test_a_pipe_is_refused_at_once(run_dir, name):
    (run_dir / name).unlink()
    os.mkfifo(run_dir / name)
    assert refused(run_dir, "is not a regular file").path == run_dir / name


@pytest.mark.parametrize("name", ["run.json", "steps.csv"])
def test_links_out_of_the_run_are_refused(run_dir, tmp_path, name):
    outside = tmp_path / "outside"
    (run_dir / name).rename(outside)
    (run_dir / name).symlink_to(outside)
    refused(run_dir, "leads out of the run directory")
    (run_dir / name).unlink()
    (run_dir / name).symlink_to("/dev/zero")
    refused(run_dir, "leads out of the run directory")


def test_links_within_the_run_are_followed(run_dir):
    (run_dir / "steps.csv").rename(run_dir / "rows")
    (run_dir / "steps.csv").symlink_to("rows")
    assert load_run(run_dir).summary().steps == 8


def test_a_link_to_itself_is_refused(run_dir):
    (run_dir / "steps.csv").unlink()
    (run_dir / "steps.csv").symlink_to("steps.csv")
    refused(run_dir, r"steps\.csv")


def test_a_directory_in_place_of_a_file(run_dir):
    (run_dir / "steps.csv").unlink()
    (run_dir / "steps.csv").mkdir()
    refused(run_dir, "is not a regular file")


@pytest.mark.parametrize(
    ("name", "match"), [("run.json", "larger than 64 MB"), ("steps.csv", "longer than 1 MB")]
)
def test_a_sparse_file_is_refused_at_once(run_dir, name, match):
    with (run_dir / name).open("r+b") as file:
        file.truncate(10_000_000_000)
    refused(run_dir, match)


def test_a_long_line_within_a_file_is_refused(run_dir):
    file = run_dir / "steps.csv"
    lines = file.read_bytes().splitlines(keepends=True)
    lines.insert(4, b"x" * 3_000_000 + b"\n")
    file.write_bytes(b"".join(lines))
    assert refused(run_dir, "longer than 1 MB").line == 5
    run = load_run(run_dir, partial=True)
    assert (len(run.steps), run.total_joules) == (3, 1600.0)


def test_a_long_line_at_the_end_of_a_followed_file_is_refused(run_dir, tmp_path):
    change(run_dir, status="running", totals=None)
    follower = Follower(run_dir)
    follower.poll()
    with (run_dir / "steps.csv").open("ab") as file:
        file.write(b"x" * 3_000_000)
    refused(run_dir, "longer than 1 MB", lambda _: follower.poll())


def test_a_large_table_is_streamed(run_dir):
    """Larger than the longest line, so that it is read in pieces."""
    lines = (run_dir / "samples.csv").read_text().splitlines(keepends=True)
    last = lines[-3:]
    (run_dir / "samples.csv").write_text("".join([*lines, *last * 20_000]))
    assert len(load_run(run_dir).samples) == len(lines) - 1 + 60_000


TEXTS = {
    "deeply nested": ("[" * 100_000, "nested too deeply|not JSON"),
    "many digits": ('{"schema_version": ' + "9" * 5_000 + "}", "not JSON"),
    "UTF-16": ("{}".encode("utf-16"), "not UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf{}", "not JSON"),
}


@pytest.mark.parametrize(("content", "match"), TEXTS.values(), ids=TEXTS)
def test_text_that_is_not_json(run_dir, content, match):
    (run_dir / "run.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(run_dir, match)


FIELDS = {
    "refusals": [{"source": 1, "reason": "x"}],
    "totals": [1],
    "domains": {},
    "warnings": "text",
    "missing": None,
    "world_size": 10**12,
    "rank": "../../x",
    "attempt": "x",
    "clock": None,
    "overhead": [],
    "process_group": 1,
    "resumed": {"run": 1},
    "ranks": [{}],
    "total_steps": -1,
    "learning_rate_plan": {"source": "x", "knots": [[1]]},
    "goals": {"target_loss": "x"},
    "prices": {"pue": 0.5},
    "started_unix_seconds": 1e308,
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_wrong_field_is_named(run_dir, field):
    change(run_dir, **{field: FIELDS[field]})
    error = refused(run_dir, rf"run\.json: {field}")
    assert error.path == run_dir / "run.json"


@pytest.mark.parametrize(
    "field", ["gain_uncertainty", "update_period_seconds", "bridged_seconds", "notes", "billed"]
)
def test_a_wrong_field_of_a_domain_is_named(run_dir, field):
    meta = json.loads((run_dir / "run.json").read_text())
    meta["domains"][1][field] = "\x1b[31mtext"
    change(run_dir, domains=meta["domains"])
    message = str(refused(run_dir, rf"domains\[1\]\.{field}"))
    assert message.isprintable()


def test_a_number_of_400_digits_is_named_by_its_length(run_dir):
    change(run_dir, total_steps=10**400)
    refused(run_dir, "total_steps is a number of 401 digits")


def test_rows_with_joules_need_a_counted_domain(run_dir):
    change(run_dir, domains=[])
    refused(run_dir, r"run\.json: domains")


@pytest.mark.parametrize(
    "entries", [{"world_size": 10**12}, {"rank": "../../x"}, {"clock": None}, {"attempt": "x"}]
)
def test_a_hostile_rank_is_refused(tmp_path, entries):
    job = tmp_path / "job"
    for rank in range(2):
        write_rank(job, rank)
    change(job / "rank-00001-attempt-0", **entries)
    error = refused(job, next(iter(entries)), lambda path: merge([path]))
    assert error.path == job / "rank-00001-attempt-0" / "run.json"


def test_a_rank_directory_that_is_a_link_out_of_the_job_is_refused(tmp_path):
    job = tmp_path / "job"
    write_rank(job, 0)
    (job / "rank-00001-attempt-0").symlink_to("/etc")
    refused(job, "leads out of the run directory", load_run)


def test_every_reader_reads_an_undamaged_run():
    total, failures = read_all(RECORDED / "single", pages=True)
    assert total > 0
    assert not failures


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_readers_return_or_raise_typed_errors(tmp_path_factory, seed):
    """``scripts/fuzz.py`` does the same for longer, and fits curves and draws pages too."""
    rng = random.Random(seed)
    run = tmp_path_factory.mktemp("fuzz") / "run"
    shutil.copytree(RECORDED / rng.choice(("single", "job", "killed")), run)
    note = mutate(run, rng)
    _, failures = read_all(run, forecasts=False)
    assert not failures, (note, failures)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_a_damaged_table_never_changes_the_total(tmp_path_factory, seed):
    rng = random.Random(seed)
    run = write_run(tmp_path_factory.mktemp("fuzz") / "run", steps=6)
    expected = load_run(run).total_joules
    meta = (run / "run.json").read_bytes()
    note = mutate(run, rng)
    (run / "run.json").write_bytes(meta)
    with suppress(RunDamagedError):
        assert load_run(run).total_joules == expected, note
