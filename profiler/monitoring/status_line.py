"""Status line that the profiler writes to stderr every ten seconds with ``live=True``."""

import sys
from datetime import timedelta

from profiler.monitoring.live_forecast import LiveForecast
from profiler.records import Progress, Verdict
from profiler.reporting.text import level as level_text
from profiler.reporting.text import live_price
from profiler.units import format_joules, format_watts


def format_status(
    now: Progress, before: Progress, *, level: float | None, forecast: LiveForecast | None
) -> str:
    """Format the progress of a run.

    Args:
        now: Progress now.
        before: Progress at the previous line; the power is the mean since then.
        level: Smoothed loss now.
        forecast: Latest forecast.
    """
    parts = [str(timedelta(seconds=round(now.seconds))), f"{now.steps:,} steps"]
    if now.total_joules is not None:
        seconds = now.seconds - before.seconds
        if seconds > 0:
            parts.append(format_watts((now.total_joules - (before.total_joules or 0.0)) / seconds))
        parts.append(format_joules(now.total_joules))
    if level is not None:
        parts.append(f"loss {level_text(level)}")
    if forecast is not None and now.total_joules is not None and _is_news(forecast):
        parts.append(live_price(forecast.target, forecast.forecast, now.total_joules))
    return ", ".join(parts)


def _is_news(forecast: LiveForecast) -> bool:
    """Return False for a target that the user did not give and that the curve has passed already before it rose."""
    return forecast.is_asked or forecast.forecast.verdict is not Verdict.REACHED


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
