"""Behaviour that all commands share."""

import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from profiler.cli import COMMANDS, main
from tests.support.runs import write_run

NOBODY = 65_534


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert out.startswith(f"usage: energy-profiler {name}")
    assert f"\n  energy-profiler {name}" in out[out.index("example") :]
    assert max(map(len, out.splitlines())) <= 120


def test_list_of_commands(capsys):
    assert list(COMMANDS) == [
        "run",
        "report",
        "watch",
        "list",
        "compare",
        "allocate",
        "size",
        "merge",
        "export",
        "cap",
        "doctor",
    ]
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(command.help in " ".join(out.split()) for command in COMMANDS.values())


@pytest.mark.parametrize(("users", "expected"), [(None, "1"), ("3", "3")])
def test_readers_use_one_thread_of_numpy_by_default(tmp_path, monkeypatch, users, expected):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", users or "")
    if users is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    assert main(["list", str(tmp_path)]) == 0
    assert os.environ["OPENBLAS_NUM_THREADS"] == expected


@contextmanager
def plain_user():
    """Drop the rights of root, which may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def run_dir(monkeypatch):
    """Two run directories that other users may reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.chdir(folder)
        write_run(Path("other"), steps=30)
        run = write_run(Path("run"), steps=20)
        yield run
        run.chmod(0o755)
        monkeypatch.undo()


READERS = {
    "report": ["report", "run"],
    "watch": ["watch", "run", "--once"],
    "compare": ["compare", "run", "other"],
    "export": ["export", "run", "--format", "csv"],
}


@pytest.mark.parametrize("closed", ["run", "run/steps.csv"])
@pytest.mark.parametrize("arguments", READERS.values(), ids=READERS)
def test_unreadable_file_is_one_line_and_exit_code_2(run_dir, capsys, arguments, closed):
    assert main(arguments) == 0, "everything is imported while it still may be"
    capsys.readouterr()
    Path(closed).chmod(0)
    with plain_user():
        assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("energy-profiler: ")
    assert closed in err


MISTYPED = {
    "an option": (
        ["export", "run", "--formt", "csv"],
        "export",
        "unknown option --formt; did you mean --format?",
    ),
    "with a value": (
        ["report", "run", "--ouput=x"],
        "report",
        "unknown option --ouput; did you mean --output?",
    ),
    "an option of run": (
        ["run", "--nmae", "x", "train.py"],
        "run",
        "unknown option --nmae; did you mean --name?",
    ),
    "nothing alike": (["doctor", "--zzz"], "doctor", "unknown option --zzz\n"),
    "a second run": (["report", "one", "two"], "report", "unexpected argument two"),
    "a command": (["reprot", "run"], "", "unknown command reprot; did you mean report?"),
}


@pytest.mark.parametrize(("words", "command", "message"), MISTYPED.values(), ids=MISTYPED)
def test_usage_error_shows_the_usage_of_its_command_and_a_suggestion(capsys, words, command, message):
    with pytest.raises(SystemExit) as raised:
        main(words)
    out, err = capsys.readouterr()
    assert (raised.value.code, out) == (2, "")
    assert err.startswith(f"usage: energy-profiler {command}")
    assert message in err.splitlines()[-1] + "\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the full device of Linux")
def test_error_without_a_file_name_names_none(tmp_path, monkeypatch, capsys):
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it raises: the text stays in its buffer
    monkeypatch.setattr("sys.stdout", full)
    assert main(["list", str(tmp_path)]) == 2
    monkeypatch.undo()
    with suppress(OSError):
        full.close()
    assert capsys.readouterr().err == "energy-profiler: No space left on device\n"
