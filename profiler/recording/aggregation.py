"""Aggregation of tiles into rows: single steps at first, then aligned blocks of 2^k steps, in whole microjoules."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from profiler.recording.ledger import NOTHING_YET, Bill, Ledger, Shares, successive
from profiler.recording.segmentation import Tile
from profiler.recording.steps import Step
from profiler.storage.schema import CATEGORIES, Columns, SpanRow
from profiler.units import NANOSECONDS_PER_SECOND

_SINGLE_STEPS = 10_000
"""Number of steps that get a row of their own."""

_MEASURED = (
    "step", "step_count", "start_seconds", "end_seconds", "loss", "nonfinite_count", "backwards", "learning_rate",
    "data_seconds", "forward_seconds", "backward_seconds", "optimizer_seconds", "phase", "training",
)  # fmt: skip
"""Columns of ``steps.csv`` that hold no energy, in the order of the parts that a :class:`RowBuilder` collects."""

_ROWS_PER_SECOND = 5
_RATE_WINDOW_NS = NANOSECONDS_PER_SECOND


class Block:
    """Sums over consecutive steps of one phase of one training."""

    __slots__ = (
        "backward_ns",
        "backwards",
        "count",
        "data_ns",
        "end_ns",
        "finite",
        "forward_ns",
        "label",
        "last",
        "loss_sum",
        "nonfinite",
        "odd_loss",
        "optimizer_ns",
        "start_ns",
        "training",
    )  # fmt: skip

    def __init__(self, tile: Tile, training: int) -> None:
        self.start_ns, self.label, self.training = tile.start_ns, tile.label, training
        self.count = self.backwards = self.nonfinite = self.finite = 0
        self.data_ns: int | None = None
        self.forward_ns = self.backward_ns = self.optimizer_ns = 0
        self.loss_sum = 0.0
        self.odd_loss: float | None = None
        self.end_ns = tile.start_ns
        self.last: Step | None = None

    def add(self, tile: Tile, step: Step) -> None:
        """Add the next step."""
        self.count += 1
        self.end_ns, self.last = tile.end_ns, step
        self.backwards += step.backwards
        loaded, forward = step.seconds_of(tile.start_ns)
        self.data_ns = (self.data_ns or 0) + loaded if step.data_ns else self.data_ns
        self.forward_ns += forward
        self.backward_ns += step.backward_ns
        self.optimizer_ns += step.optimizer_ns
        loss = step.loss
        if loss is None:
            return
        if math.isfinite(loss):
            self.loss_sum += loss
            self.finite += 1
        else:
            self.nonfinite += 1
            self.odd_loss = loss

    def as_part(self, step: int, start_ns: int) -> tuple[Any, ...]:
        """Return the columns :data:`_MEASURED` of the block, the last step of which is ``step``."""
        has_phases, last = self.backwards > 0, self.last
        return (
            step, self.count, self.start_ns - start_ns, self.end_ns - start_ns,
            # Without a finite loss, one of the others; None if no loss was seen.
            self.loss_sum / self.finite if self.finite else self.odd_loss,
            self.nonfinite, self.backwards, None if last is None else last.learning_rate, self.data_ns,
            self.forward_ns if has_phases else None, self.backward_ns if has_phases else None,
            self.optimizer_ns if has_phases else None, self.label, self.training,
        )  # fmt: skip


def _single(step: int, tile: Tile, start_ns: int) -> tuple[Any, ...]:
    """Return the columns :data:`_MEASURED` of a single step. It is that of a block of one, at a third of the cost."""
    done = tile.step
    assert done is not None
    loss, backwards, begun_ns = done.loss, done.backwards, tile.start_ns
    loaded, forward = done.seconds_of(begun_ns)
    nonfinite = 0 if loss is None or math.isfinite(loss) else 1
    data = loaded if done.data_ns else None
    if not backwards:
        return (
            step, 1, begun_ns - start_ns, tile.end_ns - start_ns, loss, nonfinite, backwards, done.learning_rate,
            data, None, None, None, tile.label, done.training,
        )  # fmt: skip
    return (
        step, 1, begun_ns - start_ns, tile.end_ns - start_ns, loss, nonfinite, backwards, done.learning_rate, data,
        forward, done.backward_ns, done.optimizer_ns, tile.label, done.training,
    )  # fmt: skip


class RowBuilder:
    """Groups tiles into rows and adds the energy of each.

    Rows are collected and their energy is added to all at once, because a function call per row and column would take
    most of the time that the recording costs a training.

    Attributes:
        steps: Number of steps added so far.
        billed: The bill at the end of the last row that was taken.
        billed_ns: End of the last row that was taken.
    """

    def __init__(self, ledger: Ledger, start_ns: int) -> None:
        self._ledger = ledger
        self._start_ns = start_ns
        self._block: Block | None = None
        self._stride = 1
        self._rate_mark = (start_ns, 0)
        self._runs: list[tuple[Sequence[int], Any]] = []
        self._parts: list[tuple[Any, ...]] = []
        self._ends: list[int] = []
        self.steps = 0
        self.billed: Bill = NOTHING_YET
        self.billed_ns = start_ns

    def add(self, tile: Tile) -> None:
        """Add the next tile."""
        step, block = tile.step, self._block
        if step is None:
            self.close()
            self._end_run()
            self._runs.append(((tile.end_ns,), tile))
            return
        if block is None and (self.steps < _SINGLE_STEPS or self._stride == 1):
            self.steps += 1
            self._ends.append(tile.end_ns)
            self._parts.append(_single(self.steps, tile, self._start_ns))
            return
        # A row belongs to one phase of one training, so a change of either ends the block early.
        if block is not None and (block.label != tile.label or block.training != step.training):
            self.close()
        block = self._block = self._block or Block(tile, step.training)
        block.add(tile, step)
        self.steps += 1
        # Ends at multiples of a power of two: merging finds steps at which the rows of all ranks end.
        if self.steps % self._stride == 0:
            self.close()

    def close(self) -> None:
        """Complete the open block."""
        block, self._block = self._block, None
        if block is not None:
            self._ends.append(block.end_ns)
            self._parts.append(block.as_part(self.steps, self._start_ns))

    def _end_run(self) -> None:
        """End a run of rows of steps."""
        if self._parts:
            self._runs.append((self._ends, self._parts))
            self._ends, self._parts = [], []

    def take(self) -> Iterator[Columns | SpanRow]:
        """Yield the completed rows: each run of steps as columns of :data:`STEPS`, each span as a row."""
        self._end_run()
        runs, self._runs = self._runs, []
        for ends, content in runs:
            before, bills = self.billed, self._ledger.bills(ends)
            if before is NOTHING_YET:  # the first row is uncertain by the start of the window too
                before = before._replace(variance=self._ledger.start_variance)
            self.billed, self.billed_ns = bills.at(-1), ends[-1]
            shares = successive(before, bills)
            yield (
                self._span_row(content, shares)
                if isinstance(content, Tile)
                else _step_columns(content, shares)
            )

    def adapt(self, now_ns: int) -> None:
        """Choose the length of blocks so that at most about five rows per second are written."""
        since, before = self._rate_mark
        if now_ns - since < _RATE_WINDOW_NS:
            return
        rate = (self.steps - before) * NANOSECONDS_PER_SECOND / (now_ns - since)
        self._stride = 1 << max(math.ceil(math.log2(max(rate / _ROWS_PER_SECOND, 1.0))), 0)
        self._rate_mark = (now_ns, self.steps)

    def _span_row(self, tile: Tile, shares: Shares) -> SpanRow:
        return SpanRow(
            start_seconds=tile.start_ns - self._start_ns, end_seconds=tile.end_ns - self._start_ns, kind=tile.label,
            total_joules=shares.total[0], modelled_joules=shares.modelled[0],
            cumulative_joules=shares.cumulative[0], uncertainty_joules=shares.sigma_joules[0],
            overlapping=int(tile.overlaps),
        )  # fmt: skip


def _step_columns(parts: Sequence[tuple[Any, ...]], shares: Shares) -> Columns:
    return {
        **dict(zip(_MEASURED, zip(*parts, strict=True), strict=True)),
        **dict(zip(CATEGORIES.values(), shares.by_category, strict=True)),
        "total_joules": shares.total,
        "modelled_joules": shares.modelled,
        "cumulative_joules": shares.cumulative,
        "uncertainty_joules": shares.sigma_joules,
    }
