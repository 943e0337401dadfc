"""Try power limits while a run trains, and keep the one of the lowest energy until it ends.

Every limit is enforced at least twice, for --dwell seconds each, on the NVIDIA GPUs that the run counts. The command
needs the right to set power limits, usually root. The limits from before are saved on disk first and restored when the
run ends, at an error and on SIGINT, SIGTERM and SIGHUP. After SIGKILL, restore them with --restore.
"""

import argparse
import math
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from profiler._compat import write_message
from profiler.cli.common import write_stdout
from profiler.cli.runs import add_run, find_run
from profiler.clock import MONOTONIC, Clock
from profiler.distributed.rank import host_id
from profiler.errors import SensorUnavailableError, UsageError
from profiler.merging.discovery import children
from profiler.records import Status, kind_of
from profiler.sensors.nvml_device import load_nvml
from profiler.sensors.power_limit import Board, restore_limits, save_limits, state_path
from profiler.storage.run_file import read_run_file
from profiler.units import NANOSECONDS_PER_SECOND, format_joules, format_seconds

if TYPE_CHECKING:
    from profiler.analysis.power_limits import PowerLimits

EXAMPLE = """\
examples:
  energy-profiler cap --try 400,350,300 --max-slowdown 5% energy_runs/20261121-101500-a1b2c3
  energy-profiler cap --restore"""
DWELL_SECONDS = 30.0
_LEAST_DWELL_SECONDS = 5.0
_POLL_SECONDS = 1.0
_ROUNDS = 2
_FAILED = 1
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_run(parser)
    parser.add_argument(
        "--try", dest="ladder", metavar="WATTS", help="power limits to try, such as 400,350,300"
    )
    parser.add_argument(
        "--max-slowdown",
        metavar="SHARE",
        default="5%",
        help="longest accepted steps, relative to those under the fastest limit; 5%% by default",
    )
    parser.add_argument(
        "--dwell",
        metavar="SECONDS",
        type=float,
        default=DWELL_SECONDS,
        help=f"time under each limit; {DWELL_SECONDS:g} by default",
    )
    parser.add_argument(
        "--rounds", metavar="N", type=int, default=_ROUNDS, help="visits of each limit; 2 by default"
    )
    parser.add_argument(
        "--restore", action="store_true", help="restore the limits from before a killed command"
    )


def run(options: argparse.Namespace) -> int:
    """Try the limits and keep the best until the run ends, or restore those of an earlier command."""
    with _nvml() as nvml:
        if options.restore:
            restored = restore_limits(nvml, state_path(os.environ))
            write_stdout(f"{len(restored)} power limit{'' if len(restored) == 1 else 's'} restored\n")
            return 0
        ladder, slowdown = _ladder(options.ladder), _share(options.max_slowdown)
        if options.rounds < _ROUNDS or not options.dwell >= _LEAST_DWELL_SECONDS:
            raise UsageError(
                f"--rounds must be at least {_ROUNDS} and --dwell at least {_LEAST_DWELL_SECONDS:g} s."
            )
        cap = Cap(
            nvml,
            find_run(options.run, options.root),
            ladder,
            max_slowdown=slowdown,
            dwell_seconds=options.dwell,
            rounds=options.rounds,
        )
        return cap.run()


@contextmanager
def _nvml() -> Iterator[Any]:
    pynvml = load_nvml("setting power limits")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise SensorUnavailableError(f"NVML does not start: {error}") from error
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _ladder(text: str | None) -> list[float]:
    try:
        limits = sorted({float(part) for part in (text or "").split(",")}, reverse=True)
    except ValueError:
        limits = []
    if len(limits) < 2 or not all(math.isfinite(limit) and limit > 0 for limit in limits):  # noqa: PLR2004
        raise UsageError("--try needs at least two different limits in watts, such as --try 400,350,300.")
    return limits


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        share = math.nan
    if not 0.0 <= share < math.inf:
        raise UsageError(f"--max-slowdown must be a share such as 5%, not {text!r}.")
    return share


