"""What every command has in common."""

import os
import tempfile
from contextlib import contextmanager
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


def test_the_list_of_commands_is_frozen(capsys):
    assert list(COMMANDS) == ["run", "report", "watch", "compare", "merge", "export", "doctor"]
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(command.help in " ".join(out.split()) for command in COMMANDS.values())


@contextmanager
def plain_user():
    """Root may read everything: become somebody else where the tests run as root."""
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
    """A run directory, and another one, at whose doors anybody may come."""
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
def test_what_may_not_be_read_is_one_line_and_exit_code_2(run_dir, capsys, arguments, closed):
    assert main(arguments) == 0, "everything is imported while it still may be"
    capsys.readouterr()
    Path(closed).chmod(0)
    with plain_user():
        assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("energy-profiler: ")
    assert closed in err
