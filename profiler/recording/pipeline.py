"""Pipeline of the recorder's thread: readings and events in, rows out."""

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

from profiler.recording import device_selection
from profiler.recording.aggregation import RowBuilder
from profiler.recording.inbox import Inbox, LoggedValue
from profiler.recording.meter import Meters
from profiler.recording.segmentation import EMPTY_KINDS, Segmenter, Tile
from profiler.recording.steps import StepAssembler
from profiler.records import Progress, Reading
from profiler.storage.schema import METRICS, SAMPLES, SPANS, STEPS, Columns, MetricRow, SpanRow
from profiler.storage.totals import Totals
from profiler.storage.writer import BackgroundWriter
from profiler.torch_hooks.events import Expired, Kind, PendingScalar, RepeatedUpdate, StepEvent
from profiler.torch_hooks.manager import HookManager
from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

_END_OF_TIME_NS = 1 << 62
_METRIC_PATIENCE_NS = 2 * NANOSECONDS_PER_SECOND
_COUNT_ATTEMPTS = 20
_LOSS = "loss"
"""Name of the metric that is the loss of the steps, whatever is logged under it."""
_UNUSED_LOSS = (
    "values logged as 'loss' are stored, but reports and forecasts take the loss of the steps, and no step has one. "
    "Pass it with prof.step(loss=...), or log it under another name"
)


class Monitor(Protocol):
    """Receives rows and progress during the run, on the recorder's thread."""

    def observe(self, rows: Columns) -> None:
        """Receive finished rows of steps, as columns of ``steps.csv``."""

    def advance(self, progress: Progress) -> None:
        """Receive the progress after each drain and at the end of the run."""

    def level(self) -> float | None:
        """Return the smoothed loss now; None before the first one."""

    def nonfinite_end(self) -> int:
        """Return the number of losses that are not finite since the last finite one."""

    def overhead(self) -> dict[str, float]:
        """Return further entries of the section ``overhead``."""


