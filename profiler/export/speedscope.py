"""Flame graphs for speedscope: where the time of a run went, and where its energy did.

The format is that of https://www.speedscope.app/file-format-schema.json. It has no unit of energy: the second graph's
axis is joules, without a unit. Inside a row of steps the timed parts stand one after the other, each as long as it
took in all.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from profiler._version import __version__
from profiler.export.timeline import Tile, tiles_of

if TYPE_CHECKING:
    from profiler.run import Run

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_DIGITS = 6


def export(run: "Run") -> bytes:
    """Write the file."""
    tiles, frames = tiles_of(run), _Frames()
    profiles = [_by_time(tiles, frames)]
    if any(tile.joules is not None for tile in tiles):
        profiles.append(_by_energy(tiles, frames))
    content = {
        "$schema": _SCHEMA,
        "name": str(run.meta.get("name", "")),
        "exporter": f"energy-profiler {__version__}",
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": name} for name in frames.numbers]},
        "profiles": profiles,
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode() + b"\n"


class _Frames:
    """Gives each name its number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))


class _Stack:
    """Writes frames that open and close, along an axis that never goes back."""

    def __init__(self, frames: _Frames) -> None:
        self.events: list[dict[str, Any]] = []
        self.at = 0.0
        self._frames = frames
        self._group: str | None = None

    def add(self, tile: Tile, start: float, end: float, parts: Iterable[tuple[str, float]] = ()) -> None:
        """Put a tile between two places, inside the frame of its group, which neighbours share."""
        if tile.group != self._group:
            self.close()
            self._mark("O", tile.group, start)
            self._group = tile.group
        if tile.is_step:
            self._mark("O", "step", start)
            for name, length in parts:
                self._mark("O", name, self.at)
                self._mark("C", name, min(self.at + length, end))
            self._mark("C", "step", end)
        self.at = max(self.at, end)

    def close(self) -> None:
        """End the frame that is open."""
        if self._group is not None:
            self._mark("C", self._group, self.at)
        self._group = None

    def _mark(self, kind: str, name: str, at: float) -> None:
        self.at = max(self.at, round(at, _DIGITS))
        self.events.append({"type": kind, "frame": self._frames[name], "at": self.at})


def _by_time(tiles: list[Tile], frames: _Frames) -> dict[str, Any]:
    stack = _Stack(frames)
    for tile in tiles:
        stack.add(tile, tile.start_seconds, tile.end_seconds, tile.parts.items())
    return _profile("time", "seconds", stack)


def _by_energy(tiles: list[Tile], frames: _Frames) -> dict[str, Any]:
    stack, joules = _Stack(frames), 0.0
    for tile in tiles:
        stack.add(tile, joules, joules := joules + (tile.joules or 0.0))
    return _profile("energy (joules)", "none", stack)


def _profile(name: str, unit: str, stack: _Stack) -> dict[str, Any]:
    stack.close()
    ends = {"startValue": 0.0, "endValue": stack.at}
    return {"type": "evented", "name": name, "unit": unit, **ends, "events": stack.events}
