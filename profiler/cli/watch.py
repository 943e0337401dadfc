"""Look at a run while it trains, from another terminal. The run does not notice; a finished or killed one is shown too.

Ctrl-C ends the view, not the run, and is no error. Without a terminal it prints a line now and then until the run ends.
"""

import argparse
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from profiler.errors import UsageError

if TYPE_CHECKING:
    from profiler.reporting.live_report import Watch

EXAMPLE = """\
examples:
  energy-profiler watch energy_runs/20261121-101500-a1b2c3
  energy-profiler watch energy_runs/20261121-101500-a1b2c3 --web --port 8000
  energy-profiler watch energy_runs/20261121-101500-a1b2c3 --once"""

_ON_TERMINAL, _ELSEWHERE = 1.0, 10.0
"""Seconds between two looks."""
_SHORTEST = 0.1
_LOOK_SHARE = 0.1
"""The most of one processor that looking may take."""
_LAST_PORT = 65_535


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument(
        "--every", metavar="SECONDS", type=float, help="between two looks; 1, or 10 without a terminal"
    )
    parser.add_argument("--once", action="store_true", help="print a line and leave")
    parser.add_argument("--web", action="store_true", help="show a page on 127.0.0.1 instead")
    parser.add_argument(
        "--port", metavar="PORT", type=int, default=0, help="for --web; any free one by default"
    )


def run(options: argparse.Namespace) -> int:
    """Show the run until it ends or the user has seen enough."""
    if options.every is not None and not options.every >= _SHORTEST:
        raise UsageError(f"--every must be at least {_SHORTEST:g} s, not {options.every:g}.")
    if not 0 <= options.port <= _LAST_PORT:
        raise UsageError(f"--port must lie between 0 and {_LAST_PORT}, not {options.port}.")
    with suppress(KeyboardInterrupt):
        _show(options)
    return 0


def _show(options: argparse.Namespace) -> None:
    from profiler.reporting.live_report import Watch

    watch = Watch(options.run, charted=options.web)
    on_terminal = sys.stdout.isatty() and not options.once
    every = options.every or (_ON_TERMINAL if on_terminal or options.web else _ELSEWHERE)
    if options.web:
        from profiler.cli.watch_web import serve

        serve(watch, port=options.port, every=every)
    elif on_terminal:
        _draw(watch, every)
    else:
        _print(watch, every, once=options.once)


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
            time.sleep(max(every - took, took / _LOOK_SHARE))


def _print(watch: "Watch", every: float, *, once: bool) -> None:
    from profiler.reporting.watch_terminal import line

    view = watch.poll()
    print(line(view), flush=True)
    while not (view.is_over or once):
        time.sleep(every)
        view = watch.poll()
        print(line(view), flush=True)
