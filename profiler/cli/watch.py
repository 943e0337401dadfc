"""Watch a run while it trains, from another terminal. It only reads the run directory; ended runs are shown too.

Ctrl-C ends the view and not the run, with exit code 0. Without a terminal, a line is printed every ten seconds until
the run ends.
"""

import argparse
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from profiler.cli.common import add_metric, write_stdout
from profiler.cli.runs import add_run, find_run, run_directories
from profiler.errors import UsageError
from profiler.storage.schema import RUN_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from profiler.reporting.live_report import Watch

EXAMPLE = """\
examples:
  energy-profiler watch energy_runs/20261121-101500-a1b2c3
  energy-profiler watch energy_runs/20261121-101500-a1b2c3 --web --port 8000
  energy-profiler watch energy_runs --web
  energy-profiler watch energy_runs/20261121-101500-a1b2c3 --once"""

_ON_TERMINAL, _ELSEWHERE = 1.0, 10.0
"""Update interval in seconds."""
_SHORTEST = 0.1
_POLL_SHARE = 0.1
"""Largest share of one processor that polling may take."""
_LAST_PORT = 65_535


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_run(parser)
    add_metric(parser)
    parser.add_argument(
        "--every", metavar="SECONDS", type=float, help="update interval; 1, or 10 without a terminal"
    )
    parser.add_argument("--once", action="store_true", help="print one line and exit")
    parser.add_argument(
        "--web", action="store_true", help="serve a page on 127.0.0.1; RUN may then be a directory of runs"
    )
    parser.add_argument(
        "--port", metavar="PORT", type=int, default=0, help="port for --web; by default any free one"
    )


def run(options: argparse.Namespace) -> int:
    """Show the run until it ends or Ctrl-C."""
    if options.every is not None and not options.every >= _SHORTEST:
        raise UsageError(f"--every must be at least {_SHORTEST:g} s, not {options.every:g}.")
    if not 0 <= options.port <= _LAST_PORT:
        raise UsageError(f"--port must be between 0 and {_LAST_PORT}, not {options.port}.")
    with suppress(KeyboardInterrupt):
        _show(options)
    return 0


def _show(options: argparse.Namespace) -> None:
    from profiler.reporting.live_report import Watch

    path = find_run(options.run, options.root)
    if options.web and _is_folder(path):
        from profiler.cli.watch_folder import Folder
        from profiler.cli.watch_web import serve

        serve(Folder(path, options.every or _ON_TERMINAL), port=options.port)
        return
    watch = Watch(path, charted=options.web, metric=options.metric, goal=options.goal)
    on_terminal = sys.stdout.isatty() and not options.once
    every = options.every or (_ON_TERMINAL if on_terminal or options.web else _ELSEWHERE)
    if options.web:
        from profiler.cli.watch_snapshot import Latest
        from profiler.cli.watch_web import serve

        serve(Latest(watch, every), port=options.port)
    elif on_terminal:
        _draw(watch, every)
    else:
        _print(watch, every, once=options.once)


def _is_folder(path: "Path") -> bool:
    """Return true for a directory that is no run, but has runs below it."""
    from profiler.merging.discovery import children

    is_run = (path / RUN_FILE).exists() or bool(children(path))
    return not is_run and next(run_directories(path), None) is not None


def _draw(watch: "Watch", every: float) -> None:
    from rich.live import Live

    from profiler.reporting.watch_terminal import screen

    view = watch.poll()
    with Live(screen(view), auto_refresh=False) as live:
        while not view.is_over:
            began = time.monotonic()
            view = watch.poll()
            live.update(screen(view), refresh=True)
            took = time.monotonic() - began
            time.sleep(max(every - took, took / _POLL_SHARE))


def _print(watch: "Watch", every: float, *, once: bool) -> None:
    from profiler.reporting.watch_terminal import line

    view = watch.poll()
    write_stdout(f"{line(view)}\n")
    while not (view.is_over or once):
        time.sleep(every)
        view = watch.poll()
        write_stdout(f"{line(view)}\n")
