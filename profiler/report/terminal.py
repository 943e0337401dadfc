"""The report as plain text, 80 columns wide, at most 25 lines by default."""

import io
import math
from collections.abc import Iterator

from profiler.records import Interval, Verdict
from profiler.report.model import DomainLine, Outlook, Report, Target
from profiler.units import JOULES_PER_KWH, format_joules, format_seconds, format_watts, significant

WIDTH = 80
_WARNINGS_SHOWN = 3
_DOMAINS_SHOWN = 5


def render(report: Report) -> str:
    """Render the report; ends with a newline."""
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, width=WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    for part in _parts(report):
        console.print(part, soft_wrap=False, no_wrap=True, overflow="ellipsis")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _parts(report: Report) -> Iterator[object]:
    summary = report.summary
    yield f"== energy-profiler: {summary.name} {summary.status.value} after {format_seconds(summary.window_seconds)} =="
    yield from _energy(report)
    if report.outlook is not None:
        yield from _forecast(report.outlook)
    else:
        yield f"forecast   none: {report.refused}"
    hidden = len(report.warnings) - _WARNINGS_SHOWN
    yield from (f"! {warning}" for warning in report.warnings[:_WARNINGS_SHOWN])
    if hidden > 0:
        yield f"! and {hidden} more warnings in run.json"
    yield f"record     {summary.path}"


def _energy(report: Report) -> Iterator[str]:
    if report.energy is None or report.watts is None:
        yield "energy     not measured: nothing on this machine can be metered"
    else:
        kwh = report.energy.median / JOULES_PER_KWH
        incomplete = ", incomplete" if report.summary.missing else ""
        modelled = f", {report.modelled_share:.0%} modelled" if report.modelled_share else ""
        yield f"energy     {_spread(report.energy)}, {significant(kwh)} kWh{modelled}{incomplete}"
    yield from _domains(report)
    if report.step_seconds is not None:
        each = f"{format_joules(report.step_joules)} a step, " if report.step_joules is not None else ""
        yield f"steps      {report.summary.steps:,}; {each}{format_seconds(report.step_seconds)} each"
    else:
        yield "steps      none seen"


def _domains(report: Report) -> Iterator[str]:
    billed = [line for line in report.domains if line.billed]
    for line in billed[:_DOMAINS_SHOWN]:
        yield f"  {line.name:<16} {format_joules(line.joules):>8}  {format_watts(line.watts):>7}  {_how(line)}"
    if rest := billed[_DOMAINS_SHOWN:]:
        joules = format_joules(sum(line.joules for line in rest))
        yield f"  and {len(rest)} more      {joules:>8}"


def _how(line: DomainLine) -> str:
    bridged = f", {line.bridged_share:.0%} bridged" if line.bridged_share >= 0.005 else ""  # noqa: PLR2004 - half a per cent
    return f"{line.provenance.value}{bridged} ({line.source})"


def _spread(interval: Interval) -> str:
    half = (interval.high - interval.low) / 2 / interval.median if interval.median else 0.0
    return f"{format_joules(interval.median)} +- {significant(100 * half, 2)} %"


def _forecast(outlook: Outlook) -> Iterator[object]:
    floor = outlook.floor
    yield (
        f"loss       {significant(outlook.first_loss, 4)} -> {significant(outlook.last_loss, 4)}"
        f"; floor {significant(floor.median, 4)} [{significant(floor.low, 4)}, {significant(floor.high, 4)}]"
    )
    yield _table(outlook)
    end = outlook.perfection
    yield f"{outlook.yardstick.name}, if this law held for ever, would lead to"
    yield f"  loss {significant(end.median, 4)} [{significant(end.low, 4)}, {significant(end.high, 4)}]"
    yield from (f"  {note}" for note in outlook.notes)


def _table(outlook: Outlook) -> object:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("target loss", justify="right")
    table.add_column("joules more")
    table.add_column("90 % interval")
    table.add_column("P(never)", justify="right")
    table.add_column("verdict")
    for target in (*outlook.targets, *outlook.asked):
        table.add_row(*_row(target))
    return table


def _row(target: Target) -> tuple[str, str, str, str, str]:
    forecast = target.forecast
    verdict = forecast.verdict.value.replace("_", " ") + (" for certain" if forecast.certain else "")
    return (significant(target.loss, 4), *_price(target), _percent(forecast.p_unreachable), verdict)


def _price(target: Target) -> tuple[str, str]:
    forecast, more = target.forecast, target.more
    if forecast.verdict is Verdict.REACHED:
        return "none", f"at {format_joules(forecast.median)}"
    if more is None:
        return "no finite amount", ""
    point = format_joules(more.median) if forecast.verdict is Verdict.REACHABLE else "-"
    return point, f"[{format_joules(more.low)}, {_end(more.high)}]"


def _end(joules: float) -> str:
    return format_joules(joules) if math.isfinite(joules) else "never"


def _percent(probability: float) -> str:
    if 0 < probability < 0.005:  # noqa: PLR2004 - rounds to zero and is not
        return "< 1 %"
    if 0.995 <= probability < 1:  # noqa: PLR2004 - rounds to one and is not
        return "> 99 %"
    return f"{probability:.0%}".replace("%", " %")
