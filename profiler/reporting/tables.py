"""Cards and tables as text: labels, values and cells that renderers lay out."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.reporting import text
from profiler.units import format_joules, format_seconds, format_si, format_watts, significant

if TYPE_CHECKING:
    from profiler.reporting.details import Details, Overhead
    from profiler.reporting.forecast_section import Outlook, PlannedEnd, Target
    from profiler.reporting.model import DomainLine, Report

Row = tuple[str, ...]
_UNKNOWN = "-"
_MOST_PROCESSES = 32
_NUMBER = re.compile(r"(asked )?[-±+<>]? ?[\d.,]+(e[+-]\d+)?( [^\s\[]+)?( x)?|-|")
_LONG = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text."""

    caption: str
    head: Row
    rows: tuple[Row, ...]

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def kinds(self) -> tuple[str, ...]:
        """CSS class of each column: numbers align right, long text gets room."""
        return tuple(map(_kind, zip(*self.rows, strict=True)))


def _kind(column: Iterable[str]) -> str:
    cells = list(column)
    if all(_NUMBER.fullmatch(cell) for cell in cells):
        return "number"
    return "long" if max(map(len, cells)) > _LONG else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A number at the top of a report."""

    label: str
    value: str
    note: str


def cards_of(report: "Report") -> tuple[Card, ...]:
    """Return the numbers at the top of a report."""
    forecast = () if report.outlook is None else forecast_cards(report.outlook)
    return tuple(card for card in (*_spent(report), *forecast) if card is not None)


def _spent(report: "Report") -> tuple[Card | None, ...]:
    energy, cost, prices = report.energy, report.cost, report.cost.prices
    length = format_seconds(report.summary.window_seconds)
    mean = "" if report.watts is None else f"{format_watts(report.watts)} on average"
    pue = f"at the meter, PUE {prices.pue:g}" if prices.pue != 1.0 else "at the devices, PUE 1"
    return (
        Card(label="Energy", value=text.NOT_METERED, note="")
        if energy is None
        else Card(
            label="Energy",
            value=format_joules(energy.median),
            note=f"{text.within(energy)}; {_provenances(report)}",
        ),
        None if cost.kwh is None else Card(label="Electricity", value=text.kwh(cost.kwh.median), note=pue),
        None
        if cost.gco2e is None
        else Card(label="Carbon", value=text.carbon(cost.gco2e.median), note=text.carbon_source(report)),
        None
        if cost.money is None
        else Card(
            label="Money",
            value=text.money(cost.money.median),
            note=f"at {prices.price_per_kwh:g} per kWh",
        ),
        Card(label="Time", value=length, note=mean),
        _steps(report),
    )


def _steps(report: "Report") -> Card:
    if report.step_seconds is None:
        return Card(label="Steps", value="none seen", note="")
    each = [] if report.step_joules is None else [format_joules(report.step_joules)]
    each.append(format_seconds(report.step_seconds))
    return Card(label="Steps", value=f"{report.summary.steps:,}", note=f"{' and '.join(each)} per step")


def forecast_cards(outlook: "Outlook") -> tuple[Card, ...]:
    """Return the numbers of a forecast."""
    floor, percent, end = outlook.floor, outlook.next_percent, outlook.planned_end
    planned = () if end is None else (_planned(end),)
    point = "perhaps out of reach" if percent.median == math.inf else format_joules(percent.median)
    return (
        Card(
            label="Loss",
            value=f"{text.loss(outlook.first_loss)} \N{RIGHTWARDS ARROW} {text.loss(outlook.last_loss)}",
            note="smoothed",
        ),
        Card(label="Floor", value=text.loss(floor.median), note=f"90 % in {text.ends(floor, text.loss)}"),
        Card(
            label="The next 1 % of loss",
            value=point,
            note=f"90 % in {text.ends(percent, format_joules)}",
        ),
        *planned,
    )


def _planned(end: "PlannedEnd") -> Card:
    note = f"90 % in {text.ends(end.loss, text.loss)}, after {format_joules(end.joules)}"
    return Card(label="Loss at the end of the plan", value=text.loss(end.loss.median), note=note)


def _provenances(report: "Report") -> str:
    billed = [line for line in report.domains if line.billed]
    total = sum(line.joules for line in billed)
    if not total:
        return "nothing counted"
    kinds = dict.fromkeys(line.provenance.value for line in billed)
    shares = {kind: sum(x.joules for x in billed if x.provenance.value == kind) / total for kind in kinds}
    parts = [f"{text.percent(share)} {kind}" for kind, share in shares.items()]
    return ", ".join(parts + (["incomplete"] if report.summary.missing else []))


def targets(outlook: "Outlook", watts: float | None) -> Table:
    """Tabulate lower losses and their prices, in time too where the mean power is known."""
    time = ("time more",) if watts else ()
    return Table(
        caption="Cost of lower losses",
        head=("target loss", "energy more", "90 % interval", *time, "P(never)", "verdict"),
        rows=tuple(_target(row, watts) for row in outlook.rows),
    )


def _target(row: "Target", watts: float | None) -> Row:
    loss, _, never, verdict = text.target(row)
    energy, ends = text.price(row.forecast.verdict, row.more, format_joules)
    return (loss, energy, ends or _UNKNOWN, *_time(row, watts), never, verdict)


def _time(row: "Target", watts: float | None) -> Row:
    if not watts:
        return ()
    more = None if row.more is None else text.scaled(row.more, 1.0 / watts)
    return text.price(row.forecast.verdict, more, format_seconds)[:1]


def scenarios(outlook: "Outlook") -> Table:
    """Tabulate the price of one target under each future of the learning rate."""
    rows = [
        (row, text.price(row.target.forecast.verdict, row.target.more, format_joules))
        for row in outlook.scenarios
    ]
    return Table(
        caption="If the learning rate continues as planned, is held, or is annealed to zero at the target",
        head=("future", "target loss", "energy more", "90 % interval", "P(never)"),
        rows=tuple(
            (
                text.FUTURES[row.name],
                text.loss(row.target.loss),
                energy,
                ends or _UNKNOWN,
                text.percent(row.target.forecast.p_unreachable),
            )
            for row, (energy, ends) in rows
        ),
    )


def where(details: "Details") -> Table:
    """Tabulate the parts of the window."""
    rows = tuple(
        (
            part.name,
            "steps" if part.in_steps else "outside steps",
            _joules(part.joules),
            _UNKNOWN if part.share is None else text.percent(part.share),
            format_seconds(part.seconds),
        )
        for part in details.where
    )
    return Table(
        caption="Steps and what lies between them add up to the total",
        head=("part", "place", "energy", "share", "time"),
        rows=rows,
    )


def phases(details: "Details") -> Table | None:
    """Tabulate the energy of the phases of steps; None where no phase was timed."""
    if not details.phases:
        return None
    rows = tuple(
        (
            phase.name,
            _UNKNOWN if phase.joules is None else format_joules(phase.joules.median),
            _UNKNOWN if phase.joules is None else text.ends(phase.joules, format_joules),
            format_seconds(phase.seconds),
        )
        for phase in details.phases
    )
    return Table(
        caption="Energy by phase: estimated from how power varies with each phase's share of the time; not measured",
        head=("phase", "energy", "90 % interval", "time"),
        rows=rows,
    )


def processes(details: "Details") -> Table | None:
    """Tabulate the processes of a job by rank; None for a single process."""
    known = details.processes
    if not known:
        return None
    rows = tuple(
        (
            f"rank {one.rank}" + (f", attempt {one.attempt}" if one.attempt else ""),
            one.host,
            one.status,
            f"{one.steps:,}",
            format_joules(one.joules),
        )
        for one in sorted(known, key=lambda one: (one.rank, one.attempt))[:_MOST_PROCESSES]
    )
    some = "" if len(rows) == len(known) else f", the first {len(rows)}"
    return Table(
        caption=f"{len(known)} processes{some}",
        head=("process", "host", "status", "steps", "energy"),
        rows=rows,
    )


def backtest(outlook: "Outlook") -> Table:
    """Tabulate the backtest."""
    return Table(
        caption="Forecasts for the end of this run from its earlier parts",
        head=text.BACKTEST_HEAD,
        rows=tuple(text.backtest_rows(outlook)),
    )


def sensors(report: "Report") -> Table:
    """Tabulate every domain, measured or not."""
    missing = tuple(
        (name, _UNKNOWN, _UNKNOWN, "missing", "no sensor measures it", _UNKNOWN, _UNKNOWN, "no")
        for name in report.summary.missing
    )
    return Table(
        caption="Every domain that was sampled; the counted ones make up the total",
        head=(
            "domain",
            "energy",
            "mean power",
            "provenance",
            "source",
            "update interval",
            "uncertainty",
            "counted",
        ),
        rows=(*map(_sensor, report.domains), *missing),
    )


def _sensor(line: "DomainLine") -> Row:
    return (
        line.name,
        format_joules(line.joules),
        format_watts(line.watts),
        text.provenance(line),
        line.source,
        _UNKNOWN if line.period_seconds is None else format_seconds(line.period_seconds),
        f"± {significant(100 * line.gain_share, 2)} %",
        "yes" if line.billed else "no",
    )


def sensor_notes(report: "Report") -> tuple[str, ...]:
    """Return the caveats of the domains: methods of estimates, cross-checks that failed."""
    return tuple(f"{line.name}: {note}" for line in report.domains for note in line.notes)


def refusals(report: "Report") -> Table:
    """Tabulate the sources that are not used."""
    return Table(
        caption="Sources that were not used, with reasons and remedies",
        head=("source", "reason", "remedy"),
        rows=tuple((one.source, one.reason, one.remedy or _UNKNOWN) for one in report.refusals),
    )


def overhead(known: "Overhead") -> Table:
    """Tabulate the cost of the profiler itself."""
    share, bytes_written = known.share_of_a_core, known.bytes_written
    rows = (
        ("processor time of its thread", _seconds(known.sampler_cpu_seconds)),
        ("share of one core", _UNKNOWN if share is None else f"{significant(100 * share, 2)} %"),
        ("processor time per step", _seconds(known.seconds_a_step)),
        ("sampling rounds", _UNKNOWN if known.samples is None else f"{known.samples:,}"),
        ("longest round", _seconds(known.longest_read_seconds)),
        ("start and stop", " and ".join(map(_seconds, (known.start_seconds, known.stop_seconds)))),
        ("written", _UNKNOWN if bytes_written is None else format_si(bytes_written, "B")),
    )
    return Table(
        caption="Where CPU energy is measured, the total includes the profiler's own share",
        head=("quantity", "value"),
        rows=_known(rows),
    )


def _known(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(row for row in rows if set(row[1].split(" and ")) != {_UNKNOWN})


def _seconds(value: float | None) -> str:
    return _optional(value, format_seconds)


def _joules(value: float | None) -> str:
    return _optional(value, format_joules)


def _optional(value: float | None, unit: Callable[[float], str]) -> str:
    return _UNKNOWN if value is None else unit(value)
