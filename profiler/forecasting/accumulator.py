"""Loss and learning rate of a run against its energy: one accumulator, fed while training or from stored rows."""

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
        cumulative_joules: float,
        total_joules: float,
        loss: float | None,
        learning_rate: float | None,
        step: int,
        step_count: int = 1,
        nonfinite_count: int = 0,
    ) -> None:
        """Add one row of steps.

        Args:
            cumulative_joules: Energy since the start of the run at the end of the row, in joules.
            total_joules: Energy of the row, in joules.
            loss: Mean of the row's finite losses; None if no loss was recorded, NaN if none is finite.
            learning_rate: The learning rate; None if unknown.
            step: Number of the row's last step, counted from 1.
            step_count: Steps of the row.
            nonfinite_count: Steps of the row whose loss is not finite.
        """
        if not self._started:
            self._started = True
            self.bins.origin_joules = self.rates.origin_joules = cumulative_joules - total_joules
        self.rates.add(cumulative_joules, learning_rate, step)
        if loss is not None:
            # The mean loss of a row belongs to the middle of its energy.
            weight = max(step_count - nonfinite_count, 1)
            self.bins.add(cumulative_joules - total_joules / 2, loss, float(weight))
