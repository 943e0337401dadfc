"""What any loss costs: a table of some four hundred of them, which the page and readers of the JSON interpolate."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.records import Interval, Verdict
from profiler.reporting.forecast_section import Outlook

if TYPE_CHECKING:
    from profiler.emissions import Prices
    from profiler.forecasting import CurveFit
    from profiler.forecasting.inverse import Inverse

_BEHIND, _AHEAD = 110, 280
"""Losses that were reached, and losses that were not."""
_A_DECADE, _DECADES = 13, 3
"""Further ones, evenly on the log axis, for a curve on its way to zero."""
_BEYOND = 1.15
"""How far the table reaches on the way from the present error to the lower end of the floor's interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerJoule:
    """What one more joule of this run brings along.

    Attributes:
        seconds: Its time, at the mean power of the training; None without power.
        kwh: Kilowatt-hours at the building's meter.
        gco2e: Grams of CO2 equivalent; None while the grid is unknown.
        money: In the user's currency; None while the price is unknown.
    """

    seconds: float | None
    kwh: float
    gco2e: float | None
    money: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What one loss costs.

    Attributes:
        loss: The target.
        verdict: The answer in a word.
        joules: Energy since the start, in joules.
        p_unreachable: Probability that no finite energy reaches it.
    """

    loss: float
    verdict: Verdict
    joules: Interval
    p_unreachable: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTable:
    """Columns of equal length, from the first loss of the curve to one that is probably never reached.

    Joules are totals since the start of the run, in joules, and infinite where they are never enough.

    Attributes:
        joules_now: Energy up to the last point of the curve, in joules.
        losses: Targets, each better than the one before it.
        low: Lower end of the 90 % interval of the joules.
        median: Their median.
        high: Their upper end.
        p_unreachable: Probability that no finite energy reaches the target.
        verdicts: The answers in a word.
        per_joule: What one more joule brings along.
    """

    joules_now: float
    losses: tuple[float, ...]
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]
    p_unreachable: tuple[float, ...]
    verdicts: tuple[Verdict, ...]
    per_joule: PerJoule

    def at(self, loss: float) -> Quote:
        """Interpolate between two rows: joules on the log axis, the probability evenly.

        Where one of the two joules is infinite the harder row's hold, and so does its verdict anywhere between them.
        Beyond the table's ends the end holds.
        """
        sign = -1.0 if self.losses[0] > self.losses[-1] else 1.0
        at, last = bisect_left(self.losses, sign * loss, key=lambda x: sign * x), len(self.losses) - 1
        harder = min(at, last)
        easier = at - 1 if 0 < at <= last else harder
        gap = self.losses[easier] - self.losses[harder]
        part = (self.losses[easier] - loss) / gap if gap else 1.0
        low, median, high = (
            _between(column[easier], column[harder], part) for column in (self.low, self.median, self.high)
        )
        chances = self.p_unreachable
        return Quote(
            loss=loss,
            verdict=self.verdicts[harder],
            joules=Interval(low=low, median=median, high=high),
            p_unreachable=chances[easier] + part * (chances[harder] - chances[easier]),
        )


def _between(easier: float, harder: float, part: float) -> float:
    if part == 1.0 or not (math.isfinite(easier) and math.isfinite(harder) and easier > 0.0):
        return harder
    return float(easier * (harder / easier) ** part)


def table_of(inverse: "Inverse", outlook: Outlook, prices: "Prices", watts: float | None) -> TargetTable:
    """Price every loss between the curve's start and what lies under its floor.

    Args:
        inverse: The fitted curve, ready for many targets.
        outlook: What is said of it elsewhere: its targets are rows, so that all agree to the last digit.
        prices: What kilowatt-hours cost.
        watts: Mean power of the training.
    """
    listed = {target.loss: target.forecast for target in (*outlook.targets, *outlook.asked)}
    losses = _losses(inverse.fit, listed)
    forecasts = [listed.get(loss) or inverse.joules_at(loss) for loss in losses]
    return TargetTable(
        joules_now=outlook.joules,
        losses=tuple(losses),
        low=tuple(forecast.low for forecast in forecasts),
        median=tuple(forecast.median for forecast in forecasts),
        high=tuple(forecast.high for forecast in forecasts),
        p_unreachable=tuple(forecast.p_unreachable for forecast in forecasts),
        verdicts=tuple(forecast.verdict for forecast in forecasts),
        per_joule=PerJoule(
            seconds=1.0 / watts if watts else None,
            kwh=prices.kwh(1.0),
            gco2e=prices.gco2e(1.0),
            money=prices.money(1.0),
        ),
    )


def _losses(fit: "CurveFit", listed: Iterable[float]) -> list[float]:
    error = fit.metric.error
    first, now = error(fit.first_level), error(fit.level)
    least = min(error(fit.floor.low), error(fit.floor.high))
    last = now - _BEYOND * (now - least)
    errors = {*_even(max(first, now), now, last), *_decades(now, last)}
    losses = {*(fit.metric.value(value) for value in errors), *listed}
    return sorted(losses, reverse=fit.first_level > fit.floor.median)


def _even(first: float, now: float, last: float) -> Iterator[float]:
    yield from (first * (now / first) ** (k / _BEHIND) for k in range(_BEHIND))
    yield now
    yield from (now + (last - now) * k / _AHEAD for k in range(1, _AHEAD + 1))


def _decades(now: float, last: float) -> Iterator[float]:
    down = (now * 10.0 ** (-k / _A_DECADE) for k in range(1, _A_DECADE * _DECADES + 1))
    yield from (value for value in down if value > last)
