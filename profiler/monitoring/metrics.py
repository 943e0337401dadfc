"""Where a run stands, as a flat mapping with the keys that experiment trackers take."""

import math
import re

from profiler.budget import Goals
from profiler.emissions import Prices
from profiler.monitoring.live_forecast import Outlook
from profiler.records import Progress


def power_key(domain: str) -> str:
    """The key of a domain's power: ``gpu:0`` is ``power/gpu0_watts``, which every tracker accepts."""
    return f"power/{re.sub(r'[^A-Za-z0-9]+', '_', domain.replace('gpu:', 'gpu'))}_watts"


def flat(
    now: Progress,
    before: Progress,
    *,
    level: float | None,
    outlook: Outlook | None,
    goals: Goals,
    prices: Prices,
    earlier_joules: float = 0.0,
) -> dict[str, float]:
    """Put everything that is known and finite under its key; what is not known is absent.

    Args:
        now: Where the run stands.
        before: Where it stood some seconds ago, for means over what lies between.
        level: The loss now.
        outlook: What the curve says.
        goals: What is asked for.
        prices: What energy costs.
        earlier_joules: What was spent of the energy budget before this recording.
    """
    total = now.total_joules
    steps = now.steps - before.steps
    found: dict[str, float | None] = {
        "energy/total_joules": total,
        "energy/modelled_joules": None if total is None else now.modelled_joules,
        "energy/step_joules": (now.step_joules - before.step_joules) / steps if steps and total else None,
        "power/total_watts": sum(now.watts.values()) if now.watts else None,
        **{power_key(name): watts for name, watts in now.watts.items()},
        "loss/level": level,
    }
    if total is not None:
        found["cost/gco2e"], found["cost/money"] = prices.gco2e(total), prices.money(total)
        if goals.energy_budget is not None:
            found["budget/used"] = (total + earlier_joules) / goals.energy_budget
        found |= _forecast(outlook, total) if outlook is not None else {}
    return {key: float(value) for key, value in found.items() if value is not None and math.isfinite(value)}


def _forecast(outlook: Outlook, total: float) -> dict[str, float | None]:
    forecast = outlook.forecast
    more = (max(joules - total, 0.0) for joules in (forecast.low, forecast.median, forecast.high))
    low, median, high = more
    return {
        "forecast/floor": outlook.floor.median,
        "forecast/target_loss": outlook.target,
        "forecast/more_joules": median,
        "forecast/more_joules_low": low,
        "forecast/more_joules_high": high,
        "forecast/p_unreachable": forecast.p_unreachable,
    }
