"""An external meter whose readings another program writes to a file or a named pipe.

The first line is ``time,watts`` or ``time,joules``; each further line is a reading with its time in seconds of the Unix
epoch. The meter (a PDU, a smart plug, a BMC) is assumed to measure the whole node.
"""

import math
import os
import stat
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from profiler.clock import Clock
from profiler.errors import SensorError, SensorUnavailableError
from profiler.records import Domain, Provenance, Reading
from profiler.sensors.base import Found
from profiler.sensors.counter_check import over_seconds, times
from profiler.sensors.environment import Environment
from profiler.sensors.file_meters import STALE_SECONDS, count_parts
from profiler.sensors.wraparound import MAX_PLATFORM_WATTS, WrappingCounter
from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

VARIABLE = "ENERGY_PROFILER_EXTERNAL_METER"
"""Environment variable with the path of the file or pipe."""
_GAIN_UNCERTAINTY = 0.05
"""Relative standard deviation, chosen by this project: the accuracy of an unknown meter."""
_MAX_BYTES = 1 << 16
_MAX_LINE = 200
_MAX_WAIT_SECONDS, _POLL_SECONDS = 1.0, 0.01
_BUFFERED_SECONDS = 30.0
"""Oldest reading that is accepted, relative to the time at which it is read."""
_AGES_KEPT = 64
_LAG_SECONDS = 1.0
_EARLIEST_NS, _LATEST_NS = -NANOSECONDS_PER_SECOND // 20, 10 * NANOSECONDS_PER_SECOND
"""Ages of a line at which its time is taken to be by the clock of this machine."""
_UNITS = ("watts", "joules")


