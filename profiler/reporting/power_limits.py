"""Power limits of a run: the cost of a step under each, and of the way to the next target."""

from typing import TYPE_CHECKING

from profiler.analysis.power_limits import LimitEffect, power_limits_of
from profiler.records import Interval
from profiler.reporting.answer import weighed
from profiler.reporting.records import LimitRow, LimitTable

if TYPE_CHECKING:
    from profiler.emissions import Prices
    from profiler.records import Summary
    from profiler.reporting.records import Outlook
    from profiler.storage.reader import StoredRun


def limit_table(
    run: "StoredRun", summary: "Summary", outlook: "Outlook | None", prices: "Prices"
) -> LimitTable | None:
    """Compare the power limits of a run; None if its limit never changed or was not recorded."""
    found = power_limits_of(run)
    if found is None:
        return None
    target = None if outlook is None else weighed(outlook)
    more = None if target is None else target.more
    return LimitTable(
        rows=tuple(_row(effect, summary, more, prices) for effect in found.limits),
        least_joules=found.least_joules,
        p_least_joules=found.p_least_joules,
        least_seconds=found.least_seconds,
        p_least_seconds=found.p_least_seconds,
        target=None if target is None or more is None else target.loss,
        refused=found.refused,
    )


def _row(effect: LimitEffect, summary: "Summary", more: Interval | None, prices: "Prices") -> LimitRow:
    joules = seconds = money = None
    if more is not None and summary.training_joules and summary.steps and summary.step_joules:
        each = summary.training_joules / summary.steps
        # Energy and time between steps are assumed not to depend on the limit.
        between = each - summary.step_joules / summary.steps
        pause = (summary.training_seconds - summary.step_seconds) / summary.steps
        low, median, high = (
            price * (cost + between) / each
            for price, cost in zip(_ends(more), _ends(effect.step_joules), strict=True)
        )
        joules = Interval(low=low, median=median, high=high, level=more.level)
        seconds = more.median / each * (effect.step_seconds.median + pause)
        money = prices.money(median)
    return LimitRow(
        limit_watts=effect.limit_watts,
        visits=effect.visits,
        steps=effect.steps,
        step_joules=effect.step_joules,
        step_seconds=effect.step_seconds,
        joules=joules,
        seconds=seconds,
        money=money,
    )


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.low, interval.median, interval.high
