"""Cards and tables as text: labels, values and cells that renderers lay out."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.reporting import text
from profiler.units import format_joules, format_seconds, format_si, format_watts, significant

if TYPE_CHECKING:
    from profiler.reporting.records import (
        Details,
        DomainLine,
        Outlook,
        Overhead,
        PlannedEnd,
        Report,
        Target,
        WorkLine,
    )

Row = tuple[str, ...]
_UNKNOWN = "-"
_LEAST_THROTTLED = 0.005
"""Share of the time at a reduced clock below which it is not shown."""
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
        Card(label="Energy", value="not measured", note="")
        if energy is None
        else Card(
            label="Energy",
            value=text.joules(energy.median, text.digits_of(energy)),
            note=f"{text.within(energy)}; {text.measured(report.measured_share)}",
        ),
        None
        if cost.kwh is None
        else Card(label="Electricity", value=text.kwh(cost.kwh.median, text.digits_of(cost.kwh)), note=pue),
        None
        if cost.gco2e is None
        else Card(
            label="Carbon",
            value=text.carbon(cost.gco2e.median, text.digits_of(cost.gco2e)),
            note=text.carbon_source(prices),
        ),
        None
        if cost.money is None
        else Card(
            label="Money",
            value=f"{text.money(cost.money.median, text.digits_of(cost.money))}{text.currency(prices)}",
            note=f"at {prices.price_per_kwh:g} per kWh",
        ),
        Card(label="Time", value=length, note=mean),
        _steps(report),
    )


def _steps(report: "Report") -> Card:
    if report.step_seconds is None:
        return Card(label="Steps", value="none detected", note="")
    each = [] if report.step_joules is None else [format_joules(report.step_joules)]
    each.append(format_seconds(report.step_seconds))
    return Card(label="Steps", value=f"{report.summary.steps:,}", note=f"{' and '.join(each)} per step")


def forecast_cards(outlook: "Outlook") -> tuple[Card, ...]:
    """Return the numbers of a forecast."""
    name = text.one_line(outlook.metric)
    cards = [
        Card(
            label=f"{name[:1].upper()}{name[1:]}",
            value=f"{text.level(outlook.first_loss)} \N{RIGHTWARDS ARROW} {text.level(outlook.last_loss)}",
            note=f"smoothed; {text.curve_state(outlook.state, name, outlook.goal, outlook.diverged_step)}",
        )
    ]
    if outlook.floor is not None:
        digits = text.digits_of(outlook.floor)
        label = "Floor" if outlook.goal == "min" else "Ceiling"
        note = f"90 % in {text.ends(outlook.floor, text.level)}"
        cards.append(Card(label=label, value=text.level(outlook.floor.median, digits), note=note))
    if outlook.planned_end is not None:
        cards.append(_planned(outlook.planned_end, name))
    return tuple(cards)


def _planned(end: "PlannedEnd", name: str) -> Card:
    note = f"90 % in {text.ends(end.loss, text.level)}, after {text.joules(end.joules)}"
    value = text.level(end.loss.median, text.digits_of(end.loss))
    return Card(label=f"{name[:1].upper()}{name[1:]} at the end of the plan", value=value, note=note)


def targets(outlook: "Outlook", spent: float, watts: float | None, work: "WorkLine | None" = None) -> Table:
    """Tabulate targets and their prices, also in time and units of work where they are known."""
    time = ("more time",) if watts else ()
    doubt = "; unreliable, since most forecasts made earlier in this run missed" if outlook.is_guess else ""
    units = () if work is None else (f"more {text.one_line(work.unit)}",)
    return Table(
        caption=f"Cost of a {'lower' if outlook.goal == 'min' else 'higher'} {text.one_line(outlook.metric)}{doubt}",
        head=("target", "change", "more energy", "90 % interval", *time, *units, text.OUT_OF_REACH),
        rows=tuple(_target(row, outlook.goal, spent, watts, work) for row in outlook.rows),
    )


def _target(row: "Target", goal: str, spent: float, watts: float | None, work: "WorkLine | None") -> Row:
    level, change, energy, ends, never = text.target(row, goal, spent)
    return (level, change, energy, ends, *_time(row, spent, watts), *_work(row, spent, work), never)


def _work(row: "Target", spent: float, work: "WorkLine | None") -> Row:
    if work is None or work.joules_each is None:
        return ()
    each = work.joules_each.median
    more = None if row.more is None else text.scaled(row.more, 1.0 / each)
    return text.price(row.forecast.verdict, more, text.amount, spent / each)[:1]


def _time(row: "Target", spent: float, watts: float | None) -> Row:
    if not watts:
        return ()
    more = None if row.more is None else text.scaled(row.more, 1.0 / watts)
    return text.price(row.forecast.verdict, more, text.seconds, spent / watts)[:1]


def anneals(details: "Details", metric: str) -> Table:
    """Tabulate the level and the cost of an anneal begun now, at half of the remaining budget, and as planned."""
    head = tuple(cell.format(metric=text.one_line(metric)) for cell in text.ANNEAL_HEAD)
    return Table(
        caption="Learning rate annealed to zero with 20 % of the energy before it, or with the rest of the budget",
        head=head,
        rows=tuple(map(text.anneal_row, details.anneals)),
    )


def scenarios(outlook: "Outlook", spent: float) -> Table:
    """Tabulate the price of one target under each future of the learning rate."""
    rows = [
        (row, text.price(row.target.forecast.verdict, row.target.more, text.joules, spent))
        for row in outlook.scenarios
    ]
    return Table(
        caption="If the learning rate continues as planned, is held, or is annealed to zero at the target",
        head=("future", "target", "more energy", "90 % interval", text.OUT_OF_REACH),
        rows=tuple(
            (
                text.FUTURES[row.name],
                text.level(row.target.loss),
                energy,
                ends or _UNKNOWN,
                text.chance(row.target.forecast.p_unreachable),
            )
            for row, (energy, ends) in rows
        ),
    )


def metrics(report: "Report") -> Table:
    """Tabulate every metric with its state and last value."""
    return Table(
        caption="All recorded metrics",
        head=("metric", "last value", "state"),
        rows=tuple(
            (
                text.one_line(known.name),
                _UNKNOWN if known.last is None else text.level(known.last),
                known.refused
                if known.state is None
                else text.curve_state(
                    known.state, known.name, known.goal or "min", known.diverged_step, subject="curve"
                ),
            )
            for known in report.metrics
        ),
    )


def power_limits(report: "Report") -> Table | None:
    """Tabulate the cost of a step under each power limit, and of the way to the target; None without limits."""
    known = report.power_limits
    if known is None or not known.rows:
        return None
    head = ["limit", "visits", "steps", "energy per step", "90 % interval", "time per step"]
    columns = [
        ("energy to it", [_joules(None if row.joules is None else row.joules.median) for row in known.rows]),
        (
            "time to it",
            [_UNKNOWN if row.seconds is None else format_seconds(row.seconds) for row in known.rows],
        ),
        ("money to it", [_UNKNOWN if row.money is None else text.money(row.money) for row in known.rows]),
    ]
    shown = [column for column in columns if set(column[1]) != {_UNKNOWN}]
    target = "" if known.target is None else f"; it is {report.metric} {text.level(known.target)}"
    return Table(
        caption=f"Steps under each power limit, with all counted domains{target}",
        head=(*head, *(name for name, _ in shown)),
        rows=tuple(
            (
                text.limit_watts(row),
                str(row.visits),
                str(row.steps),
                text.joules(row.step_joules.median, text.digits_of(row.step_joules)),
                text.ends(row.step_joules, text.joules),
                format_seconds(row.step_seconds.median),
                *(cells[number] for _, cells in shown),
            )
            for number, row in enumerate(known.rows)
        ),
    )


def throttling(details: "Details") -> Table | None:
    """Tabulate the time at a reduced clock; None where no device was throttled."""
    if not any(one.share.high > _LEAST_THROTTLED for one in details.throttling):
        return None
    return Table(
        caption="Time at a reduced clock; a power limit that was chosen is no fault",
        head=("device", "cause", "share of the time", "90 % interval", "origin"),
        rows=tuple(
            (
                text.one_line(one.domain),
                {"power": "power limit", "thermal": "heat"}.get(one.cause, text.one_line(one.cause)),
                text.percent(one.share.median),
                _UNKNOWN if one.is_counted else text.ends(one.share, lambda share, _: text.percent(share)),
                "counted by the device" if one.is_counted else "one reading per second",
            )
            for one in details.throttling
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


def devices(details: "Details") -> Table:
    """Tabulate the energy by device and activity."""
    total = sum(piece.joules for piece in details.devices)
    has_later = any(piece.later_joules for piece in details.devices)
    return Table(
        caption="By device; spans outside the steps are divided by the samples within them",
        head=("device", "activity", "energy", "share", *(("after the best level",) if has_later else ())),
        rows=tuple(
            (
                text.one_line(piece.device) or _UNKNOWN,
                text.one_line(piece.activity),
                format_joules(piece.joules),
                text.percent(piece.joules / total),
                *((format_joules(piece.later_joules),) if has_later else ()),
            )
            for piece in details.devices
        ),
    )


def phases(details: "Details") -> Table | None:
    """Tabulate the energy of the phases of steps; None where no phase was timed."""
    if not details.phases:
        return None
    rows = tuple(
        (
            phase.name,
            _UNKNOWN
            if phase.joules is None
            else text.joules(phase.joules.median, text.digits_of(phase.joules)),
            _UNKNOWN if phase.joules is None else text.ends(phase.joules, text.joules),
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
        ("late rounds", _late_rounds(known)),
        ("start and stop", " and ".join(map(_seconds, (known.start_seconds, known.stop_seconds)))),
        ("calls of experiment trackers", _tracker_calls(known)),
        ("written", _UNKNOWN if bytes_written is None else format_si(bytes_written, "B")),
    )
    return Table(
        caption="Where CPU energy is measured, the total includes the profiler's own share",
        head=("quantity", "value"),
        rows=_known(rows),
    )


def _tracker_calls(known: "Overhead") -> str:
    if not known.log_calls:
        return _UNKNOWN
    return f"{known.log_calls:,.0f}, {_seconds(known.log_seconds)} in all, on the training thread"


def _late_rounds(known: "Overhead") -> str:
    late, missed, samples = known.late_samples, known.missed_samples, known.samples
    if late is None or missed is None or not samples:
        return _UNKNOWN
    if not late:
        return "none"
    share = significant(100 * missed / (samples + missed), 2)
    return f"{late:,}, {_seconds(known.delayed_seconds)} in all; {missed:,} rounds missed ({share} %)"


def _known(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(row for row in rows if set(row[1].split(" and ")) != {_UNKNOWN})


def _seconds(value: float | None) -> str:
    return _UNKNOWN if value is None else format_seconds(value)


def _joules(value: float | None) -> str:
    return _UNKNOWN if value is None else format_joules(value)
