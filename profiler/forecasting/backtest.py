"""What earlier parts of a run would have forecast for the present, against what was measured since.

A forecast that its own interval did not hold says by how much levels of this run stray further than those of others:
by enough that the interval would have held it. Its square per doubling of energy, averaged over the prefixes, joins
the variance of the misses on the side where it was seen, so that it widens intervals and leaves medians alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from profiler.errors import ForecastRefusedError, UsageError
from profiler.forecasting.curve import FineBins, coarsen
from profiler.forecasting.metric import Metric
from profiler.forecasting.priors import Z_90, Misses
from profiler.forecasting.scenarios import Known, futures, weigh
from profiler.forecasting.smoothing import refuse_rising
from profiler.records import Interval

SHARES = (0.25, 0.5, 0.7)
"""Parts of the present joules that are looked at."""
FEWEST_BINS = 6
SHORTEST_SPAN = 4.0
COARSE = 0.5
"""Grid lines of a refit; what that changes is far below the interval's width."""
LEVEL = 0.9
ENDS = (0.05, 0.5, 0.95)
SMALLEST = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """One earlier forecast for the present joules.

    Attributes:
        share: The part of the present joules since the first step that it knew.
        forecast: The level that it gave for the present joules, in the unit of the metric; 90 % interval.
        measured: The smoothed level there, in the same unit.
        error: Natural logarithm of the measured level over the forecast one (of errors, for a metric that rises).
    """

    share: float
    forecast: Interval
    measured: float
    error: float

    @property
    def held(self) -> bool:
        """Whether the interval held what was measured."""
        return self.forecast.low <= self.measured <= self.forecast.high


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Past:
    """A curve whose end was measured.

    Attributes:
        fine: All its bins.
        known: What is known beside it.
        log_now: Log level at its last point.
    """

    fine: FineBins
    known: Known
    log_now: float

    def backtest(self) -> tuple[Backtest, ...]:
        """Forecast the present from each prefix that is long enough."""
        known = replace(self.known, planned=self.known.schedule is not None)
        return tuple(self._tested(self.fine, known))

    def _tested(self, fine: FineBins, known: Known) -> Iterator[Backtest]:
        for share in SHARES:
            before = fine.joules <= share * fine.last_joules
            try:
                if before.sum() >= FEWEST_BINS:
                    yield from _test(_prefix(fine, int(before.sum())), known, fine.last_joules, self.log_now)
            except (ForecastRefusedError, UsageError):
                continue


def _prefix(fine: FineBins, bins: int) -> FineBins:
    return replace(
        fine,
        joules=fine.joules[:bins],
        values=fine.values[:bins],
        weights=fine.weights[:bins],
        last_joules=float(fine.joules[bins - 1]),
        points=bins,
    )


def _test(fine: FineBins, known: Known, present: float, log_now: float) -> Iterator[Backtest]:
    curve = coarsen(fine)
    if curve.joules.size < FEWEST_BINS or curve.span < SHORTEST_SPAN:
        return
    refuse_rising(curve, (curve.joules / curve.last_joules) ** known.priors.recency)
    laws = weigh(curve, known, refine=COARSE).laws
    future = next(iter(futures(laws, known, curve.last_joules).values()))
    log_ratio = math.log(present / curve.last_joules)
    low, median, high = (future.log_quantile(log_ratio, p) for p in ENDS)
    interval = Interval(low=math.exp(low), median=math.exp(median), high=math.exp(high), level=LEVEL)
    yield Backtest(
        share=curve.last_joules / present,
        forecast=known.metric.interval(interval),
        measured=known.metric.value(math.exp(log_now)),
        error=log_now - median,
    )


def widened(misses: Misses, tests: Sequence[Backtest], metric: Metric) -> Misses:
    """Add what strayed beyond its interval to the misses, on the side where it was seen."""
    if not tests:
        return misses
    below = np.mean([_excess(test, metric) if test.error < 0.0 else 0.0 for test in tests])
    above = np.mean([_excess(test, metric) if test.error > 0.0 else 0.0 for test in tests])
    return replace(
        misses,
        least_below=math.sqrt(misses.least_below**2 + float(below)),
        least_above=math.sqrt(misses.least_above**2 + float(above)),
    )


def _excess(test: Backtest, metric: Metric) -> float:
    """Variance per doubling that was missing for the interval to hold what was measured."""
    ends = (metric.error(test.forecast.low), metric.error(test.forecast.high))
    end = min(ends) if test.error < 0.0 else max(ends)
    half = math.log(max(end, SMALLEST) / max(metric.error(test.forecast.median), SMALLEST))
    return max(test.error**2 - half**2, 0.0) / Z_90**2 / math.log2(1.0 / test.share)
