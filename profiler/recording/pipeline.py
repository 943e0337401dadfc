"""The pipeline that runs beside the training: readings and events in, rows out. One thread owns it."""

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from profiler.recording import device_selection
from profiler.recording.aggregation import RowBuilder
from profiler.recording.meter import Meters
from profiler.recording.rate_limit import Thinner
from profiler.recording.segmentation import Tile, Tiler
from profiler.recording.steps import StepMerger
from profiler.records import Reading
from profiler.storage.schema import METRICS, SAMPLES, SPANS, STEPS, MetricRow, StepRow
from profiler.storage.summary import Totals
from profiler.storage.writer import RunWriter
from profiler.torch_hooks.events import EventId, Expired, PendingScalar, StepEvent
from profiler.units import NANOSECONDS_PER_SECOND

_FOR_EVER_NS = 1 << 62
_METRIC_PATIENCE_NS = 2 * NANOSECONDS_PER_SECOND
_MOST_WAITING = 500_000
"""165 MB of steps, and more than 8 minutes of the fastest training."""
_MANY_EVENTS = 1_000
"""So many waiting steps are taken in at once: the slots that losses come in are used anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A value that the user logged; a slot while it is on its way from a device."""

    time_ns: int
    name: str
    value: float | PendingScalar


@dataclass(slots=True, kw_only=True)
class Inbox:
    """What the training thread hands over. Appending to a deque is atomic: no lock is ever taken in a step.

    Where nobody takes it, because a sensor hangs, the oldest give way to the newest.
    """

    events: deque[StepEvent] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))
    phases: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))
    metrics: deque[Logged] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))

    @property
    def overflows(self) -> bool:
        """Whether something may have given way."""
        return any(len(kept) == kept.maxlen for kept in (self.events, self.phases, self.metrics))


