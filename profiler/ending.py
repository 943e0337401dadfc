"""How a recording ends: in which status, and with what said of it."""

import random
from contextlib import suppress
from typing import TYPE_CHECKING

from profiler._compat import shown_path, write_stderr
from profiler.records import Status

if TYPE_CHECKING:
    from profiler.config import Options
    from profiler.monitoring.live_curve import LiveCurve
    from profiler.recording.session import Session


def status_of(error: BaseException | None) -> Status:
    """The status of a run that ``error`` ended, or nothing did."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return Status.COMPLETED
    return Status.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Status.FAILED


def end_by_interrupt() -> None:
    """Tell the interpreter once more that an interrupt ended it, so that it dies of it as it would have.

    It forgets when anything runs ``exec`` on text at exit, and half the standard library does.
    """
    with suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")  # noqa: S102 - only an interrupt of text counts


def say(message: str) -> None:
    """Say something to people, on stderr."""
    write_stderr(f"energy-profiler: {message}")


def print_report(session: "Session", curve: "LiveCurve", options: "Options") -> None:
    """Print the block at the end, from what is in memory."""
    chance = random.getstate()  # the import of rich draws from it, and the training may go on
    try:
        from profiler.merging.finalize import whole_run
        from profiler.reporting import exit_block, render, report_of

        whole = whole_run(session)
        if whole is None:
            prices, targets = options.prices(), options.goals().targets
            write_stderr(exit_block(session.summary(), curve.bins, curve.rates, prices, targets))
        else:
            write_stderr(render(report_of(whole), ".txt").rstrip("\n"))
    except Exception as error:  # noqa: BLE001 - everything is recorded; only its printing failed
        where = f"see energy-profiler report {shown_path(session.path)}"
        say(f"cannot print the report ({type(error).__name__}: {error}); {where}")
    finally:
        random.setstate(chance)
