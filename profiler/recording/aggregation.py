"""Aggregation of tiles into rows: single steps at first, then aligned blocks of 2^k steps, in whole microjoules."""

import math
from collections.abc import Sequence

from profiler.recording.ledger import NOTHING_YET, Bill, Ledger, between
from profiler.recording.segmentation import Tile
from profiler.recording.steps import Step
from profiler.storage.schema import SpanRow, StepRow
from profiler.units import NANOSECONDS_PER_SECOND

_SINGLE_STEPS = 10_000
"""Number of steps that get a row of their own."""

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

    @property
    def loss(self) -> float | None:
        """Mean of the finite losses; a non-finite one if no loss is finite; None if no loss was seen."""
        return self.loss_sum / self.finite if self.finite else self.odd_loss

    @property
    def learning_rate(self) -> float | None:
        """Learning rate of the last step."""
        return self.last.learning_rate if self.last is not None else None


class RowBuilder:
    """Groups tiles into rows and adds the energy of each.

    Attributes:
        steps: Number of steps added so far.
        billed: The bill at the end of the last row.
        billed_ns: End of the last row.
    """

    def __init__(self, ledger: Ledger, start_ns: int) -> None:
        self._ledger = ledger
        self._start_ns = start_ns
        self._block: Block | None = None
        self._stride = 1
        self._rate_mark = (start_ns, 0)
        self.steps = 0
        self.billed: Bill = NOTHING_YET
        self.billed_ns = start_ns

    def add(self, tile: Tile) -> Sequence[StepRow | SpanRow]:
        """Add the next tile. Return the rows that it completes."""
        if tile.step is None:
            return [*self.close(), self._span_row(tile)]
        block, training = self._block, tile.step.training
        is_other = block is not None and (block.label != tile.label or block.training != training)
        ended = self.close() if is_other else ()
        block = self._block = self._block or Block(tile, training)
        block.add(tile, tile.step)
        self.steps += 1
        if self.steps <= _SINGLE_STEPS or self.steps % self._stride == 0:
            return (*ended, *self.close())
        return ended

    def close(self) -> Sequence[StepRow]:
        """Complete the open block. Return its row, if there is one."""
        block, self._block = self._block, None
        return () if block is None else (self._step_row(block),)

    def adapt(self, now_ns: int) -> None:
        """Choose the length of blocks so that at most about five rows per second are written."""
        since, before = self._rate_mark
        if now_ns - since < _RATE_WINDOW_NS:
            return
        rate = (self.steps - before) * NANOSECONDS_PER_SECOND / (now_ns - since)
        self._stride = 1 << max(math.ceil(math.log2(max(rate / _ROWS_PER_SECOND, 1.0))), 0)
        self._rate_mark = (now_ns, self.steps)

    def _bill_to(self, end_ns: int) -> tuple[Bill, Bill]:
        before, self.billed, self.billed_ns = self.billed, self._ledger.bill(end_ns), end_ns
        return before, self.billed

    def _step_row(self, block: Block) -> StepRow:
        (gpu, cpu, dram, other), total, modelled, cumulative, sigma = between(*self._bill_to(block.end_ns))
        has_phases = block.backwards > 0
        return StepRow(
            step=self.steps, step_count=block.count,
            start_seconds=block.start_ns - self._start_ns, end_seconds=block.end_ns - self._start_ns,
            loss=block.loss, nonfinite_count=block.nonfinite, backwards=block.backwards,
            learning_rate=block.learning_rate,
            gpu_joules=gpu, cpu_joules=cpu, dram_joules=dram, other_joules=other, total_joules=total,
            modelled_joules=None if total is None else modelled, cumulative_joules=cumulative,
            uncertainty_joules=sigma, data_seconds=block.data_ns,
            forward_seconds=block.forward_ns if has_phases else None,
            backward_seconds=block.backward_ns if has_phases else None,
            optimizer_seconds=block.optimizer_ns if has_phases else None, phase=block.label,
            training=block.training,
        )  # fmt: skip

    def _span_row(self, tile: Tile) -> SpanRow:
        share = between(*self._bill_to(tile.end_ns))
        return SpanRow(
            start_seconds=tile.start_ns - self._start_ns, end_seconds=tile.end_ns - self._start_ns, kind=tile.label,
            total_joules=share.total, modelled_joules=None if share.total is None else share.modelled,
            cumulative_joules=share.cumulative, uncertainty_joules=share.sigma_joules,
        )  # fmt: skip
