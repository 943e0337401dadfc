"""Simulated power PMU of the kernel: its files below a root folder, and events of scripted power."""

import errno
from collections.abc import Mapping
from pathlib import Path

from profiler.clock import Clock
from profiler.sensors.perf import PMU, PowerEvent
from profiler.testing.replay import Waveform
from profiler.units import NANOSECONDS_PER_SECOND

_CODES = {"energy-cores": 1, "energy-pkg": 2, "energy-ram": 3, "energy-gpu": 4, "energy-psys": 5}
_SCALE = 2.0**-32


class FakeCounter:
    """Open event.

    Attributes:
        broken: If set, reading fails.
    """

    def __init__(self, waveform: Waveform, clock: Clock) -> None:
        self._waveform = waveform
        self._clock = clock
        self._opened_ns = clock.now_ns()
        self.broken = False

    def read(self) -> int:
        """Return the counts since it was opened.

        Raises:
            OSError: It is broken.
        """
        if self.broken:
            raise OSError(errno.ENODEV, "the processor is offline")
        seconds = (self._clock.now_ns() - self._opened_ns) / NANOSECONDS_PER_SECOND
        return int(self._waveform.joules(seconds) / _SCALE)

    def close(self) -> None:
        """Make later reads fail."""
        self.broken = True


class FakePerfEvents:
    """Creates the PMU's files and opens events in place of the kernel.

    Args:
        root: Folder used as the root of the file system.
        powers: Power of each event on each package: ``{("energy-pkg", 0): Waveform.constant(100), ...}``.
        clock: Clock of the readings.
        dies: Number of dies per package, each of which the kernel lists.

    Attributes:
        opened: The counters opened so far.
        error: Exception to raise when an event is opened, or None.
    """

    def __init__(
        self,
        root: Path,
        powers: Mapping[tuple[str, int], Waveform],
        *,
        clock: Clock,
        dies: int = 1,
    ) -> None:
        self._powers = dict(powers)
        self._clock = clock
        self._dies = dies
        self.opened: list[FakeCounter] = []
        self.error: OSError | None = None
        self._write_files(root)

    def open_event(self, event: PowerEvent, cpu: int) -> FakeCounter:
        """Open an event on the package of a hardware thread.

        Raises:
            OSError: ``error`` is set, or the package has no such event.
        """
        if self.error is not None:
            raise self.error
        waveform = self._powers.get((event.name, cpu // self._dies))
        if waveform is None:
            raise OSError(errno.ENOENT, "no such event")
        self.opened.append(FakeCounter(waveform, self._clock))
        return self.opened[-1]

    def _write_files(self, root: Path) -> None:
        events = root / PMU / "events"
        events.mkdir(parents=True)
        (root / PMU / "type").write_text("23\n")
        for name in {name for name, _ in self._powers}:
            (events / name).write_text(f"event={_CODES[name]:#04x}\n")
            (events / f"{name}.scale").write_text(f"{_SCALE:.25e}\n")
            (events / f"{name}.unit").write_text("Joules\n")
        cpus = range((max(package for _, package in self._powers) + 1) * self._dies)
        (root / PMU / "cpumask").write_text(",".join(map(str, cpus)) + "\n")
        for cpu in cpus:
            topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
            topology.mkdir(parents=True)
            (topology / "physical_package_id").write_text(f"{cpu // self._dies}\n")
            (topology / "die_id").write_text(f"{cpu % self._dies}\n")
