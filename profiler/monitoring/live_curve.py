"""Loss curve of a running run, filled by one thread and copied by another."""

import math
import threading
from collections import deque
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from profiler.forecasting.accumulator import RunCurve
from profiler.forecasting.binning import BINS_PER_OCTAVE, CurveBins
from profiler.forecasting.lr_trace import RateTrace
from profiler.lr_plan import RatePlan
from profiler.storage.schema import Columns
from profiler.units import MICROJOULES_PER_JOULE

_JOULES = ("cumulative_joules", "total_joules")
_COLUMNS = (*_JOULES, "loss", "learning_rate", "step", "step_count", "nonfinite_count")
_RECENT = 1.0 / 12.0
_LEVEL_BINS = BINS_PER_OCTAVE // 8
"""Bins of the last twelfth of the joules: 2 ** (-1 / 8) is 0.917."""


class LiveCurve:
    """Accumulated curve of a run behind a lock.

    Args:
        plan: Planned learning rate; None if none was declared.
        total_steps: Declared steps of the whole run.

    Each training in the process has a curve of its own; this is the last one.
    """

    def __init__(self, plan: RatePlan | None = None, total_steps: int | None = None) -> None:
        self._curve = RunCurve(RateTrace(plan, total_steps))
        self._training = 0
        # Joules, steps and loss of recent rows that the bins do not hold, because negative losses have no logarithm.
        self._negative: deque[tuple[float, int, float]] = deque()
        self._lock = threading.Lock()

    @property
    def bins(self) -> CurveBins:
        """Loss over joules, for the thread that adds rows and after the end."""
        return self._curve.bins

    @property
    def rates(self) -> RateTrace:
        """Learning rate over joules, likewise."""
        return self._curve.rates

    def add_rows(self, rows: Columns) -> None:
        """Add finished rows of steps, with energies in microjoules; they are ignored if they have none."""
        if None in rows["cumulative_joules"]:
            return
        columns = [rows[name] for name in _COLUMNS]
        for index, name in enumerate(_COLUMNS):
            if name in _JOULES:
                columns[index] = [value / MICROJOULES_PER_JOULE for value in columns[index]]
        begin = 0
        with self._lock:
            for training, same in groupby(rows["training"]):
                end = begin + sum(1 for _ in same)
                if training != self._training:
                    self._start(training)
                self._curve.add(
                    **{name: column[begin:end] for name, column in zip(_COLUMNS, columns, strict=True)}
                )
                self._keep_negative(columns, begin, end)
                begin = end

    def _keep_negative(self, columns: Sequence[Sequence[Any]], begin: int, end: int) -> None:
        """Keep the rows with negative losses over the last twelfth of the energy."""
        joules, losses, counts = (
            columns[_COLUMNS.index(name)][begin:end] for name in ("cumulative_joules", "loss", "step_count")
        )
        self._negative.extend(
            (reached, count, loss)
            for reached, loss, count in zip(joules, losses, counts, strict=True)
            if loss is not None and loss < 0.0 and math.isfinite(loss)
        )
        while self._negative and self._negative[0][0] < self._recent_from():
            self._negative.popleft()

    def _recent_from(self) -> float:
        bins = self.bins
        return bins.origin_joules + (1.0 - _RECENT) * bins.facts.end_joules

    def _start(self, training: int) -> None:
        self._training = training
        rates = RateTrace(self.rates.plan, self.rates.total_steps)
        rates.before = self.rates.before
        self._curve = RunCurve(rates)
        self._negative.clear()

    def plan(self, plan: RatePlan | None) -> None:
        """Replace the planned learning rate."""
        with self._lock:
            self.rates.plan = plan

    def copy(self) -> tuple[CurveBins, RateTrace]:
        """Return copies of both that do not change when rows are added."""
        with self._lock:
            return self.bins.copy(), self.rates.copy()

    def level(self) -> float | None:
        """Return the mean loss over the last twelfth of the energy; None before the first loss.

        For the thread that adds rows.
        """
        bins, others = self.bins.bins, self._negative
        last = max(bins, default=0)
        near = (bins.get(index) for index in range(last - _LEVEL_BINS + 1, last + 1))
        recent = [sums for sums in near if sums is not None]
        if others:
            # The last positive losses may be old.
            begin = self._recent_from() - self.bins.origin_joules
            recent = [sums for sums in recent if sums[1] >= begin * sums[0]]
        steps = sum(sums[0] for sums in recent) + sum(count for _, count, _ in others)
        if not steps:
            return None
        return (sum(sums[2] for sums in recent) + sum(count * loss for _, count, loss in others)) / steps
