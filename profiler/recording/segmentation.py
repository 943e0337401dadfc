"""Cutting the window into steps and spans that tile it without gap or overlap. Pure: times in, tiles out.

A step reaches from the end of what came before it to its last update. What is plainly not part of it is cut off as a
span: a phase that the user named, or an evaluation, that ended before the step's first backward pass, and a wait that
is much longer than this loop's usual lead from one update to the next backward pass (data loading and forward pass).

On a device that runs behind the host a phase begins for the host before the device is done with the step before it:
what belongs to a step is decided by the host's times, and its length by the device's.
"""

from bisect import insort
from collections import deque
from operator import attrgetter
from statistics import median
from typing import NamedTuple

from profiler.recording.steps import Step
from profiler.units import NANOSECONDS_PER_SECOND

_SHORT_NS = NANOSECONDS_PER_SECOND // 1000
"""Pieces shorter than this are not worth a row: they join what follows."""

_STALL_NS = NANOSECONDS_PER_SECOND
_STALL_RATIO = 5
"""A lead is a stall when it is longer than this many usual leads, and than a second."""

_IDLE_NS = 10 * NANOSECONDS_PER_SECOND
"""Without a step for this long, and for five usual steps, what has passed is written: a killed run keeps it."""

_REMEMBERED = 33

EVALUATION = "evaluation"


class Tile(NamedTuple):
    """A piece of the window: a step, or a span of some kind. Times in monotonic nanoseconds."""

    start_ns: int
    end_ns: int
    label: str
    step: Step | None = None

    @property
    def seen_ns(self) -> int:
        """When the host was done with it."""
        return self.end_ns if self.step is None else self.step.host_end_ns


class _Change(NamedTuple):
    """From this moment on the phase is another one; what the user says goes before what was noticed."""

    time_ns: int
    label: str
    is_said: bool


class Tiler:
    """Cuts the window as steps and changes of phase come in."""

    def __init__(self, start_ns: int) -> None:
        self._cursor = start_ns
        self._said = self._noticed = ""
        self._changes: list[_Change] = []
        self._leads: deque[int] = deque(maxlen=_REMEMBERED)
        self._durations: deque[int] = deque(maxlen=_REMEMBERED)
        self._started = False

    def phase(self, time_ns: int, label: str) -> None:
        """From ``time_ns`` on the user's phase is ``label``; empty for none."""
        insort(self._changes, _Change(time_ns, label, is_said=True), key=attrgetter("time_ns"))

    def evaluation(self, time_ns: int, *, begins: bool) -> None:
        """An evaluation that the user said nothing of begins or ends at ``time_ns``."""
        label = EVALUATION if begins else ""
        insort(self._changes, _Change(time_ns, label, is_said=False), key=attrgetter("time_ns"))

    def step(self, step: Step) -> list[Tile]:
        """Add a finished step; returns what it closes, itself last."""
        end = max(step.end_ns, self._cursor)
        tiles = self._cut_before(step, end) if self._changes else []
        lead = step.first_backward_ns - self._cursor
        if lead > _STALL_NS:
            tiles += self._cut_stall(lead)
        if step.first_backward_ns and self._started:
            self._leads.append(lead)
        self._durations.append(end - self._cursor)
        tiles.append(Tile(self._cursor, end, self._label, step))
        self._cursor, self._started = end, True
        return tiles

    def idle(self, now_ns: int) -> list[Tile]:
        """Cut off what has passed without a step, once it is long enough to matter if the process is killed."""
        patience = max(_IDLE_NS, _STALL_RATIO * (int(median(self._durations)) if self._durations else 0))
        tiles = self._cut(now_ns, now_ns, now_ns) if now_ns - self._cursor > patience else []
        return tiles + (self._rest(now_ns, "stall") if now_ns - self._cursor > patience else [])

    def finish(self, end_ns: int) -> list[Tile]:
        """Cut the rest of the window."""
        return self._rest(end_ns, "teardown")

    def _rest(self, end_ns: int, kind: str) -> list[Tile]:
        tiles = self._cut(end_ns, end_ns, end_ns)
        if end_ns > self._cursor:
            tiles.append(self._span(end_ns, self._label, kind))
        return tiles

    def _span(self, end_ns: int, label: str, kind: str = "stall") -> Tile:
        name = label or (kind if self._started else "setup")
        tile = Tile(start_ns=self._cursor, end_ns=end_ns, label=name)
        self._cursor = end_ns
        return tile

    @property
    def _label(self) -> str:
        return self._said or self._noticed

    def _cut_before(self, step: Step, end_ns: int) -> list[Tile]:
        lag_ns = step.end_ns - step.host_end_ns
        until_ns = max(step.host_end_ns, self._cursor - lag_ns)
        work_ns = step.first_backward_ns - lag_ns if step.first_backward_ns else until_ns
        return self._cut(until_ns, work_ns, end_ns)

    def _cut(self, until_ns: int, work_ns: int, end_ns: int) -> list[Tile]:
        """Cut at the changes of phase up to ``until_ns``; those after work began only rename what follows."""
        tiles = []
        while self._changes and self._changes[0].time_ns <= until_ns:
            change = self._changes.pop(0)
            time_ns, before = min(change.time_ns, end_ns), self._label
            if change.is_said:
                self._said = change.label
            else:
                self._noticed = change.label
            is_cut = change.time_ns <= work_ns and (change.is_said or self._label != before)
            if is_cut and time_ns - self._cursor >= _SHORT_NS:
                tiles.append(self._span(time_ns, before))
        return tiles

    def _cut_stall(self, lead: int) -> list[Tile]:
        usual = int(median(self._leads)) if self._leads else 0
        is_known = bool(self._leads) or not self._started
        return (
            [self._span(self._cursor + lead - usual, self._label)]
            if is_known and lead > _STALL_RATIO * usual
            else []
        )
