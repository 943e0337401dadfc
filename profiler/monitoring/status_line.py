"""Status line that the profiler writes to stderr every ten seconds with ``live=True``."""

import sys
from datetime import timedelta

from profiler.monitoring.live_forecast import LiveForecast
from profiler.records import Progress
from profiler.reporting.text import level as level_text
from profiler.reporting.text import live_price
from profiler.units import format_joules, format_watts


def format_status(
    now: Progress,
    before: Progress,
    *,
    level: float | None,
    forecast: LiveForecast | None,
    step_end_joules: float | None = None,
    age_seconds: float | None = None,
) -> str:
    """Format the progress of a run.

    The level is compared with the target first, so that a target that was reached since the forecast has no price.

    Args:
        now: Progress now.
        before: Progress at the previous line; the power is the mean since then.
        level: Smoothed loss now.
        forecast: Latest forecast.
        step_end_joules: Energy at the end of the last step: what was used since then brings no target nearer.
        age_seconds: Time since the forecast was computed; None where it is new.
    """
    parts = [str(timedelta(seconds=round(now.seconds))), f"{now.steps:,} steps"]
    if now.total_joules is not None:
        seconds = now.seconds - before.seconds
        if seconds > 0:
            parts.append(format_watts((now.total_joules - (before.total_joules or 0.0)) / seconds))
        parts.append(format_joules(now.total_joules))
    if level is not None:
        parts.append(f"loss {level_text(level)}")
    # A target that the user did not give is of interest only until it is reached.
    is_news = forecast is not None and (forecast.is_asked or not forecast.is_reached(level))
    if forecast is not None and is_news and now.total_joules is not None:
        spent = now.total_joules if step_end_joules is None else step_end_joules
        price = live_price(forecast.target, forecast.forecast, spent, present=level, age_seconds=age_seconds)
        parts.append(price)
    return ", ".join(parts)


def line_prefix() -> str:
    """Return the characters that separate the line from a progress bar, which leaves the cursor at its end.

    On a terminal the line replaces the bar, which is drawn again below. In a file it starts a new line with the
    carriage return that the bar itself uses.
    """
    try:
        on_terminal = sys.stderr.isatty()
    except (AttributeError, ValueError):
        on_terminal = False
    return "\r\x1b[K" if on_terminal else "\r" if "tqdm" in sys.modules else ""