class Recorder:
    """Owns the timelines, cuts the window and writes the rows.

    Args:
        meters: The sampled domains.
        writer: Where rows go.
        inbox: Where the training thread puts events.
        poll: Reads a scalar that was on its way from a device.
        devices: Where the parameters of the run's optimizers live.
        observe: Called with each finished row of steps, for the curve.
        glance: Called with each reading, to see how far a device has come.

    Attributes:
        has_lost: Whether so much waited once that the earliest steps had to give way.
    """

    def __init__(
        self,
        *,
        meters: Meters,
        writer: RunWriter,
        inbox: Inbox,
        poll: Callable[[PendingScalar | EventId], float | Expired | None],
        devices: Callable[[], Iterable[str]],
        observe: Callable[[StepRow], None],
        glance: Callable[[], None] = lambda: None,
    ) -> None:
        self.meters = meters
        self.totals = Totals()
        self.decision: device_selection.Decision | None = None
        self.thinned: dict[str, Thinner] = {}
        self.start_ns = 0
        self.has_lost = False
        self._writer = writer
        self._inbox = inbox
        self._poll = poll
        self._devices = devices
        self._cuda_uuids: list[str] | None = None
        self._observe = observe
        self._glance = glance
        self._tiles: deque[Tile] = deque()

    def begin(self, start_ns: int) -> None:
        """Open the window."""
        self.start_ns = start_ns
        self.merger = StepMerger(self._inbox.events, self._poll, start_ns)
        self._tiler = Tiler(start_ns)
        self._rows = RowBuilder(self.meters.ledger, start_ns)
        for row in self.meters.begin(start_ns):
            self._writer.append(SAMPLES, row)

    def read(self, readings: Iterable[Reading]) -> None:
        """Take readings in."""
        self._glance()
        for row in self.meters.add(readings):
            self._writer.append(SAMPLES, row)

    def is_full(self) -> bool:
        """Whether so many steps wait that they should be drained now."""
        return len(self._inbox.events) > _MANY_EVENTS

    def drain(self, now_ns: int) -> None:
        """Write everything that is settled by now."""
        self._collect(now_ns, final=False)
        if self.merger.is_quiet:
            self._tiles.extend(self._tiler.idle(now_ns))
        self._decide_billing()
        self._write_settled(self.meters.settled_ns(now_ns))
        self._write_waiting_metrics(now_ns - _METRIC_PATIENCE_NS)
        self._rows.adapt(now_ns)
        self.meters.prune(self._rows.billed_ns)
        self._writer.flush()

    def finish(self, end_ns: int) -> None:
        """Close the window and write the rest."""
        self._collect(end_ns, final=True)
        self._tiles.extend(self._tiler.finish(end_ns))
        self._decide_billing()
        for row in self.meters.finish(end_ns):
            self._writer.append(SAMPLES, row)
        self._write_settled(max(tile.end_ns for tile in self._tiles) if self._tiles else end_ns)
        for last in self._rows.close():
            self._write_steps(last)
        self._write_metrics(end_ns)
        self._writer.flush()

    @property
    def billed_ns(self) -> int:
        """Up to when rows are written."""
        return self._rows.billed_ns

    @property
    def steps_ended(self) -> int:
        """Steps taken in so far, of which the last may not be in a row yet."""
        return self._steps_before(_FOR_EVER_NS)

    @property
    def edge_joules(self) -> float:
        """One standard deviation of the total, in joules, without the gains common to the whole run."""
        billed = self._rows.billed
        return math.sqrt(self.meters.ledger.start_variance + billed.variance + billed.drift)

    def _collect(self, now_ns: int, *, final: bool) -> None:
        self.has_lost |= self._inbox.overflows
        steps = self.merger.take(now_ns, final=final)
        while self._inbox.phases:
            self._tiler.phase(*self._inbox.phases.popleft())
        while self.merger.evaluations:
            time_ns, begins = self.merger.evaluations.popleft()
            self._tiler.evaluation(time_ns, begins=begins)
        for step in steps:
            self._tiles.extend(self._tiler.step(step))

    def _decide_billing(self) -> None:
        """Choose whom to bill before the first row, and add what the run begins to use later."""
        if not self._tiles:
            return
        first = self.decision is None
        self._cuda_uuids = self._cuda_uuids or device_selection.cuda_uuids()
        decision = device_selection.decide(
            self.meters.domains.values(), self._devices(), device_selection.used_gpus(), self._cuda_uuids
        )
        if self.decision is None or decision.says_more_than(self.decision):
            self.decision = decision
        self.meters.bill(decision.billed, self.start_ns if first else self._rows.billed_ns)

    def _write_settled(self, settled_ns: int) -> None:
        while self._tiles and self._tiles[0].end_ns <= settled_ns:
            tile = self._tiles.popleft()
            self.meters.share(tile, self._tiles)
            self._write_metrics(tile.seen_ns - 1)
            for row in self._rows.add(tile):
                if isinstance(row, StepRow):
                    self._write_steps(row)
                else:
                    self._writer.append(SPANS, row)
                    self.totals.add_span(row)

    def _write_steps(self, row: StepRow) -> None:
        self._writer.append(STEPS, row)
        self._observe(row)
        self.totals.add_steps(row)

    def _write_metrics(self, until_ns: int) -> None:
        metrics = self._inbox.metrics
        while metrics and metrics[0].time_ns <= until_ns:
            logged = metrics.popleft()
            value = self._poll(logged.value) if isinstance(logged.value, PendingScalar) else logged.value
            if value is None or isinstance(value, Expired):
                continue
            if self.thinned.setdefault(logged.name, Thinner()).passes(logged.time_ns):
                self._write_metric(logged, value)

    def _write_waiting_metrics(self, until_ns: int) -> None:
        """Write what was logged before ``until_ns`` although the step that it lies in has not ended."""
        if self.decision is not None:
            unread = self._inbox.events
            self._write_metrics(min(until_ns, unread[0].end_ns - 1) if unread else until_ns)

    def _steps_before(self, time_ns: int) -> int:
        """Steps that had ended by ``time_ns``, of which the last may not be in a row yet."""
        waiting = sum(tile.step is not None and tile.seen_ns <= time_ns for tile in self._tiles)
        open_end_ns = self.merger.open_end_ns
        return self._rows.steps + waiting + (open_end_ns is not None and open_end_ns <= time_ns)

    def _write_metric(self, logged: Logged, value: float) -> None:
        bill = self.meters.ledger.bill(logged.time_ns)
        row = MetricRow(
            time_seconds=logged.time_ns - self.start_ns,
            step=self._steps_before(logged.time_ns),
            cumulative_joules=bill.total,
            name=logged.name,
            value=value,
        )
        self._writer.append(METRICS, row)
