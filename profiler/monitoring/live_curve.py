"""The loss curve of a run that goes on: filled by the sampler's thread, copied by whoever fits it."""

import copy
import threading

from profiler.forecasting.accumulator import RunCurve
from profiler.forecasting.binning import BINS_PER_OCTAVE, CurveBins
from profiler.forecasting.lr_trace import RateTrace
from profiler.storage.schema import StepRow
from profiler.units import MICROJOULES_PER_JOULE

_LEVEL_BINS = BINS_PER_OCTAVE // 8
"""The level now is that over the last twelfth of the joules."""


class LiveCurve:
    """Loss and learning rate against joules, in constant memory. Both begin where the first step does.

    Attributes:
        bins: The loss. Other threads take a copy.
        rates: The learning rate. Likewise.
    """

    def __init__(self, rates: RateTrace) -> None:
        self._curve = RunCurve(rates)
        self.bins, self.rates = self._curve.bins, rates
        self._lock = threading.Lock()

    def observe(self, row: StepRow) -> None:
        """Add a finished row of steps."""
        if row.cumulative_joules is None or row.total_joules is None:
            return
        with self._lock:
            self._curve.add(
                cumulative_joules=row.cumulative_joules / MICROJOULES_PER_JOULE,
                total_joules=row.total_joules / MICROJOULES_PER_JOULE,
                loss=row.loss,
                learning_rate=row.learning_rate,
                step=row.step,
                step_count=row.step_count,
                nonfinite_count=row.nonfinite_count,
            )

    def copied(self) -> tuple[CurveBins, RateTrace]:
        """Copies that stay as they are while the run goes on."""
        with self._lock:
            bins, rates = copy.copy(self.bins), copy.copy(self.rates)
            bins.bins = {index: sums.copy() for index, sums in bins.bins.items()}
            rates.points = rates.points.copy()
        return bins, rates

    def level(self) -> float | None:
        """The mean loss over the last joules; None before the first loss. For the thread that observes."""
        bins = self.bins.bins
        if not bins:
            return None
        last = max(bins)
        found = (bins.get(index) for index in range(last - _LEVEL_BINS + 1, last + 1))
        recent = [sums for sums in found if sums is not None]
        return sum(sums[2] for sums in recent) / sum(sums[0] for sums in recent)
