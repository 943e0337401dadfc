"""Simulated trees of energy and power files on a fake clock: Cray pm_counters, hwmon chips, an external meter."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from profiler.testing.clock import FakeClock
from profiler.testing.replay import Waveform
from profiler.units import NANOSECONDS_PER_SECOND

UNIX_EPOCH_SECONDS = 1_750_000_000
"""Unix time at the creation of a simulated tree."""


class FakeFiles(ABC):
    """Files whose content follows the clock.

    Args:
        folder: Folder of the files, which is created.
        clock: Its present time is time 0 of the waveforms.

    Attributes:
        is_frozen: If set, the files are no longer updated.
    """

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.folder = folder
        self.is_frozen = False
        self._clock = clock
        self._origin_ns = clock.now_ns()
        folder.mkdir(parents=True, exist_ok=True)
        clock.watch(lambda _: self.is_frozen or self.refresh())

    @property
    def seconds(self) -> float:
        """Seconds since time 0."""
        return (self._clock.now_ns() - self._origin_ns) / NANOSECONDS_PER_SECOND

    @abstractmethod
    def refresh(self) -> None:
        """Write the present values."""


class FakePmCounters(FakeFiles):
    """Tree like ``/sys/cray/pm_counters``, with the files of an HPE Cray EX node.

    Args:
        folder: Folder of the counters.
        clock: The clock.
        powers: Power by file: ``{"energy": Waveform.constant(900), "cpu_energy": ...}``.
        start_joules: Initial value of all counters.
    """

    def __init__(
        self, folder: Path, clock: FakeClock, powers: Mapping[str, Waveform], *, start_joules: int = 5_521_440
    ) -> None:
        super().__init__(folder, clock)
        self._powers = dict(powers)
        self.start_joules = start_joules
        self.generation = 1
        (folder / "version").write_text("2\n")
        (folder / "raw_scan_hz").write_text("10\n")
        (folder / "power").write_text("900 W 1594315453239262 us\n")
        self.refresh()

    def refresh(self) -> None:
        """Write the counters as of the last scan, ten of which happen per second."""
        scan = int(self.seconds * 10 + 1e-6)
        stamp = f"{(UNIX_EPOCH_SECONDS * 10 + scan) * 100_000} us"
        for name, waveform in self._powers.items():
            joules = self.start_joules + int(waveform.joules(scan / 10))
            (self.folder / name).write_text(f"{joules} J {stamp}\n")
        (self.folder / "freshness").write_text(f"{scan}\n")
        (self.folder / "generation").write_text(f"{self.generation}\n")


class FakeHwmon(FakeFiles):
    """Folder like ``/sys/class/hwmon``.

    Args:
        folder: The folder that holds ``hwmonN``.
        clock: The clock.
    """

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        super().__init__(folder, clock)
        self._energies: dict[Path, Waveform] = {}
        self._powers: dict[Path, tuple[Waveform, float]] = {}

    def chip(self, name: str, files: Mapping[str, str] | None = None, *, device: str | None = None) -> Path:
        """Add a chip with constant files, and return its folder.

        Args:
            name: Content of its ``name`` file.
            files: Content by name.
            device: Name of the PCI device that ``device`` links to.
        """
        folder = self.folder / f"hwmon{len(list(self.folder.glob('hwmon*')))}"
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        if device is not None:
            target = self.folder.parent / "devices" / device
            target.mkdir(parents=True, exist_ok=True)
            (folder / "device").symlink_to(target)
        for file, text in (files or {}).items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(f"{text}\n")
        return folder

    def energy(self, path: Path, watts: Waveform | float) -> None:
        """Add an energy file in microjoules."""
        self._energies[path] = watts if isinstance(watts, Waveform) else Waveform.constant(watts)
        self.refresh()

    def power(self, path: Path, watts: Waveform | float, *, scale: float = 1e6) -> None:
        """Add a file with the power in microwatts, or with another multiple of it."""
        self._powers[path] = watts if isinstance(watts, Waveform) else Waveform.constant(watts), scale
        self.refresh()

    def refresh(self) -> None:
        """Write the present values."""
        for path, waveform in self._energies.items():
            path.write_text(f"{round((1_000 + waveform.joules(self.seconds)) * 1e6)}\n")
        for path, (waveform, scale) in self._powers.items():
            path.write_text(f"{round(waveform.watts(self.seconds) * scale)}\n")


class FakeExternalMeter(FakeFiles):
    """File of an external meter that appends a line at a fixed interval.

    Args:
        path: The file.
        clock: The clock.
        waveform: Power of the node.
        unit: ``watts`` or ``joules``.
        interval_seconds: Time between two lines.
        delay_seconds: Time from a measurement until its line is written.
        clock_error_seconds: Offset of the meter's clock.
    """

    def __init__(
        self,
        path: Path,
        clock: FakeClock,
        waveform: Waveform,
        *,
        unit: str = "watts",
        interval_seconds: float = 0.1,
        delay_seconds: float = 0.0,
        clock_error_seconds: float = 0.0,
    ) -> None:
        super().__init__(path.parent, clock)
        self.path = path
        self._waveform = waveform
        self._unit = unit
        self._interval = interval_seconds
        self._delay = delay_seconds
        self._error = clock_error_seconds
        self._written = 0
        path.write_text(f"time,{unit}\n")

    def refresh(self) -> None:
        """Append the lines that are due."""
        due = int((self.seconds - self._delay) / self._interval + 1e-6)
        with self.path.open("a") as file:
            for number in range(self._written + 1, due + 1):
                at = number * self._interval
                value = self._waveform.watts(at) if self._unit == "watts" else self._waveform.joules(at)
                file.write(f"{UNIX_EPOCH_SECONDS + at + self._error:.6f},{value:.6f}\n")
        self._written = max(self._written, due)
