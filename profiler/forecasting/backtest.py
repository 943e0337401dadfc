"""Forecasts for the present made from earlier parts of a run, compared with the measured level.

A forecast whose 90 % interval missed the measured level shows by how much levels of this run depart further from their
curve than those of other runs: by enough that the interval would have contained it. The missing variance per doubling
of energy, averaged over the prefixes, is added to the model error on the side of the miss. This widens intervals and
leaves medians unchanged.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from profiler.errors import UsageError
from profiler.forecasting.context import FitContext
from profiler.forecasting.curve import FineBins, coarsen
from profiler.forecasting.metric import Metric
from profiler.forecasting.posterior import infer
from profiler.forecasting.predictive import predictives
from profiler.forecasting.priors import Z_90, ModelError
from profiler.forecasting.states import rise
from profiler.records import Interval

SHARES = (0.25, 0.5, 0.7)
"""Parts of the present joules from which forecasts are made."""
FEWEST_BINS = 6
SHORTEST_SPAN = 4.0
COARSE = 0.5
"""Relative number of grid lines of a refit; the effect is far below the interval's width."""
LEVEL = 0.9
ENDS = (0.05, 0.5, 0.95)
SMALLEST = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """One earlier forecast for the present.

    Attributes:
        share: Part of the present joules, since the first step, that the forecast used.
        forecast: The forecast level at the present joules, in the unit of the metric; 90 % interval.
        measured: The smoothed level there, in the same unit.
        error: Natural logarithm of the measured level over the forecast one (of errors, for a metric that rises).
    """

    share: float
    forecast: Interval
    measured: float
    error: float

    @property
    def held(self) -> bool:
        """True if the interval contains the measured level."""
        return self.forecast.low <= self.measured <= self.forecast.high


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """A curve with its measured end.

    Attributes:
        fine: All its bins.
        context: Information beside the points.
        log_now: Log level at the last point.
    """

    fine: FineBins
    context: FitContext
    log_now: float

    def backtest(self) -> tuple[Backtest, ...]:
        """Forecast the present from each prefix that is long enough."""
        return tuple(self._tests(self.context.before_the_end()))

    def widened(self, model_error: ModelError, tests: Sequence[Backtest]) -> ModelError:
        """Return the model error with the misses of the backtest added."""
        return widened(model_error, tests, self.context.metric)

    def _tests(self, context: FitContext) -> Iterator[Backtest]:
        for share in SHARES:
            before = self.fine.joules <= share * self.fine.last_joules
            if before.sum() < FEWEST_BINS:
                continue
            try:
                yield from self._test(self.fine.first(int(before.sum())), context)
            except UsageError:  # the lower bound is not under this part of the curve
                continue

    def _test(self, prefix: FineBins, context: FitContext) -> Iterator[Backtest]:
        curve = coarsen(prefix)
        if curve is None or curve.joules.size < FEWEST_BINS or curve.span < SHORTEST_SPAN:
            return
        if rise(curve, context.priors.recency):
            return
        nodes = infer(curve, context, refine=COARSE).nodes
        predictive = next(iter(predictives(nodes, context, curve.last_joules).values()))
        log_ratio = math.log(self.fine.last_joules / curve.last_joules)
        low, median, high = (predictive.log_quantile(log_ratio, p) for p in ENDS)
        interval = Interval(low=math.exp(low), median=math.exp(median), high=math.exp(high), level=LEVEL)
        yield Backtest(
            share=curve.last_joules / self.fine.last_joules,
            forecast=context.metric.interval(interval),
            measured=context.metric.value(math.exp(self.log_now)),
            error=self.log_now - median,
        )


def widened(model_error: ModelError, tests: Sequence[Backtest], metric: Metric) -> ModelError:
    """Add the misses of the backtest to the model error, each on its side."""
    if not tests:
        return model_error
    below = np.mean([_excess(test, metric) if test.error < 0.0 else 0.0 for test in tests])
    above = np.mean([_excess(test, metric) if test.error > 0.0 else 0.0 for test in tests])
    return replace(
        model_error,
        least_below=math.sqrt(model_error.least_below**2 + float(below)),
        least_above=math.sqrt(model_error.least_above**2 + float(above)),
    )


def _excess(test: Backtest, metric: Metric) -> float:
    """Return the variance per doubling that the interval lacked to contain the measured level."""
    ends = (metric.error(test.forecast.low), metric.error(test.forecast.high))
    end = min(ends) if test.error < 0.0 else max(ends)
    half = math.log(max(end, SMALLEST) / max(metric.error(test.forecast.median), SMALLEST))
    return max(test.error**2 - half**2, 0.0) / Z_90**2 / math.log2(1.0 / test.share)
