"""Which way a metric gets better. Fits see an error that falls towards zero; people see their metric."""

from dataclasses import dataclass

from profiler.errors import UsageError
from profiler.records import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The unit that a curve is given in.

    Attributes:
        best: The best possible value of a metric that rises; None for one that falls, which is its own error.
    """

    best: float | None = None

    def error(self, value: float) -> float:
        """Distance to the best possible value."""
        return value if self.best is None else self.best - value

    def value(self, error: float) -> float:
        """Read an error as a value of the metric."""
        return error if self.best is None else self.best - error

    def interval(self, error: Interval) -> Interval:
        """Read an interval of errors; its lower end stays the lower one."""
        if self.best is None:
            return error
        low, median, high = self.best - error.high, self.best - error.median, self.best - error.low
        return Interval(low=low, median=median, high=high, level=error.level)


def declared(goal: str, best: float | None, lower_bound: float | None) -> Metric:
    """Read what the caller says of a metric.

    Raises:
        UsageError: The goal is unknown, or what is said does not fit together.
    """
    if goal == "min":
        if best is not None:
            raise UsageError("best= belongs to goal='max'; for a metric that falls, give lower_bound=.")
        return Metric()
    if goal != "max":
        raise UsageError(f"goal must be 'min' or 'max', not {goal!r}.")
    if best is None or lower_bound is not None:
        raise UsageError(
            "goal='max' needs best=, the best possible value (1.0 for an accuracy), and no lower_bound=."
        )
    return Metric(best=best)
