"""Where between two ticks of a counter a boundary's energy lies, judged by the course that steps of this loop take."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile

from profiler.recording.intervals import Segment
from profiler.recording.power_profile import PARTS, StepShape, add_exposure
from profiler.recording.segmentation import Tile
from profiler.recording.timeline import Timeline

_REMEMBERED_TILES = 64
_TRUSTED_AFTER = 24
"""Gains from which a course must have been learnt."""
_BETTER = 0.8
"""The mean square of its errors must be less than this share of the straight line's."""
_NOTICEABLE = 0.01
"""The straight line's errors must exceed this share of a gain: where ticks lock to the steps nothing shows in them."""
_MEMORY = 0.97
_EAGER_GAINS = 200
_LATER_EVERY = 4
"""After so many gains only every fourth is learnt from."""
_FEWEST_AHEAD = 1e-9


class Sharing:
    """Learns the course of power over steps from one counter, and pins the counter's energy at the ends of steps.

    The course is trusted while it says better than a straight line what the counter shows half-way between two ticks.

    Args:
        timeline: The counter's energy.
    """

    __slots__ = (
        "_gain_joules",
        "_gains",
        "_last_step_ns",
        "_level",
        "_line_error",
        "_previous",
        "_seen_ns",
        "_shape_error",
        "_shapes",
        "_spans",
        "_tiles",
        "_timeline",
    )

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._shapes: dict[str, StepShape] = {}
        self._spans: dict[str, float] = {}
        self._tiles: deque[Tile] = deque(maxlen=_REMEMBERED_TILES)
        self._last_step_ns = 0
        self._level = 0.0
        self._line_error = self._shape_error = 0.0
        self._previous: tuple[Segment, float] | None = None
        self._seen_ns = 0
        self._gains = 0
        self._gain_joules = 0.0

    @property
    def is_trusted(self) -> bool:
        """Whether the learnt course is better than a straight line."""
        tells = self._line_error > (_NOTICEABLE * self._gain_joules) ** 2
        return tells and self._gains >= _TRUSTED_AFTER and self._shape_error < _BETTER * self._line_error

    def settle(self, tile: Tile, following: Sequence[Tile]) -> None:
        """Take the next tile, which the counter has passed, and pin the energy at its end.

        Args:
            tile: The tile.
            following: What is known of those after it.
        """
        self._tiles.append(tile)
        if tile.step is not None:
            self._last_step_ns = tile.end_ns - tile.start_ns
        segment = self._timeline.segment(tile.end_ns)
        if segment is None:
            return
        self._learn(segment.start_ns)
        if self.is_trusted and not segment.is_bridged:
            self._pin(tile, following, segment)

    def _pin(self, tile: Tile, following: Sequence[Tile], segment: Segment) -> None:
        known = [tile, *_until(following, segment.end_ns)]
        if not self._can_tell(known, segment.end_ns):
            return
        begun = max(segment.start_ns, tile.start_ns)
        behind = self._energy(tile, begun, tile.end_ns)
        ahead = self._ahead(known, segment.end_ns)
        first = self._timeline.joules_at(begun)
        share = behind / max(behind + ahead, _FEWEST_AHEAD)
        self._timeline.pin(tile.end_ns, first + share * (segment.end_joules - first), self._shape_error)

    def _can_tell(self, tiles: Sequence[Tile], end_ns: int) -> bool:
        """Whether the course of power up to ``end_ns`` is known: steps follow steps, but what follows a span?"""
        learnt = all(tile.step is not None or tile.label in self._spans for tile in tiles)
        return learnt and (tiles[-1].step is not None or tiles[-1].end_ns >= end_ns)

    def _ahead(self, tiles: Sequence[Tile], end_ns: int) -> float:
        """Relative energy from the first tile's end to ``end_ns``; unknown tiles are taken for steps like the last."""
        energy = sum(self._energy(tile, tile.start_ns, min(tile.end_ns, end_ns)) for tile in tiles[1:])
        rest = end_ns - tiles[-1].end_ns
        if rest <= 0:
            return energy
        shape = self._shapes.get(tiles[0].label) or StepShape()
        length = max(self._last_step_ns, 1)
        whole, part = divmod(rest, length)
        return energy + length * (whole + shape.before(part / length))

    def _energy(self, tile: Tile, start_ns: int, end_ns: int) -> float:
        """Energy of a part of a tile in nanoseconds of the mean power of steps."""
        if tile.step is None:
            return self._spans.get(tile.label, 1.0) * (end_ns - start_ns)
        shape, length = self._shapes.get(tile.label), tile.end_ns - tile.start_ns
        if shape is None or length <= 0:
            return float(end_ns - start_ns)
        first, last = (start_ns - tile.start_ns) / length, (end_ns - tile.start_ns) / length
        return length * (shape.before(last) - shape.before(first))

    def _learn(self, until_ns: int) -> None:
        """Learn from the gains that ended before ``until_ns``, all of whose tiles are known."""
        for segment in self._timeline.segments(self._seen_ns, until_ns):
            self._seen_ns = segment.end_ns
            label, exposures = self._exposures(segment)
            if exposures is None or segment.is_bridged or segment.watts <= 0:
                self._previous = None
                if label and not segment.is_bridged and self._level > 0:
                    self._learn_span(label, segment.watts / self._level)
            else:
                self._learn_gain(label, exposures, segment)

    def _learn_span(self, label: str, level: float) -> None:
        self._spans[label] = 0.5 * (self._spans.get(label, level) + level)

    def _learn_gain(self, label: str, exposures: list[float], segment: Segment) -> None:
        self._level += (segment.watts - self._level) * (0.05 if self._level else 1.0)
        shape = self._shapes.setdefault(label, StepShape())
        expected = shape.expected(exposures) * segment.seconds
        if self._previous is not None and shape.learnt >= PARTS:
            self._validate(self._previous, segment, expected)
        self._previous = segment, expected
        self._gains += 1
        self._gain_joules = segment.joules
        if self._gains < _EAGER_GAINS or self._gains % _LATER_EVERY == 0:
            shape.learn(exposures, segment.watts / self._level)

    def _validate(self, previous: tuple[Segment, float], segment: Segment, expected: float) -> None:
        """Compare what line and course say of the tick between two gains with what the counter showed there."""
        before, expected_before = previous
        both = before.joules + segment.joules
        line = before.joules - both * before.seconds / (before.seconds + segment.seconds)
        course = before.joules - both * expected_before / max(expected_before + expected, _FEWEST_AHEAD)
        self._line_error += (1 - _MEMORY) * (line**2 - self._line_error)
        self._shape_error += (1 - _MEMORY) * (course**2 - self._shape_error)

    def _exposures(self, segment: Segment) -> tuple[str, list[float] | None]:
        """How the segment's time falls on parts of steps; None, with the span's label, where it is not all steps."""
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


def _until(tiles: Sequence[Tile], end_ns: int) -> Iterator[Tile]:
    """The tiles that begin before ``end_ns``."""
    return takewhile(lambda tile: tile.start_ns < end_ns, islice(tiles, _REMEMBERED_TILES))