class Pipeline:
    """Cuts the window into steps and spans, adds their energy and writes the rows.

    Args:
        meters: The sampled domains.
        writer: Destination of the rows.
        inbox: Queues from the training thread.
        hooks: Source of scalars and times that were on their way from a device, and of the devices in use.
        monitor: Receives finished rows of steps.

    Attributes:
        totals: Energy in rows so far.
        selection: Selected domains; None before the first row.
        start_ns: Start of the window.
        last_metrics: Last finite value of each logged metric except ``loss``.
        nonfinite_ends: Number of values that are not finite after it.
        has_content: Whether there was a step, a logged value, or a span other than setup and teardown.
        overflowed: Kinds of items whose queue was at its capacity, so that the oldest were dropped.
    """

    def __init__(
        self, *, meters: Meters, writer: BackgroundWriter, inbox: Inbox, hooks: HookManager, monitor: Monitor
    ) -> None:
        self.meters = meters
        self.totals = Totals()
        self.selection: device_selection.Selection | None = None
        self.start_ns = 0
        self.last_metrics: dict[str, float] = {}
        self.nonfinite_ends: dict[str, int] = {}
        self.has_content = False
        self._has_loss = self._has_logged_loss = self._is_finished = False
        self.overflowed: set[str] = set()
        self._writer = writer
        self._inbox = inbox
        self._hooks = hooks
        self._monitor = monitor
        self._cuda_uuids: list[str] | None = None
        self._tiles: deque[Tile] = deque()
        self._assembler = StepAssembler(inbox.events, hooks, 0)
        self._segmenter = Segmenter(0)
        self._rows = RowBuilder(meters.ledger, 0)

    def begin(self, start_ns: int) -> None:
        """Open the window."""
        self.start_ns = start_ns
        self._assembler = StepAssembler(self._inbox.events, self._hooks, start_ns)
        self._segmenter = Segmenter(start_ns)
        self._rows = RowBuilder(self.meters.ledger, start_ns)
        for row in self.meters.begin(start_ns):
            self._writer.append(SAMPLES, row)

    def add(self, readings: Iterable[Reading]) -> None:
        """Add readings, and look how far a device has come."""
        self._hooks.poll_flags()
        for row in self.meters.add(readings):
            self._writer.append(SAMPLES, row)

    @property
    def is_full(self) -> bool:
        """True if so many steps wait that they should be drained now."""
        return self._inbox.is_full

    @property
    def alternating_steps(self) -> int:
        """Number of finished steps in which several optimizers had backward passes of their own."""
        return self._assembler.alternating_steps

    def drain(self, now_ns: int) -> None:
        """Write all rows whose energy is known."""
        self._collect(now_ns, final=False)
        if self._assembler.is_quiet:
            self._tiles.extend(self._segmenter.idle(now_ns))
        self._select_domains()
        self._write_settled(self.meters.settled_ns(now_ns))
        self._write_waiting_metrics(now_ns - _METRIC_PATIENCE_NS)
        self._rows.adapt(now_ns)
        self.meters.prune(self._rows.billed_ns)
        self._writer.flush()
        # Another process that takes over counts from here, so nothing may be published that is not written yet.
        counted_ns = self._rows.billed_ns
        self._writer.when_written(lambda: self.meters.publish_counted(counted_ns))

    def finish(self, end_ns: int) -> None:
        """Close the window and write the remaining rows."""
        self._is_finished = True
        self._collect(end_ns, final=True)
        self._tiles.extend(self._segmenter.finish(end_ns))
        self._select_domains()
        self.meters.announce_end(end_ns)
        for row in self.meters.finish(end_ns):
            self._writer.append(SAMPLES, row)
        self._write_settled(max(tile.end_ns for tile in self._tiles) if self._tiles else end_ns)
        self._rows.close()
        self._write_rows()
        self._write_metrics(end_ns)
        self._writer.flush()
        self._writer.when_written(lambda: self.meters.resign(end_ns))

    def awaits_leader(self, end_ns: int) -> bool:
        """Return whether a process that ended before ``end_ns`` still writes rows of what this one counts next."""
        return self.meters.awaits_leader(self._countable, end_ns)

    def follow_leader(self, end_ns: int) -> None:
        """Count that from the end of the other process, without waiting for its rows."""
        self.meters.follow(self._countable, end_ns)

    @property
    def _countable(self) -> Collection[str]:
        if self.selection is not None:
            return self.selection.billed
        return [d.name for d in self.meters.domains if d.billed and not d.kind.is_accelerator]

    @property
    def edge_joules(self) -> float:
        """One standard deviation of the total, in joules, without the gain errors common to the whole run."""
        bill = self._rows.billed
        unconfirmed = self.meters.unconfirmed_variance
        return math.sqrt(self.meters.ledger.start_variance + bill.variance + bill.drift + unconfirmed)

    @property
    def written_joules(self) -> float:
        """Counted energy in rows so far, in joules."""
        return (self.totals.step_microjoules + self.totals.span_microjoules) / MICROJOULES_PER_JOULE

    def progress(self, now_ns: int) -> Progress:
        """Return the progress as of the last moment by which all counted domains were read.

        Only the recorder's thread may call it. An unfinished step is included in the energy.
        """
        at_ns = max(self.meters.latest_ns(now_ns), self.start_ns)
        bill = self.meters.ledger.bill(at_ns)
        return Progress(
            seconds=(at_ns - self.start_ns) / NANOSECONDS_PER_SECOND,
            steps=self.totals.steps,
            step_joules=self.totals.step_microjoules / MICROJOULES_PER_JOULE,
            total_joules=None if bill.total is None else bill.total / MICROJOULES_PER_JOULE,
            modelled_joules=bill.modelled / MICROJOULES_PER_JOULE,
            watts=self.meters.recent_watts(),
            domain_joules=self.meters.counted_joules(),
            alternating_steps=self.alternating_steps,
            libraries=self._hooks.libraries,
            convolutional=self._hooks.is_convolutional,
        )

    def count_steps(self) -> int:
        """Return the number of steps that have ended, including those still in the inbox. For any thread."""
        # The recorder's thread moves steps from one queue to the next meanwhile, so a count is only trusted when two
        # successive ones agree.
        before = -1
        for _ in range(_COUNT_ATTEMPTS):
            try:
                waiting = sum(_opens_step(event) for event in tuple(self._inbox.events))
                count = self._steps_before(_END_OF_TIME_NS) + waiting
            except RuntimeError:  # a queue changed during the iteration
                continue
            if count == before:
                return count
            before = count
        return max(before, 0)

    def severe_findings(self) -> Iterator[str]:
        """Yield warnings that totals depend on."""
        for kind in sorted(self.overflowed):
            yield (
                f"the earliest of the waiting {kind} are lost: there were more than could be recorded, or a sensor or "
                "the disk took too long"
            )
        yield from self.meters.findings()
        for device in self.selection.missing if self.selection is not None else ():
            yield f"nothing measures {device}: totals are incomplete"

    def findings(self) -> Iterator[str]:
        """Yield warnings about steps and devices."""
        yield from self._assembler.findings()
        if self._is_finished and self._has_logged_loss and not self._has_loss:
            yield _UNUSED_LOSS
        if self.selection is not None:
            yield from self.selection.warnings

    def _collect(self, now_ns: int, *, final: bool) -> None:
        self.overflowed |= self._inbox.overflows
        steps = self._assembler.finished_steps(now_ns, final=final)
        while self._inbox.phases:
            change = self._inbox.phases.popleft()
            self._segmenter.add_phase(change.time_ns, change.name, overlaps=change.overlaps)
        while self._assembler.evaluations:
            time_ns, begins = self._assembler.evaluations.popleft()
            self._segmenter.add_evaluation(time_ns, begins=begins)
        for step in steps:
            self._tiles.extend(self._segmenter.add_step(step))

    def _select_domains(self) -> None:
        """Select the counted domains before the first row, and add devices that the run uses later."""
        if not self._tiles:
            return
        is_first = self.selection is None
        self._cuda_uuids = self._cuda_uuids or device_selection.cuda_uuids()
        selection = device_selection.select(
            self.meters.domains, tuple(self._hooks.devices), device_selection.used_gpus(), self._cuda_uuids
        )
        if self.selection is None or selection.adds_to(self.selection):
            self.selection = selection
        start_ns = self.start_ns if is_first else self._rows.billed_ns
        for row in self.meters.count(selection.billed, start_ns):
            self._writer.append(SAMPLES, row)

    def _write_settled(self, settled_ns: int) -> None:
        tiles, metrics, add = self._tiles, self._inbox.metrics, self._rows.add
        shortest_ns = self.meters.shortest_ns
        while tiles and tiles[0].end_ns <= settled_ns:
            tile = tiles.popleft()
            if tile.end_ns - tile.start_ns >= shortest_ns:  # shorter ones are too many for a call each
                self.meters.interpolate(tile, tiles)
            if metrics:
                self._write_metrics(tile.seen_ns - 1)
            add(tile)
        self._write_rows()

    def _write_rows(self) -> None:
        for rows in self._rows.take():
            if isinstance(rows, SpanRow):
                self.has_content |= rows.kind not in EMPTY_KINDS
                self._writer.append(SPANS, rows)
                self.totals.add_span(rows)
            else:
                self.has_content = True
                self._has_loss = self._has_loss or any(loss is not None for loss in rows[_LOSS])
                self._writer.append_columns(STEPS, rows)
                self._monitor.observe(rows)
                self.totals.add_steps(rows)

    def _write_metrics(self, until_ns: int) -> None:
        metrics = self._inbox.metrics
        while metrics and metrics[0].time_ns <= until_ns:
            logged = metrics.popleft()
            value = (
                self._hooks.poll(logged.value) if isinstance(logged.value, PendingScalar) else logged.value
            )
            if value is not None and not isinstance(value, Expired):
                self._write_metric(logged, value)

    def _write_waiting_metrics(self, until_ns: int) -> None:
        """Write values logged before ``until_ns`` although the step that contains them has not ended."""
        if self.selection is not None:
            unread = self._inbox.events
            self._write_metrics(min(until_ns, _ended_ns(unread[0]) - 1) if unread else until_ns)

    def _steps_before(self, time_ns: int) -> int:
        """Return the number of steps that ended by ``time_ns``, of which the last may not be in a row yet."""
        waiting = sum(tile.step is not None and tile.seen_ns <= time_ns for tile in self._tiles)
        open_end_ns = self._assembler.open_end_ns
        return self._rows.steps + waiting + (open_end_ns is not None and open_end_ns <= time_ns)

    def _write_metric(self, logged: LoggedValue, value: float) -> None:
        if logged.name == _LOSS:
            self._has_logged_loss = True
        elif math.isfinite(value):
            self.last_metrics[logged.name] = value
            self.nonfinite_ends.pop(logged.name, None)
        else:
            self.nonfinite_ends[logged.name] = self.nonfinite_ends.get(logged.name, 0) + 1
        bill = self.meters.ledger.bill(logged.time_ns)
        row = MetricRow(
            time_seconds=logged.time_ns - self.start_ns,
            step=self._steps_before(logged.time_ns),
            cumulative_joules=bill.total,
            name=logged.name,
            value=value,
        )
        self.has_content = True
        self._writer.append(METRICS, row)


def _opens_step(event: StepEvent | RepeatedUpdate) -> bool:
    return not isinstance(event, StepEvent) or (
        event.kind in (Kind.OPEN, Kind.SPLIT) and event.skipped is None
    )


def _ended_ns(event: StepEvent | RepeatedUpdate) -> int:
    return event.end_ns if isinstance(event, StepEvent) else event[0]
