"""The one line that a live view writes now and then."""

import sys
from datetime import timedelta

from profiler.monitoring.live_forecast import Outlook
from profiler.records import Progress, Verdict
from profiler.reporting.text import live_price, loss
from profiler.units import format_joules, format_watts


def text(now: Progress, before: Progress, *, level: float | None, outlook: Outlook | None) -> str:
    """Word where a run stands.

    Args:
        now: Where it stands.
        before: Where it stood at the line before, for the mean power since then.
        level: The loss now.
        outlook: What the curve says.
    """
    parts = [str(timedelta(seconds=round(now.seconds))), f"{now.steps:,} steps"]
    if now.total_joules is not None:
        seconds = now.seconds - before.seconds
        if seconds > 0:
            parts.append(format_watts((now.total_joules - (before.total_joules or 0.0)) / seconds))
        parts.append(format_joules(now.total_joules))
    if level is not None:
        parts.append(f"loss {loss(level)}")
    if outlook is not None and now.total_joules is not None and _is_news(outlook):
        parts.append(live_price(outlook.target, outlook.forecast, now.total_joules))
    return ", ".join(parts)


def _is_news(outlook: Outlook) -> bool:
    """A loss that nobody asked for and that the curve has been at already, before it rose, is none."""
    return outlook.is_asked or outlook.forecast.verdict is not Verdict.REACHED


def lead() -> str:
    """What to write first so that the line stands alone beside a progress bar, which leaves the cursor at its end.

    On a terminal the line takes the bar's place, and the bar draws itself again below. In a file it gets a line of
    its own by the carriage return that the bar uses too.
    """
    try:
        on_terminal = sys.stderr.isatty()
    except (AttributeError, ValueError):
        on_terminal = False
    return "\r\x1b[K" if on_terminal else "\r" if "tqdm" in sys.modules else ""
