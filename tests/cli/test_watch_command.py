"""``energy-profiler watch`` on a terminal and in a log, for running, finished and killed runs."""

import io
import itertools
import os
import pty
import select
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from profiler.cli import main
from profiler.cli import watch as watch_command
from profiler.reporting.live_report import Watch
from profiler.reporting.watch_terminal import line, screen
from profiler.testing import FakeClock
from tests.support.growing_run import GrowingRun


@pytest.fixture
def growing(tmp_path):
    return GrowingRun(tmp_path / "run", steps=400, meta={"name": "baseline\x1b[31m"})


def drawn(view):
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(screen(view))
    return [text.rstrip() for text in console.file.getvalue().splitlines()]


RUNNING = """\
== baseline [31m: running after 77.0 s, measured ==
power   400 W now
  gpu:0               300 W  23.1 kJ  counter
  cpu:package-0      80.0 W  6.16 kJ  counter
  dram:package-0     20.0 W  1.54 kJ  counter
"""


def test_screen_of_a_running_run(growing):
    growing.grow(300)
    text = "\n".join(drawn(Watch("run").poll()))
    assert text.startswith(RUNNING + "loss    1.806\ncost ")
    assert "5 % lower" in text
    assert "forecast 0 s old" in text
    assert text.endswith("record  run")
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_numbers_equal_those_of_the_report(growing, capsys):
    growing.grow(400)
    growing.say("completed")
    main(["report", "run"])
    report = capsys.readouterr().out.splitlines()
    seen = drawn(Watch("run").poll())
    for start in ("== ", "cost", "where", "worth", "advice", "1.7"):
        assert [text for text in seen if text.startswith(start)] == [
            text for text in report if text.startswith(start)
        ]


def test_target_of_the_run_is_forecast(tmp_path):
    growing = GrowingRun(tmp_path / "aim", steps=400, meta={"goals": {"target_loss": 1.5}})
    growing.grow(300)
    view = Watch(tmp_path / "aim").poll()
    assert any(text.split()[:2] == ["1.500", "asked"] for text in drawn(view))
    assert "loss 1.500" in line(view).lower()


def test_changing_power_is_drawn(growing):
    growing.grow(200)
    rows = (growing.path / "samples.csv").read_text().splitlines(keepends=True)
    for number, row in enumerate(rows):
        seconds, domain, watts, _, rest = row.split(",", 4)
        if domain == "gpu:0":
            rows[number] = f"{seconds},{domain},{watts},{float(seconds) ** 2},{rest}"
    (growing.path / "samples.csv").write_text("".join(rows))
    (power,) = (text for text in drawn(Watch("run").poll()) if text.startswith("power"))
    bars = power.partition("now  ")[2]
    assert (len(bars), bars[0], bars[-1], sorted(bars)) == (40, "▁", "█", list(bars))


def test_empty_run_is_shown(growing):
    (growing.path / "samples.csv").unlink()
    growing.say("running", domains=[], name="")
    seen = drawn(Watch("run").poll())
    assert "power   not measured" in seen
    assert "where   no steps detected" in seen
    assert "loss    none yet" in seen
    assert line(Watch("run").poll()) == "0:00:02 running, 0 steps"


def test_once_prints_one_line(growing, capsys):
    growing.grow(300)
    assert main(["watch", "run", "--once"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("0:01:17 running, 300 steps, 400 W, 30.8 kJ, loss 1.806. Go on")
    assert (out.count("\n"), err) == (1, "")


def test_without_a_terminal_lines_are_printed_until_the_end(growing, capsys, monkeypatch):
    steps, waited = iter((100, 200, 400)), []

    def go_on(seconds):
        waited.append(seconds)
        growing.grow(next(steps))
        if len(waited) == 3:
            growing.say("completed")

    monkeypatch.setattr(watch_command, "time", SimpleNamespace(sleep=go_on))
    assert main(["watch", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [text.partition(" steps")[0] for text in lines] == [
        "0:00:02 running, 0", "0:00:27 running, 100", "0:00:52 running, 200", "0:01:42 completed, 400",
    ]  # fmt: skip
    assert waited == [10.0] * 3


def test_killed_run_is_interrupted_and_ends_the_view(growing, capsys):
    growing.grow(50)
    old = time.time() - 60
    for file in growing.path.iterdir():
        os.utime(file, (old, old))
    assert main(["watch", "run"]) == 0
    assert "interrupted, 50 steps" in capsys.readouterr().out


@pytest.mark.parametrize(("costs", "pause"), [(0.1, 2.0), (10.0, 15.0)])
def test_forecasts_are_limited_in_cost_and_in_age(growing, costs, pause):
    clock, work = FakeClock(), itertools.count(0.0, costs)
    clock.thread_seconds = work.__next__
    watch = Watch("run", clock=clock)

    def outlook(steps, seconds):
        clock.advance(seconds)
        growing.grow(steps)
        view = watch.poll()
        assert view.report.summary.steps == steps
        return view.report.outlook

    first = outlook(100, 0.0)
    assert outlook(200, pause - 0.01) is first
    assert outlook(200, 0.02) != first
    growing.say("completed")
    last = outlook(400, 0.0)
    assert last.last_loss == pytest.approx(1.773, abs=0.002), "the last word is about the whole run"


def terminal(arguments):
    """Start the command on a pseudo-terminal; return the process and the other end of the terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "profiler", *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "30"}, close_fds=True,
    )  # fmt: skip
    os.close(theirs)
    return process, ours


def read_until(end, words, seconds=20.0):
    text, deadline = "", time.monotonic() + seconds
    while words not in text and time.monotonic() < deadline:
        if select.select([end], [], [], 0.1)[0]:
            try:
                text += os.read(end, 65_536).decode()
            except OSError:
                break
    return text


@pytest.mark.slow
def test_terminal_view_updates_until_ctrl_c(growing):
    growing.grow(100)
    process, end = terminal(["watch", "run", "--every", "0.2"])
    assert "100 steps (100 J" in read_until(end, "record")
    growing.grow(200)
    assert "200 steps (100 J" in read_until(end, "200 steps (100 J")
    process.send_signal(signal.SIGINT)
    rest = read_until(end, "\x1b[?25h")
    assert process.wait(10) == 0
    assert rest.endswith("\x1b[?25h"), "the cursor is shown again"
    assert "Traceback" not in rest
    os.close(end)


MISTAKES = {
    "no such run": (["nothing"], "there is no such directory"),
    "not a run": (["."], "it has no run.json"),
    "too often": (["run", "--every", "0"], "--every must be at least 0.1 s"),
    "no number": (["run", "--every", "nan"], "--every must be at least 0.1 s"),
    "no port": (["run", "--web", "--port", "70000"], "--port must be between 0 and 65535"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_user_error_is_one_line_and_exit_code_2(growing, capsys, arguments, message):
    assert main(["watch", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)


def test_damaged_run_is_one_line_and_exit_code_2(growing, capsys):
    with (growing.path / "steps.csv").open("a") as file:
        file.write("nonsense\n")
    assert main(["watch", "run"]) == 2
    assert "steps.csv, line 2" in capsys.readouterr().err
