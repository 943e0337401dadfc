"""Loss and learning rate of a running run against its energy."""

from collections.abc import Sequence
from itertools import compress

from profiler.forecasting.binning import CurveBins
from profiler.forecasting.lr_trace import RateTrace


class RunCurve:
    """Loss and learning rate against joules, in constant memory; both start at the first step.

    Attributes:
        bins: The loss.
        rates: The learning rate.
    """

    def __init__(self, rates: RateTrace) -> None:
        self.bins = CurveBins()
        self.rates = rates
        self._started = False

    def add(
        self,
        *,
        cumulative_joules: Sequence[float],
        total_joules: Sequence[float],
        loss: Sequence[float | None],
        learning_rate: Sequence[float | None],
        step: Sequence[int],
        step_count: Sequence[int],
        nonfinite_count: Sequence[int],
    ) -> None:
        """Add rows of steps, given as columns.

        Args:
            cumulative_joules: Energy since the start of the run at the end of each row, in joules.
            total_joules: Energy of each row, in joules.
            loss: Mean of each row's finite losses; None if no loss was recorded, NaN if none is finite.
            learning_rate: The learning rate; None if unknown.
            step: Number of each row's last step, counted from 1.
            step_count: Steps of each row.
            nonfinite_count: Steps of each row whose loss is not finite.
        """
        if not cumulative_joules:
            return
        if not self._started:
            self._started = True
            self.bins.origin_joules = self.rates.origin_joules = cumulative_joules[0] - total_joules[0]
        self.rates.extend(cumulative_joules, learning_rate, step)
        # The mean loss of a row belongs to the middle of its energy.
        middles = [end - joules / 2 for end, joules in zip(cumulative_joules, total_joules, strict=True)]
        weights = [
            float(count - nonfinite) if count > nonfinite else 1.0
            for count, nonfinite in zip(step_count, nonfinite_count, strict=True)
        ]
        losses = [value for value in loss if value is not None]
        if len(losses) < len(loss):
            known = [value is not None for value in loss]
            middles, weights = list(compress(middles, known)), list(compress(weights, known))
        self.bins.extend(middles, losses, weights)
