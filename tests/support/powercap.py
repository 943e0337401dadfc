"""Simulated powercap tree in a folder, with scripted power and the faults of real trees."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from profiler.clock import MONOTONIC, Clock
from profiler.testing.clock import FakeClock
from profiler.testing.replay import Waveform
from profiler.units import NANOSECONDS_PER_SECOND

_COUNTER_STATES = 2**32
_KERNEL_UNIT_SCALE = 1000
"""The kernel stores the unit of a counter in whole thousandths of a microjoule."""


@dataclass(slots=True, kw_only=True)
class FakeZone:
    """Zone of a simulated tree.

    Attributes:
        identifier: Name of its folder.
        folder: Folder of its files.
        waveform: True power.
        start_joules: Value of the counter at the tree's time 0.
        unit_nanojoules: Unit of the counter; 61,035 wraps around at 262 kJ and 15,258 at 65.5 kJ.
        text: Content of its file in place of the counter; None while it is healthy.
    """

    identifier: str
    folder: Path
    waveform: Waveform
    start_joules: float
    unit_nanojoules: int
    text: str | None = None

    def shown_uj(self, seconds: float) -> int:
        """Return the counter in microjoules, ``seconds`` after the tree's time 0."""
        counts = int((self.start_joules + self.waveform.joules(seconds)) * 1e9 / self.unit_nanojoules)
        return self._to_uj(counts % _COUNTER_STATES)

    @property
    def max_range_uj(self) -> int:
        """Largest value of the counter, in microjoules."""
        return self._to_uj(_COUNTER_STATES - 1)

    def _to_uj(self, counts: int) -> int:
        return counts * self.unit_nanojoules // _KERNEL_UNIT_SCALE