class _Interrupted(BaseException):
    """A signal that ends the command; not an Exception, so that no handler on the way keeps it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Cap:
    """Power limits that are tried on the boards of a live run.

    Args:
        nvml: The initialised ``pynvml`` module.
        path: Directory of the run.
        ladder: The limits, in watts.
        max_slowdown: Longest accepted steps, relative to the shortest.
        dwell_seconds: Time under each limit.
        rounds: Visits of each limit.
        clock: Clock of the waits.

    Raises:
        UsageError: The run is over, has no board whose limit can be set, or a limit is out of a board's range.
        SensorUnavailableError: A board cannot be read, or other processes use it.
    """

    def __init__(
        self,
        nvml: Any,
        path: Path,
        ladder: Sequence[float],
        *,
        max_slowdown: float,
        dwell_seconds: float = DWELL_SECONDS,
        rounds: int = _ROUNDS,
        clock: Clock = MONOTONIC,
    ) -> None:
        self._nvml = nvml
        self._path = path
        self._ladder = tuple(ladder)
        self._max_slowdown = max_slowdown
        self._dwell = dwell_seconds
        self._rounds = rounds
        self._clock = clock
        self._state = state_path(os.environ)
        records = self._records()
        if not self._is_running(records):
            raise UsageError(f"{path} is not a running run; power limits are tried while it trains.")
        self._boards = _boards(nvml, records)
        if not self._boards:
            raise UsageError("the run counts no NVIDIA GPU of this machine.")
        for board in self._boards:
            if not (board.least_watts <= min(ladder) and max(ladder) <= board.most_watts):
                raise UsageError(
                    f"the limit of {board.name} must be between {board.least_watts:g} and {board.most_watts:g} W."
                )
        _refuse_foreign(self._boards, records)

    def run(self) -> int:
        """Try the limits, keep the best until the run ends, and restore the earlier ones. Return the exit code."""
        with _signals():
            save_limits(self._boards, self._state)
            try:
                return self._try_and_keep()
            except _Interrupted as interrupt:
                return 128 + interrupt.number
            finally:
                _ignore_signals()
                restore_limits(self._nvml, self._state)
                write_message("the power limits from before are restored")

    def _try_and_keep(self) -> int:
        seconds = self._rounds * len(self._ladder) * self._dwell
        write_message(f"trying {len(self._ladder)} power limits takes {format_seconds(seconds)}")
        for limit in self._ladder * self._rounds:
            self._set(limit)
            if not self._wait(self._dwell):
                write_stdout("the run ended before every limit was tried twice\n")
                return _FAILED
        found = self._compare()
        best = None if found is None else self._best(found)
        if found is None or best is None:
            reason = "" if found is None else f": {found.refused}"
            write_stdout(f"no limit can be named{reason}\n")
            return _FAILED
        write_stdout("\n".join(self._lines(found, best)) + "\n")
        self._set(best)
        self._wait(math.inf)
        return 0

    def _compare(self) -> "PowerLimits | None":
        from profiler.analysis.power_limits import power_limits_of
        from profiler.run import load_run

        self._wait(2 * _POLL_SECONDS)  # until the last steps are written
        return power_limits_of(load_run(self._path, partial=True))

    def _best(self, found: "PowerLimits") -> float | None:
        """Return the limit of the lowest energy among those that are not too slow; None if none can be compared."""
        tried = [one for one in found.limits if one.limit_watts in self._ladder and one.visits >= _ROUNDS]
        if found.refused or not tried:
            return None
        fastest = min(one.step_seconds.median for one in tried)
        accepted = [one for one in tried if one.step_seconds.median <= (1 + self._max_slowdown) * fastest]
        return min(accepted, key=lambda one: one.step_joules.median).limit_watts

    def _lines(self, found: "PowerLimits", best: float) -> Iterator[str]:
        yield f"{'limit':>7} {'visits':>7} {'energy per step':>16} {'time per step':>14}"
        for one in found.limits:
            joules, seconds = format_joules(one.step_joules.median), format_seconds(one.step_seconds.median)
            mark = "  kept until the run ends" if one.limit_watts == best else ""
            yield f"{one.limit_watts:>5.0f} W {one.visits:>7} {joules:>16} {seconds:>14}{mark}"
        yield f"least energy with steps at most {100 * self._max_slowdown:.0f} % longer: {best:.0f} W"

    def _set(self, limit: float) -> None:
        for board in self._boards:
            board.set_limit(round(limit * 1e3))

    def _wait(self, seconds: float) -> bool:
        """Wait while the run trains. Return False if it ended."""
        begun = self._clock.now_ns()
        while (self._clock.now_ns() - begun) / NANOSECONDS_PER_SECOND < seconds:
            self._clock.sleep(_POLL_SECONDS)
            if not self._is_running(self._records()):
                return False
        return True

    def _records(self) -> list[dict[str, Any]]:
        """Return ``run.json`` of each process of the run."""
        return [read_run_file(path) for path in children(self._path) or [self._path]]

    @staticmethod
    def _is_running(records: Sequence[dict[str, Any]]) -> bool:
        return any(record.get("status") == Status.RUNNING.value for record in records)


def _boards(nvml: Any, records: Sequence[dict[str, Any]]) -> list[Board]:
    """Open the NVIDIA boards of this machine that the run counts."""
    here = host_id(os.environ)
    names = {
        str(domain["device"]): str(domain["name"])
        for record in records
        if record.get("host") == here
        for domain in record.get("domains", ())
        if domain.get("billed")
        and str(domain.get("device") or "").startswith("GPU-")
        and kind_of(str(domain["name"])).is_accelerator
    }
    return [Board(nvml, uuid, name) for uuid, name in names.items()]


def _refuse_foreign(boards: Sequence[Board], records: Sequence[dict[str, Any]]) -> None:
    """Raise if processes that do not belong to the run compute on a board, since a limit would slow them too."""
    import psutil

    own: set[int] = set()
    for pid in (record["pid"] for record in records if "pid" in record):
        own.add(int(pid))
        try:
            own |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
        except psutil.Error:
            continue  # it ended, or belongs to another user
    for board in boards:
        if foreign := sorted(board.processes() - own):
            raise SensorUnavailableError(
                f"{board.name} is also used by process {', '.join(map(str, foreign))}, which is not part of the run: a "
                "power limit would slow it too"
            )


def _ignore_signals() -> None:
    """Ignore further signals, so that the limits are restored undisturbed."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _signals() -> Iterator[None]:
    """Raise :class:`_Interrupted` on the signals that end the command."""

    def interrupt(number: int, _: FrameType | None) -> NoReturn:
        _ignore_signals()
        raise _Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
