"""The tables of the page, as text: a head and rows of cells each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.reporting import text
from profiler.reporting.model import DomainLine, Report
from profiler.units import format_joules, format_seconds, format_si, format_watts, significant

if TYPE_CHECKING:
    from profiler.reporting.forecast_section import Outlook, Target
    from profiler.reporting.sections import Details, Overhead

Row = tuple[str, ...]
_UNKNOWN = "-"
_MOST_PROCESSES = 32
_EACH, _SOME = 10, 5
"""Halvings that are all listed, and of which later ones are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a renderer lays out as a table."""

    caption: str
    head: Row
    rows: tuple[Row, ...]


def targets(outlook: "Outlook", watts: float | None) -> Table:
    """Lower losses, and what each costs, in time too where the mean power is known."""
    time = ("time more",) if watts else ()
    return Table(
        caption="On the way down to the floor, and under it",
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
    """What one target costs under each future of the learning rate."""
    rows = [
        (row, text.price(row.target.forecast.verdict, row.target.more, format_joules))
        for row in outlook.scenarios
    ]
    return Table(
        caption="If the learning rate goes on as planned, is held, or is annealed to zero at the target",
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


def halvings(details: "Details", outlook: "Outlook") -> Table:
    """Each halving of the distance to the floor."""
    rows = [
        (
            _share(row.halvings),
            text.loss(row.target.loss),
            format_joules(more.median),
            text.ends(more, format_joules),
            text.times(more.median / outlook.joules),
            text.percent(row.target.forecast.p_unreachable),
        )
        for row in details.halvings
        if (row.halvings <= _EACH or row.halvings % _SOME == 0) and (more := row.target.more) is not None
    ]
    yardstick = (
        "yardstick",
        text.loss(outlook.perfection.median),
        format_joules(outlook.yardstick.joules),
        f"loss in {text.ends(outlook.perfection, text.loss)}",
        text.times(outlook.yardstick.joules / outlook.joules),
        _UNKNOWN,
    )
    head = (
        "distance left",
        "loss",
        "median energy more",
        "90 % interval",
        "times what was spent",
        "P(never)",
    )
    return Table(
        caption="Each halving of the distance to the median floor", head=head, rows=(*rows, yardstick)
    )


def halvings_title(details: "Details") -> str:
    """Which of them the table lists."""
    all_listed = len(details.halvings) <= _EACH
    return "In numbers" if all_listed else f"In numbers: the first {_EACH}, then every {_SOME}th"


def _share(halvings: int) -> str:
    return f"1/{2**halvings:,}" if halvings <= _EACH else f"1/{float(2**halvings):.1e}"


def where(details: "Details") -> Table:
    """The parts of the window."""
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
        head=("what", "where", "energy", "share", "time"),
        rows=rows,
    )


def phases(details: "Details") -> Table | None:
    """What the steps were spent on; None where no phase was timed."""
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
        caption="Inside the steps: inferred from how power goes with each phase's share of time, not measured",
        head=("phase", "energy", "90 % interval", "time"),
        rows=rows,
    )


def processes(details: "Details") -> Table | None:
    """The processes of a job, those that waited most first; None where there is one alone."""
    known = details.processes
    if not known:
        return None
    shown = sorted(known, key=lambda one: (-one.waiting_joules, one.rank, one.attempt))[:_MOST_PROCESSES]
    rows = tuple(
        (
            f"rank {one.rank}" + (f", attempt {one.attempt}" if one.attempt else ""),
            one.host,
            one.status,
            f"{one.steps:,}",
            format_joules(one.joules),
            format_joules(one.waiting_joules),
            format_seconds(one.waiting_seconds),
        )
        for one in shown
    )
    waited = format_joules(sum(one.waiting_joules for one in known))
    some = "" if len(rows) == len(known) else f", the {len(rows)} that waited most"
    return Table(
        caption=f"{len(known)} processes{some}. All of them spent {waited} waiting for each other in backward passes.",
        head=("process", "host", "status", "steps", "energy", "of it waiting", "waited"),
        rows=rows,
    )


def backtest(outlook: "Outlook") -> Table:
    """What the run's past would have forecast for now."""
    return Table(
        caption="What earlier parts of this run would have forecast for its end",
        head=text.BACKTEST_HEAD,
        rows=tuple(text.backtest_rows(outlook)),
    )


def sensors(report: Report) -> Table:
    """Every domain, whether something measures it or not."""
    missing = tuple(
        (name, _UNKNOWN, _UNKNOWN, "missing", "nothing here measures it", _UNKNOWN, _UNKNOWN, "no")
        for name in report.summary.missing
    )
    return Table(
        caption="Every domain that was sampled; the billed ones make up the total",
        head=(
            "domain",
            "energy",
            "mean power",
            "provenance",
            "source",
            "renewed every",
            "uncertainty",
            "billed",
        ),
        rows=(*map(_sensor, report.domains), *missing),
    )


def _sensor(line: DomainLine) -> Row:
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


def sensor_notes(report: Report) -> tuple[str, ...]:
    """What a reader must know of a domain: how it was modelled, a cross-check that failed."""
    return tuple(f"{line.name}: {note}" for line in report.domains for note in line.notes)


def refusals(report: Report) -> Table:
    """Every source that is not used although it might be."""
    return Table(
        caption="Sources that were not used, why, and what would make them usable",
        head=("source", "reason", "remedy"),
        rows=tuple((one.source, one.reason, one.remedy or _UNKNOWN) for one in report.refusals),
    )


def overhead(known: "Overhead") -> Table:
    """What the profiler itself took."""
    share, bytes_written = known.share_of_a_core, known.bytes_written
    rows = (
        ("processor time of its thread", _seconds(known.sampler_cpu_seconds)),
        ("of one core", _UNKNOWN if share is None else f"{significant(100 * share, 2)} %"),
        ("a step", _seconds(known.seconds_a_step)),
        ("rounds of reading", _UNKNOWN if known.samples is None else f"{known.samples:,}"),
        ("longest round", _seconds(known.longest_read_seconds)),
        ("start and stop", " and ".join(map(_seconds, (known.start_seconds, known.stop_seconds)))),
        ("written", _UNKNOWN if bytes_written is None else format_si(bytes_written, "B")),
    )
    return Table(
        caption="The energy of that is in the total wherever the processor is metered",
        head=("what", "measured"),
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