class FakePowercap:
    """Creates and updates a tree like ``/sys/class/powercap``.

    With a ``FakeClock``, the counters are updated when it moves; with a real clock, call ``refresh`` or use ``live``.

    Args:
        root: An empty or missing folder.
        clock: Clock of the tree; its present time is the tree's time 0.
    """

    def __init__(self, root: Path, *, clock: Clock = MONOTONIC) -> None:
        self.root = root
        self._devices = root.parent / f"{root.name}-devices"
        self._clock = clock
        self._origin_ns = clock.now_ns()
        self._zones: dict[str, FakeZone] = {}
        root.mkdir(parents=True, exist_ok=True)
        if isinstance(clock, FakeClock):
            clock.watch(lambda _: self.refresh())

    def add(
        self,
        name: str,
        waveform: Waveform | float,
        *,
        parent: FakeZone | None = None,
        control: str = "intel-rapl",
        start_joules: float = 1_000.0,
        unit_nanojoules: int = 61_035,
    ) -> FakeZone:
        """Add a zone.

        Args:
            name: Content of its ``name`` file: ``package-0``, ``dram``, ...
            waveform: Its power, or constant watts.
            parent: The zone above it; None for a top-level zone.
            control: ``intel-rapl`` or ``intel-rapl-mmio``.
            start_joules: Initial value of the counter.
            unit_nanojoules: Unit of the counter.
        """
        above = parent.folder if parent else self._devices / control
        stem = parent.identifier if parent else control
        siblings = sum(zone.folder.parent == above for zone in self._zones.values())
        folder = above / f"{stem}:{siblings}"
        wave = waveform if isinstance(waveform, Waveform) else Waveform.constant(waveform)
        zone = FakeZone(identifier=folder.name, folder=folder, waveform=wave, start_joules=start_joules,
                        unit_nanojoules=unit_nanojoules)  # fmt: skip
        self._zones[zone.identifier] = zone
        self._create(zone, name)
        return zone

    def mirror(self, name: str, of: FakeZone) -> FakeZone:
        """Add a top-level zone that shows another zone's counter, as the dies of some packages do."""
        return self.add(name, of.waveform, start_joules=of.start_joules, unit_nanojoules=of.unit_nanojoules)

    def refresh(self) -> None:
        """Write the present value of every counter."""
        for zone in self._zones.values():
            if zone.folder.exists():
                self._write(zone)

    def tear(self, zone: FakeZone, text: str = "12") -> None:
        """Replace the content of the zone's file by ``text``, without a line ending, until ``heal``."""
        zone.text = text
        self._write(zone)

    def garble(self, zone: FakeZone, text: str = "not a number\n") -> None:
        """Replace the content of the zone's file by ``text`` until ``heal``."""
        self.tear(zone, text)

    def heal(self, zone: FakeZone) -> None:
        """End ``tear``, ``garble`` and ``vanish``."""
        zone.text = None
        if not zone.folder.exists():
            hidden = self._hidden(zone)
            hidden.rename(zone.folder)
        self._write(zone)

    def vanish(self, zone: FakeZone) -> None:
        """Remove the zone's folder, as unloading the driver does, until ``heal``."""
        # Reading an open file of a removed zone returns nothing; a plain file would still return its last value.
        for path in zone.folder.rglob("energy_uj"):
            path.write_bytes(b"")
        zone.folder.rename(self._hidden(zone))

    def restart(self, zone: FakeZone, joules: float = 0.0) -> None:
        """Reset the counter to ``joules``."""
        zone.start_joules = joules - zone.waveform.joules(self._seconds())
        self._write(zone)

    def freeze(self, zone: FakeZone) -> None:
        """Stop the counter at its present value until ``heal``."""
        self.tear(zone, f"{zone.shown_uj(self._seconds())}\n")

    def hide_maximum(self, zone: FakeZone) -> None:
        """Make the counter's range unreadable."""
        (zone.folder / "max_energy_range_uj").unlink()

    def make_unreadable(self, zone: FakeZone) -> None:
        """Make the counter unreadable for all users, including root: its file becomes a folder."""
        (zone.folder / "energy_uj").unlink()
        (zone.folder / "energy_uj").mkdir()

    def forbid(self, zone: FakeZone) -> None:
        """Remove the read permission of all users except root."""
        (zone.folder / "energy_uj").chmod(0o200)

    def mask(self) -> None:
        """Remove the targets of the class folder's links, as container runtimes do."""
        shutil.rmtree(self._devices)

    @contextmanager
    def live(self, period_seconds: float = 0.001) -> Iterator[None]:
        """Update the counters from a thread, for a real clock."""
        done = threading.Event()

        def follow() -> None:
            while not done.wait(period_seconds):
                self.refresh()

        writer = threading.Thread(target=follow, name="fake-powercap", daemon=True)
        writer.start()
        try:
            yield
        finally:
            done.set()
            writer.join()

    def _create(self, zone: FakeZone, name: str) -> None:
        zone.folder.mkdir(parents=True)
        (zone.folder / "name").write_text(f"{name}\n")
        (zone.folder / "max_energy_range_uj").write_text(f"{zone.max_range_uj}\n")
        (zone.folder / "energy_uj").write_bytes(b"")
        (self.root / zone.identifier).symlink_to(zone.folder)
        control = self.root / zone.identifier.partition(":")[0]
        if not control.exists():
            control.symlink_to(self._devices / control.name)
        self._write(zone)

    def _write(self, zone: FakeZone) -> None:
        text = zone.text if zone.text is not None else f"{zone.shown_uj(self._seconds())}\n"
        path = zone.folder / "energy_uj"
        if path.is_file():
            # Written in place, because a reader keeps the file open, as in sysfs.
            with path.open("r+b") as file:
                file.write(text.encode())
                file.truncate()

    def _seconds(self) -> float:
        return (self._clock.now_ns() - self._origin_ns) / NANOSECONDS_PER_SECOND

    def _hidden(self, zone: FakeZone) -> Path:
        return zone.folder.with_name(f".gone-{zone.folder.name}")


def real_time_powercap(root: Path) -> FakePowercap:
    """Return an empty tree on the real monotonic clock; add zones, then use ``live``."""
    return FakePowercap(root)
