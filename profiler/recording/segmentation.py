"""Segmentation of the window into steps and spans without gap or overlap. Pure: times in, tiles out.

A step extends from the end of the previous tile to its own last update. Two kinds of time before its first backward
pass are cut off as a span: a phase of the user or an evaluation, and a wait that is much longer than this loop's usual
lead from one update to the next backward pass (data loading and forward pass).

On a device that runs behind the host, a phase begins on the host before the device has finished the step before it:
the host's times decide what belongs to a step, and the device's times decide its length.
"""

from bisect import insort
from collections import deque
from operator import attrgetter
from statistics import median
from typing import NamedTuple

from profiler.recording.steps import Step
from profiler.units import NANOSECONDS_PER_SECOND

_SHORT_NS = NANOSECONDS_PER_SECOND // 1000
"""Shorter pieces get no row of their own and join the following tile."""

_STALL_NS = NANOSECONDS_PER_SECOND
_STALL_RATIO = 5
"""A lead is a stall when it is longer than this many usual leads and longer than a second."""

_IDLE_NS = 10 * NANOSECONDS_PER_SECOND
"""Time without a step, beside five usual steps, after which a span is written, so that a killed run keeps it."""

_REMEMBERED = 33

EVALUATION = "evaluation"
EMPTY_KINDS = {"setup", "stall", "teardown"}
"""Kinds of spans in which nothing of the training was recognized."""


class Tile(NamedTuple):
    """A piece of the window: a step, or a span of some kind. Times in monotonic nanoseconds.

    A span overlaps if phases of other tasks or threads were open in it too.
    """

    start_ns: int
    end_ns: int
    label: str
    step: Step | None = None
    overlaps: bool = False

    @property
    def seen_ns(self) -> int:
        """Time at which the host ended it."""
        return self.end_ns if self.step is None else self.step.host_end_ns


_NEW = (
    tuple.__new__
)  # the constructor of a named tuple is a Python function, which costs as much as the rest of a step


class _Change(NamedTuple):
    """Change of phase. Phases of the user take precedence over detected ones."""

    time_ns: int
    label: str
    is_user: bool
    overlaps: bool = False


class Segmenter:
    """Cuts the window as steps and changes of phase arrive."""

    def __init__(self, start_ns: int) -> None:
        self._cursor = start_ns
        self._user_phase = self._detected_phase = ""
        self._changes: list[_Change] = []
        self._leads: deque[int] = deque(maxlen=_REMEMBERED)
        self._durations: deque[int] = deque(maxlen=_REMEMBERED)
        self._started = self._overlaps = False

    def add_phase(self, time_ns: int, label: str, *, overlaps: bool = False) -> None:
        """Set the user's phase from ``time_ns`` on; empty for none."""
        change = _Change(time_ns, label, is_user=True, overlaps=overlaps)
        insort(self._changes, change, key=attrgetter("time_ns"))

    def add_evaluation(self, time_ns: int, *, begins: bool) -> None:
        """Record the start or end of a detected evaluation."""
        label = EVALUATION if begins else ""
        insort(self._changes, _Change(time_ns, label, is_user=False), key=attrgetter("time_ns"))

    def add_step(self, step: Step) -> list[Tile]:
        """Add a finished step. Return the tiles that it completes, itself last."""
        end = max(self._cursor, step.end_ns)
        tiles = self._cut_before(step, end) if self._changes else []
        lead = step.first_backward_ns - self._cursor
        if lead > _STALL_NS:
            tiles += self._cut_stall(lead)
        if step.first_backward_ns and self._started:
            self._leads.append(lead)
        self._durations.append(end - self._cursor)
        label = self._user_phase or self._detected_phase
        tiles.append(_NEW(Tile, (self._cursor, end, label, step, False)))
        self._cursor, self._started = end, True
        return tiles

    def idle(self, now_ns: int) -> list[Tile]:
        """Return spans for the time without a step, once it is long enough to matter if the process is killed."""
        patience = max(_IDLE_NS, _STALL_RATIO * (int(median(self._durations)) if self._durations else 0))
        tiles = self._cut(now_ns, now_ns, now_ns) if now_ns - self._cursor > patience else []
        return tiles + (self._rest(now_ns, "stall") if now_ns - self._cursor > patience else [])

    def finish(self, end_ns: int) -> list[Tile]:
        """Return the tiles of the rest of the window."""
        return self._rest(end_ns, "teardown")

    def _rest(self, end_ns: int, kind: str) -> list[Tile]:
        tiles = self._cut(end_ns, end_ns, end_ns)
        if end_ns > self._cursor:
            tiles.append(self._span(end_ns, self._label, kind))
        return tiles

    def _span(self, end_ns: int, label: str, kind: str = "stall") -> Tile:
        name = label or (kind if self._started else "setup")
        tile = Tile(start_ns=self._cursor, end_ns=end_ns, label=name, overlaps=self._overlaps)
        self._cursor = end_ns
        return tile

    @property
    def _label(self) -> str:
        return self._user_phase or self._detected_phase

    def _cut_before(self, step: Step, end_ns: int) -> list[Tile]:
        # Changes of phase are timed by the host, the end of the step by the device, which runs behind by this much.
        lag_ns = step.end_ns - step.host_end_ns
        until_ns = max(step.host_end_ns, self._cursor - lag_ns)
        work_ns = step.first_backward_ns - lag_ns if step.first_backward_ns else until_ns
        return self._cut(until_ns, work_ns, end_ns)

    def _cut(self, until_ns: int, work_ns: int, end_ns: int) -> list[Tile]:
        """Cut at the changes of phase up to ``until_ns``; changes after ``work_ns`` only rename the following tile."""
        tiles = []
        while self._changes and self._changes[0].time_ns <= until_ns:
            change = self._changes.pop(0)
            time_ns, before, overlaps = min(change.time_ns, end_ns), self._label, self._overlaps
            if change.is_user:
                self._user_phase, self._overlaps = change.label, change.overlaps
            else:
                self._detected_phase = change.label
            is_cut = change.time_ns <= work_ns and (change.is_user or self._label != before)
            if is_cut and time_ns - self._cursor >= _SHORT_NS:
                tiles.append(self._span(time_ns, before)._replace(overlaps=overlaps))
        return tiles

    def _cut_stall(self, lead: int) -> list[Tile]:
        usual = int(median(self._leads)) if self._leads else 0
        is_known = bool(self._leads) or not self._started
        return (
            [self._span(self._cursor + lead - usual, self._label)]
            if is_known and lead > _STALL_RATIO * usual
            else []
        )
