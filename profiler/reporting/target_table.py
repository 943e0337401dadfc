"""Prices of about four hundred target losses, as columns for JSON and as finished strings for the page's slider."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.records import Interval, Verdict
from profiler.reporting import text
from profiler.reporting.records import PerJoule, TargetTable

if TYPE_CHECKING:
    from profiler.emissions import Prices
    from profiler.forecasting import CurveFit
    from profiler.forecasting.inverse import Inverse
    from profiler.reporting.records import Outlook, Target

_BEHIND, _AHEAD = 110, 280
"""Numbers of losses that were reached, and of losses that were not."""
_A_DECADE, _DECADES = 13, 3
"""Further ones, evenly on the log axis, for a curve that approaches zero."""
_BEYOND = 1.15
"""End of the table, from the present error (0) to the lower end of the floor's interval (1)."""
_LONGEST_MARK = 1e12
"""Ratio of the ends of an interval beyond which the figure does not draw it."""


def table_of(
    inverse: "Inverse",
    outlook: "Outlook",
    prices: "Prices",
    watts: float | None,
    work: Mapping[str, float] | None = None,
) -> TargetTable:
    """Price losses from the curve's start to below its floor.

    Args:
        inverse: The fitted curve, prepared for many targets.
        outlook: The forecast; its targets are rows, so that both agree to the last digit.
        prices: Prices of a kilowatt-hour.
        watts: Mean power of the training.
        work: Amount of each unit of work per joule.
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
        p_within=tuple(
            listed[loss].p_within(HORIZON_LIMIT) if loss in listed else inverse.p_within_horizon(loss)
            for loss in losses
        ),
        verdicts=tuple(forecast.verdict for forecast in forecasts),
        per_joule=PerJoule(
            seconds=1.0 / watts if watts else None,
            kwh=prices.kwh(1.0),
            gco2e=prices.gco2e(1.0),
            money=prices.money(1.0),
            work=work or {},
        ),
    )


def _losses(fit: "CurveFit", listed: Iterable[float]) -> list[float]:
    error = fit.metric.error
    first, now = error(fit.first_level), error(fit.level)
    least = min(error(fit.floor.low), error(fit.floor.high))
    last = now - _BEYOND * (now - least)
    if fit.metric.best is None:
        # A loss that has been positive so far is not extrapolated to zero or below.
        last = max(last, now * 10.0**-_DECADES)
    errors = {*_even(max(first, now), now, last), *_decades(now, last)}
    losses = {*(fit.metric.value(value) for value in errors), *listed}
    return sorted(losses, reverse=fit.metric.best is None)


def _even(first: float, now: float, last: float) -> Iterator[float]:
    yield from (first * (now / first) ** (k / _BEHIND) for k in range(_BEHIND))
    yield now
    yield from (now + (last - now) * k / _AHEAD for k in range(1, _AHEAD + 1))


def _decades(now: float, last: float) -> Iterator[float]:
    down = (now * 10.0 ** (-k / _A_DECADE) for k in range(1, _A_DECADE * _DECADES + 1))
    yield from (value for value in down if value > last)


def slider(table: TargetTable, marked: "Sequence[Target]" = ()) -> dict[str, Any]:
    """Return the rows of the page's slider, from the present level on, as finished strings.

    ``labels`` are the quantities; row k of ``cells`` holds a value and a note for each; ``marks`` are the ends of the
    interval that the figure shows, and its median where that is a point; ``ticks`` are rows with a label.
    """
    rows = [row for row, verdict in enumerate(table.verdicts) if verdict is not Verdict.REACHED]
    if not rows:
        rows = [len(table.losses) - 1]
    known = [table.losses[row] for row in rows]
    quantities = _quantities(table.per_joule)
    return {
        "losses": known,
        "names": [text.level(loss) for loss in known],
        "labels": list(quantities),
        "cells": [[_cell(table, row, *one) for one in quantities.values()] for row in rows],
        "sentences": [_sentence(table, row) for row in rows],
        "marks": [_mark(table, row) for row in rows],
        "ticks": [
            [known.index(one.loss), f"{100 * one.change:g} %"]
            for one in marked
            if one.change and one.loss in known
        ],
    }


def _quantities(per_joule: PerJoule) -> dict[str, tuple[float, text.Format]]:
    known = {
        "Energy": (1.0, text.joules),
        "Time": (per_joule.seconds, text.seconds),
        "Electricity": (per_joule.kwh, text.kwh),
        "Carbon": (per_joule.gco2e, text.carbon),
        "Money": (per_joule.money, text.money),
        **{text.one_line(unit).capitalize(): (each, text.amount) for unit, each in per_joule.work.items()},
    }
    return {name: (factor, unit) for name, (factor, unit) in known.items() if factor is not None}


def _more(table: TargetTable, row: int) -> Interval:
    ends = (table.low[row], table.median[row], table.high[row])
    low, median, high = (max(joules - table.joules_now, 0.0) for joules in ends)
    return Interval(low=low, median=median, high=high)


def _is_unknown(table: TargetTable, row: int) -> bool:
    is_priced = table.verdicts[row] not in (Verdict.REACHED, Verdict.UNREACHABLE)
    return is_priced and math.isnan(table.median[row])


def _cell(table: TargetTable, row: int, factor: float, unit: text.Format) -> tuple[str, str]:
    more = text.scaled(_more(table, row), factor)
    return text.price(table.verdicts[row], more, unit, table.joules_now * factor)


def _sentence(table: TargetTable, row: int) -> str:
    if _is_unknown(table, row):
        return text.unknown_sentence(table.p_unreachable[row])
    within = table.p_within[row] if math.isinf(table.high[row]) else math.nan
    return text.verdict_sentence(table.verdicts[row], table.median[row], table.p_unreachable[row], within)


def _mark(table: TargetTable, row: int) -> tuple[float | None, float | None, float | None]:
    if _is_unknown(table, row):
        return None, None, None
    low, high = table.low[row], min(table.high[row], table.low[row] * _LONGEST_MARK)
    point = table.verdicts[row] in (Verdict.REACHED, Verdict.REACHABLE)
    ends = (low, high, table.median[row] if point else math.inf)
    low_end, high_end, median = (float(f"{end:.6g}") if math.isfinite(end) else None for end in ends)
    return low_end, high_end, median
