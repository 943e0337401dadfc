"""Counter energy at step boundaries between two ticks, from the learnt power profile of the loop's steps."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from profiler.recording.power_profile import PARTS, PowerProfile, add_exposure
from profiler.recording.timeline import Segment, Timeline

if TYPE_CHECKING:
    from profiler.recording.segmentation import Tile

_REMEMBERED_TILES = 64
_TRUSTED_AFTER = 24
"""Number of gains from which a profile must have been learnt."""
_BETTER = 0.8
"""Mean square error of the profile must be below this share of the straight line's."""
_NOTICEABLE = 0.01
"""The straight line's errors must exceed this share of a gain: ticks locked to the steps do not show any."""
_MEMORY = 0.97
_EAGER_GAINS = 200
_LATER_EVERY = 4
"""After so many gains only every fourth is learnt from."""
_SMALLEST_ENERGY = 1e-9


class StepInterpolator:
    """Learns the power profile of steps from one counter, and pins the counter's energy at the ends of steps.

    The profile is used while it predicts the counter half-way between two ticks better than a straight line does.

    Args:
        timeline: Energy of the counter.
    """

    __slots__ = (
        "_gain_joules",
        "_gains",
        "_last_step_ns",
        "_learnt_until_ns",
        "_level",
        "_line_error",
        "_previous",
        "_profile_error",
        "_profiles",
        "_span_levels",
        "_tiles",
        "_timeline",
    )

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._profiles: dict[str, PowerProfile] = {}
        self._span_levels: dict[str, float] = {}
        self._tiles: deque[Tile] = deque(maxlen=_REMEMBERED_TILES)
        self._last_step_ns = 0
        self._level = 0.0
        self._line_error = self._profile_error = 0.0
        self._previous: tuple[Segment, float] | None = None
        self._learnt_until_ns = 0
        self._gains = 0
        self._gain_joules = 0.0

    @property
    def is_trusted(self) -> bool:
        """True if the learnt profile predicts better than a straight line."""
        is_visible = self._line_error > (_NOTICEABLE * self._gain_joules) ** 2
        is_learnt = self._gains >= _TRUSTED_AFTER
        return is_visible and is_learnt and self._profile_error < _BETTER * self._line_error

    def interpolate(self, tile: "Tile", following: Sequence["Tile"]) -> None:
        """Add the next tile, which the counter has passed, and pin the energy at its end.

        Args:
            tile: The tile.
            following: The tiles known so far after it.
        """
        self._tiles.append(tile)
        if tile.step is not None:
            self._last_step_ns = tile.end_ns - tile.start_ns
        segment = self._timeline.segment(tile.end_ns)
        if segment is None:
            return
        self._learn(segment.start_ns)
        if self.is_trusted and not segment.is_gap:
            self._pin(tile, following, segment)

    def _pin(self, tile: "Tile", following: Sequence["Tile"], segment: Segment) -> None:
        known = [tile, *_until(following, segment.end_ns)]
        if not self._is_predictable(known, segment.end_ns):
            return
        # The gain from the last known energy to the next tick is divided at the tile's end in proportion to the
        # energy that the profile predicts before and after it.
        first_ns = max(segment.start_ns, tile.start_ns)
        before = self._energy(tile, first_ns, tile.end_ns)
        after = self._energy_after(known, segment.end_ns)
        first = self._timeline.joules_at(first_ns)
        share = before / max(before + after, _SMALLEST_ENERGY)
        self._timeline.pin(tile.end_ns, first + share * (segment.end_joules - first), self._profile_error)

    def _is_predictable(self, tiles: Sequence["Tile"], end_ns: int) -> bool:
        """Return whether the power up to ``end_ns`` is predictable: a step may follow a step, but not a span."""
        is_learnt = all(tile.step is not None or tile.label in self._span_levels for tile in tiles)
        return is_learnt and (tiles[-1].step is not None or tiles[-1].end_ns >= end_ns)

    def _energy_after(self, tiles: Sequence["Tile"], end_ns: int) -> float:
        """Return the relative energy from the first tile's end to ``end_ns``; unknown tiles count as more steps."""
        energy = sum(self._energy(tile, tile.start_ns, min(tile.end_ns, end_ns)) for tile in tiles[1:])
        rest = end_ns - tiles[-1].end_ns
        if rest <= 0:
            return energy
        profile = self._profiles.get(tiles[0].label) or PowerProfile()
        length = max(self._last_step_ns, 1)
        whole, part = divmod(rest, length)
        return energy + length * (whole + profile.before(part / length))

    def _energy(self, tile: "Tile", start_ns: int, end_ns: int) -> float:
        """Return the energy of a part of a tile, in nanoseconds at the mean power of steps."""
        if tile.step is None:
            return self._span_levels.get(tile.label, 1.0) * (end_ns - start_ns)
        profile, length = self._profiles.get(tile.label), tile.end_ns - tile.start_ns
        if profile is None or length <= 0:
            return float(end_ns - start_ns)
        first, last = (start_ns - tile.start_ns) / length, (end_ns - tile.start_ns) / length
        return length * (profile.before(last) - profile.before(first))

    def _learn(self, until_ns: int) -> None:
        """Learn from the gains that ended before ``until_ns``, all of whose tiles are known."""
        for segment in self._timeline.segments(self._learnt_until_ns, until_ns):
            self._learnt_until_ns = segment.end_ns
            label, exposures = self._exposures(segment)
            if exposures is None or segment.is_gap or segment.watts <= 0:
                self._previous = None
                if label and not segment.is_gap and self._level > 0:
                    self._learn_span(label, segment.watts / self._level)
            else:
                self._learn_gain(label, exposures, segment)

    def _learn_span(self, label: str, level: float) -> None:
        self._span_levels[label] = 0.5 * (self._span_levels.get(label, level) + level)

    def _learn_gain(self, label: str, exposures: list[float], segment: Segment) -> None:
        # The profile is relative to the mean power, which follows slow changes, such as throttling.
        self._level += (segment.watts - self._level) * (0.05 if self._level else 1.0)
        profile = self._profiles.setdefault(label, PowerProfile())
        expected = profile.expected(exposures) * segment.seconds
        if self._previous is not None and profile.gains >= PARTS:
            self._validate(self._previous, segment, expected)
        self._previous = segment, expected
        self._gains += 1
        self._gain_joules = segment.joules
        if self._gains < _EAGER_GAINS or self._gains % _LATER_EVERY == 0:
            profile.learn(exposures, segment.watts / self._level)

    def _validate(self, previous: tuple[Segment, float], segment: Segment, expected: float) -> None:
        """Update the errors of line and profile, both as predictions of the tick between two gains."""
        # The energy at the tick between two gains is known: both methods are tested on it as if it had not been read.
        before, expected_before = previous
        both = before.joules + segment.joules
        line = before.joules - both * before.seconds / (before.seconds + segment.seconds)
        profile = before.joules - both * expected_before / max(expected_before + expected, _SMALLEST_ENERGY)
        self._line_error += (1 - _MEMORY) * (line**2 - self._line_error)
        self._profile_error += (1 - _MEMORY) * (profile**2 - self._profile_error)

    def _exposures(self, segment: Segment) -> tuple[str, list[float] | None]:
        """Return the label and the segment's share of each part of a step; None instead where it is not all steps."""
        exposures, covered, label = [0.0] * PARTS, 0, ""
        whole = segment.end_ns - segment.start_ns
        for tile in self._tiles:
            first, last = max(tile.start_ns, segment.start_ns), min(tile.end_ns, segment.end_ns)
            if last <= first:
                continue
            if tile.step is None or (covered and tile.label != label):
                return (tile.label if last - first == whole else ""), None
            label, covered = tile.label, covered + last - first
            length = tile.end_ns - tile.start_ns
            add_exposure(
                exposures,
                (first - tile.start_ns) / length,
                (last - tile.start_ns) / length,
                (last - first) / whole,
            )
        return label, exposures if covered == whole else None


def _until(tiles: Sequence["Tile"], end_ns: int) -> Iterator["Tile"]:
    return takewhile(lambda tile: tile.start_ns < end_ns, islice(tiles, _REMEMBERED_TILES))
