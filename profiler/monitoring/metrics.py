"""Progress of a run as a flat mapping, with keys that experiment trackers accept."""

import math
import re

from profiler.budget import Budget
from profiler.emissions import Prices
from profiler.monitoring.live_forecast import LiveForecast
from profiler.records import Progress, kind_of


def power_key(domain: str) -> str:
    """Return the key of a domain's power: ``power/gpu0_watts`` for ``gpu:0``."""
    name = domain.replace(":", "", 1) if kind_of(domain).is_accelerator else domain
    return f"power/{re.sub(r'[^A-Za-z0-9]+', '_', name)}_watts"


def flatten(
    now: Progress,
    before: Progress,
    *,
    level: float | None,
    forecast: LiveForecast | None,
    budget: Budget,
    prices: Prices,
    step_end_joules: float | None = None,
    earlier_joules: float = 0.0,
) -> dict[str, float]:
    """Return every known finite value under its key.

    Args:
        now: Progress now.
        before: Progress some seconds ago; energy per step is the mean since then.
        level: Smoothed loss now.
        forecast: Latest forecast.
        budget: Target loss and energy budget.
        prices: Carbon intensity and price of energy.
        step_end_joules: Energy at the end of the last step: what was used since then brings no target nearer.
        earlier_joules: Part of the energy budget that was used before this recording, in joules.
    """
    total = now.total_joules
    steps = now.steps - before.steps
    values: dict[str, float | None] = {
        "energy/total_joules": total,
        "energy/modelled_joules": None if total is None else now.modelled_joules,
        "energy/step_joules": (now.step_joules - before.step_joules) / steps if steps and total else None,
        "power/total_watts": sum(now.watts.values()) if now.watts else None,
        **{power_key(name): watts for name, watts in now.watts.items()},
        "loss/level": level,
    }
    if total is not None:
        values["cost/gco2e"], values["cost/money"] = prices.gco2e(total), prices.money(total)
        if budget.energy_joules is not None:
            values["budget/used"] = (total + earlier_joules) / budget.energy_joules
        spent = total if step_end_joules is None else step_end_joules
        values |= _forecast_values(forecast, spent, level) if forecast is not None else {}
    return {key: float(value) for key, value in values.items() if value is not None and math.isfinite(value)}


def _forecast_values(live: LiveForecast, spent: float, level: float | None) -> dict[str, float | None]:
    """Return the forecast; a target that the level has reached since takes no further energy."""
    forecast = live.forecast
    if live.is_reached(level):
        return {
            "forecast/floor": live.floor.median,
            "forecast/target_loss": live.target,
            "forecast/more_joules": 0.0,
            "forecast/more_joules_low": 0.0,
            "forecast/more_joules_high": 0.0,
            "forecast/p_unreachable": 0.0,
        }
    low, median, high = (
        max(joules - spent, 0.0) for joules in (forecast.low, forecast.median, forecast.high)
    )
    return {
        "forecast/floor": live.floor.median,
        "forecast/target_loss": live.target,
        "forecast/more_joules": median,
        "forecast/more_joules_low": low,
        "forecast/more_joules_high": high,
        "forecast/p_unreachable": forecast.p_unreachable,
    }
