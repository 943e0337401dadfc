"""Direction of a metric. Fits use an error that falls towards zero; users see their own metric."""

from dataclasses import dataclass

from profiler.errors import UsageError
from profiler.records import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The unit of a curve.

    Attributes:
        best: The best possible value of a metric that rises; None for one that falls, which equals its error.
        name: Its name; empty for a curve from arrays.
    """

    best: float | None = None
    name: str = ""

    def error(self, value: float) -> float:
        """Return the distance to the best possible value."""
        return value if self.best is None else self.best - value

    def value(self, error: float) -> float:
        """Convert an error to a value of the metric."""
        return error if self.best is None else self.best - error

    def interval(self, error: Interval) -> Interval:
        """Convert an interval of errors; ``low`` remains the lower end."""
        if self.best is None:
            return error
        low, median, high = self.best - error.high, self.best - error.median, self.best - error.low
        return Interval(low=low, median=median, high=high, level=error.level)


def declared(goal: str, best: float | None, lower_bound: float | None) -> Metric:
    """Return the metric that the arguments of a fit describe.

    Raises:
        UsageError: The goal is unknown, or the arguments contradict each other.
    """
    if goal == "min":
        if best is not None:
            raise UsageError("best= requires goal='max'; for a metric that falls, use lower_bound=.")
        return Metric()
    if goal != "max":
        raise UsageError(f"goal must be 'min' or 'max', not {goal!r}.")
    if best is None or lower_bound is not None:
        raise UsageError(
            "goal='max' needs best=, the best possible value (1.0 for an accuracy), and no lower_bound=."
        )
    return Metric(best=best)