class LineReader:
    """Reads new complete lines of a file or pipe without blocking.

    Args:
        path: The file or pipe.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        self._descriptor = os.open(path, os.O_RDONLY | flags)
        self._rest = b""
        self._skips_line = False

    @property
    def is_file(self) -> bool:
        """True for a regular file, False for a pipe."""
        return stat.S_ISREG(os.fstat(self._descriptor).st_mode)

    def lines(self) -> list[str]:
        """Return the complete lines since the last call, at most 64 KiB.

        Raises:
            OSError: It cannot be read.
        """
        try:
            data = os.read(self._descriptor, _MAX_BYTES)
        except BlockingIOError:
            return []
        *complete, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_MAX_LINE:]
        if complete and self._skips_line:
            del complete[0]
            self._skips_line = False
        return [line.decode("ascii", "replace").strip() for line in complete]

    def skip_to_end(self) -> str:
        """Skip the existing content of a file, up to the end of a line that is being written.

        Returns:
            The last complete line.
        """
        size = os.lseek(self._descriptor, 0, os.SEEK_END)
        os.lseek(self._descriptor, max(size - 2 * _MAX_LINE, 0), os.SEEK_SET)
        *complete, rest = os.read(self._descriptor, 2 * _MAX_LINE).split(b"\n")
        self._rest, self._skips_line = b"", bool(rest)
        return complete[-1].decode("ascii", "replace").strip() if complete else ""

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class ExternalMeter:
    """Reads an external meter.

    Args:
        lines: The open file or pipe, after its header.
        last_line: The last line from before the start, which is used if it is recent.
        domain: The domain; its provenance determines whether lines contain watts or joules.
        clock: Clock of the readings.
    """

    def __init__(self, lines: LineReader, last_line: str, domain: Domain, *, clock: Clock) -> None:
        self._lines = lines
        self._last_line = last_line
        self._domain = domain
        self._clock = clock
        self._counter = WrappingCounter(None, max_watts=MAX_PLATFORM_WATTS, lag_seconds=_LAG_SECONDS)
        self._offsets: deque[int] = deque(maxlen=_AGES_KEPT)
        self._arrived_ns = clock.now_ns()
        self._last_ns = self._arrived_ns - round(_BUFFERED_SECONDS * NANOSECONDS_PER_SECOND)
        self._longest_silence_ns = 0
        self._invalid = 0
        self._closed = False

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The node."""
        return (self._domain,)

    def read(self) -> Sequence[Reading]:
        """Return the readings that were written since the last call; none if there is no new line.

        Raises:
            SensorError: The sensor is closed, or the file cannot be read.
        """
        if self._closed:
            raise SensorError("the external meter is closed")
        try:
            lines = self._lines.lines()
        except OSError as error:
            raise SensorError(f"the external meter cannot be read: {error}") from error
        now = self._clock.now_ns()
        values = [value for line in lines if line and (value := self._parse(line)) is not None]
        if values:
            self._arrived_ns = now
        self._longest_silence_ns = max(self._longest_silence_ns, now - self._arrived_ns)
        earlier, self._last_line = self._last_line, ""
        if earlier and (value := self._parse(earlier)) is not None and _is_recent(value[0]):
            values.insert(0, value)
        if not values:
            return []
        offset_ns = self._offset_ns(values[-1][0], now)
        readings = (self._reading(min(at + offset_ns, now), value, now) for at, value in values)
        return [reading for reading in readings if reading is not None]

    def _offset_ns(self, newest: int, now: int) -> int:
        """Return the offset from the meter's clock to the monotonic clock, given the time of the newest line."""
        if _is_recent(newest):
            return now - time.time_ns()
        # A line always arrives after its measurement, so the smallest delay is the best estimate.
        self._offsets.append(now - newest)
        return min(self._offsets)

    def _parse(self, line: str) -> tuple[int, float] | None:
        """Return nanoseconds of the meter's clock and the value."""
        if line.lower().replace(" ", "") in _HEADERS:
            return None
        try:
            seconds, value = (float(part) for part in line.split(","))
        except ValueError:
            seconds = value = math.nan
        if not (math.isfinite(seconds) and math.isfinite(value) and value >= 0):
            self._invalid += 1
            return None
        return round(seconds * NANOSECONDS_PER_SECOND), value

    def _reading(self, time_ns: int, value: float, now: int) -> Reading | None:
        if time_ns <= self._last_ns or now - time_ns > _BUFFERED_SECONDS * NANOSECONDS_PER_SECOND:
            return None
        if self._domain.provenance is Provenance.INTEGRATED:
            is_valid, energy = value <= MAX_PLATFORM_WATTS, None
        else:
            energy_uj = self._counter.update(round(value * MICROJOULES_PER_JOULE), time_ns)
            is_valid = energy_uj is not None
            energy = None if energy_uj is None else energy_uj / MICROJOULES_PER_JOULE
        if not is_valid:
            self._invalid += 1
            return None
        self._last_ns = time_ns
        power = value if energy is None else None
        return Reading(domain=self._domain.name, time_ns=time_ns, energy_joules=energy, power_watts=power)

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        self._lines.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Long silences, invalid lines and resets of the counter."""
        name, found = self._domain.name, []
        silence = self._longest_silence_ns / NANOSECONDS_PER_SECOND
        if silence >= STALE_SECONDS:
            over = over_seconds(silence) if silence >= 10 * STALE_SECONDS else f"{STALE_SECONDS:g} s"
            found.append(f"{name}: the external meter was stale: it wrote no reading for over {over}.")
        if self._invalid:
            found.append(f"{name}: an invalid line of the external meter was ignored {times(self._invalid)}.")
        if self._counter.restarts:
            found.append(
                f"{name}: the counter of the external meter was reset {times(self._counter.restarts)}."
            )
        return tuple(found)


def _is_recent(at: int) -> bool:
    """Return True if a Unix time in nanoseconds is plausible as a recent time by the clock of this machine."""
    return _EARLIEST_NS <= time.time_ns() - at <= _LATEST_NS


_HEADERS = {f"time,{unit}": unit for unit in _UNITS}


def open_external(environment: Environment) -> Found:
    """Open the external meter that the environment variable names; nothing is found without one.

    Raises:
        SensorUnavailableError: The file cannot be read, or its first line is not a header.
    """
    named = environment.environ.get(VARIABLE)
    return open_meter(Path(named), environment) if named else Found()


def open_meter(path: Path, environment: Environment) -> Found:
    """Open an external meter.

    Args:
        path: File or named pipe.
        environment: The machine.

    Raises:
        SensorUnavailableError: The file cannot be read, or its first line is not a header.
    """
    try:
        lines = LineReader(path)
    except OSError as error:
        raise SensorUnavailableError(
            f"the external meter {path} cannot be opened: {error.strerror}"
        ) from error
    unit = _unit(lines, environment.clock)
    if unit is None:
        lines.close()
        raise SensorUnavailableError(
            f"the external meter {path} has no header",
            remedy="Its first line, written within a second after the start, must be time,watts or time,joules",
        )
    last_line = lines.skip_to_end() if lines.is_file else ""
    domain = Domain(
        name="node:external",
        source=f"external meter ({unit})",
        provenance=Provenance.INTEGRATED if unit == "watts" else Provenance.COUNTER,
        gain_uncertainty=_GAIN_UNCERTAINTY,
        buffered_seconds=_BUFFERED_SECONDS,
    )
    (domain,) = count_parts([domain], environment.measured, "external meter")
    return Found(sensors=(ExternalMeter(lines, last_line, domain, clock=environment.clock),))


def _unit(lines: LineReader, clock: Clock) -> str | None:
    """Return the unit in the header; None if no header arrives within a second."""
    for _ in range(round(_MAX_WAIT_SECONDS / _POLL_SECONDS)):
        try:
            first = next(iter(lines.lines()), None)
        except OSError:
            return None
        if first is not None:
            return _HEADERS.get(first.lower().replace(" ", ""))
        clock.sleep(_POLL_SECONDS)
    return None
