"""Power limits of a run: the cost of a step under each, and of the way to the next target."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.analysis.power_limits import LimitEffect, power_limits_of
from profiler.records import Interval
from profiler.reporting.answer import weighed

if TYPE_CHECKING:
    from profiler.emissions import Prices
    from profiler.records import Summary
    from profiler.reporting.forecast_section import Outlook
    from profiler.storage.reader import StoredRun


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """One power limit.

    Attributes:
        limit_watts: The limit of each accelerator, in watts.
        visits: Number of times at which it was enforced.
        steps: Number of steps in them.
        step_joules: Energy per step, with all counted domains.
        step_seconds: Time per step.
        joules: Energy from now to the target under this limit; None without a target within reach.
        seconds: Time to it.
        money: Cost of that energy; None without a price.
    """

    limit_watts: float
    visits: int
    steps: int
    step_joules: Interval
    step_seconds: Interval
    joules: Interval | None
    seconds: float | None
    money: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitTable:
    """The power limits under which a run trained, from the highest.

    Attributes:
        rows: The limits.
        least_joules: Limit of the lowest energy per step, in watts; None if none can be named.
        p_least_joules: Probability that it is the lowest of these limits.
        least_seconds: Limit of the shortest steps, in watts; None if none can be named.
        p_least_seconds: Probability that it is the shortest.
        target: Level whose price the rows state; None without one.
        refused: Reason why no limit is named; empty otherwise.
    """

    rows: tuple[LimitRow, ...]
    least_joules: float | None
    p_least_joules: float | None
    least_seconds: float | None
    p_least_seconds: float | None
    target: float | None
    refused: str

    def row(self, limit_watts: float | None) -> LimitRow | None:
        """Return the row of a limit."""
        return next((row for row in self.rows if row.limit_watts == limit_watts), None)


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
