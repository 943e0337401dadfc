"""Totals of a run from ``run.json``, or else from the last rows of its tables, for lists of many runs."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profiler.errors import RunDamagedError
from profiler.records import Metered, Provenance
from profiler.storage.csv_reader import first_row, last_rows
from profiler.storage.schema import MERGED, RESUMED, SAMPLES, SPANS, STEPS, TOTALS, Table

if TYPE_CHECKING:
    from profiler.storage.reader import StoredRun

_COLUMNS = ("step", "start_seconds", "end_seconds", "cumulative_joules", "uncertainty_joules")
_ROW_BYTES = 4_096
_SAMPLES_BYTES = 32_768
"""End of ``samples.csv`` that is searched for the last sample of each domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickSummary:
    """The totals that a list of runs shows.

    Attributes:
        steps: Number of training steps.
        total_joules: Counted energy in joules; None without a sensor.
        modelled_joules: Its estimated part; None if unknown.
        edge_joules: Standard deviation of the total without the uncertainty of the gains.
        metered: The counted domains with their energy.
        missing: Devices that were used and that no sensor covers.
        window_seconds: Length of the recorded window.
    """

    steps: int
    total_joules: float | None
    modelled_joules: float | None
    edge_joules: float
    metered: tuple[Metered, ...]
    missing: tuple[str, ...]
    window_seconds: float


def quick_summary_of(run: "StoredRun") -> QuickSummary:
    """Summarize a run without reading its tables.

    A run without totals, which is running or was killed, is summarized from its last rows. The tables of resumed runs
    are read, because their metadata is that of their last part, and those of merged runs without totals.
    """
    totals: Mapping[str, Any] = run.meta.get(TOTALS) or {}
    if RESUMED in run.meta or run.tables is not None:
        return _of_tables(run)
    if "step_joules" in totals:
        return _of_totals(run, totals)
    return _of_tables(run) if MERGED in run.meta else _of_last_rows(run)


def _of_totals(run: "StoredRun", totals: Mapping[str, Any]) -> QuickSummary:
    steps, spans = totals.get("step_joules"), totals.get("span_joules")
    total = None if steps is None or spans is None else round(steps + spans, 6)
    return QuickSummary(
        steps=totals.get("steps", 0),
        total_joules=total,
        modelled_joules=totals.get("modelled_joules"),
        edge_joules=totals.get("edge_joules", 0.0),
        metered=_metered(run, totals.get("domain_joules") or _last_samples(run), total),
        missing=tuple(run.meta.get("missing", ())),
        window_seconds=totals.get("window_seconds", 0.0),
    )


def _of_tables(run: "StoredRun") -> QuickSummary:
    summary = run.summary()
    return QuickSummary(
        steps=summary.steps,
        total_joules=summary.total_joules,
        modelled_joules=summary.modelled_joules,
        edge_joules=summary.edge_joules,
        metered=summary.metered,
        missing=summary.missing,
        window_seconds=summary.window_seconds,
    )


def _of_last_rows(run: "StoredRun") -> QuickSummary:
    step, span = (_last(run, table) for table in (STEPS, SPANS))
    rows = (step, span)
    joules = [row["cumulative_joules"] for row in rows if "cumulative_joules" in row]
    is_metered = any(domain.billed for domain in run.domains.values())
    total = max(joules, default=0.0) if is_metered else None
    sampled = _last_samples(run)
    return QuickSummary(
        steps=int(step.get("step", 0)),
        total_joules=total,
        modelled_joules=None if total is None else _estimated_part(run, sampled, total),
        edge_joules=_edge_joules(run, rows),
        metered=_metered(run, _up_to_the_rows(run, sampled, total), total),
        missing=tuple(run.meta.get("missing", ())),
        window_seconds=max(row.get("end_seconds", 0.0) for row in rows),
    )


def _edge_joules(run: "StoredRun", last: Iterable[Mapping[str, float]]) -> float:
    """Return the same as :attr:`StoredRun.edge_joules`, which only runs of integrated power need all rows for."""
    if any(one.billed and one.provenance is Provenance.INTEGRATED for one in run.domains.values()):
        return run.edge_joules
    first = [_numbers(run, table, first_row(run.path, table)) for table in (STEPS, SPANS)]
    known = [row for row in (*first, *last) if "uncertainty_joules" in row and "start_seconds" in row]
    if not known:
        return 0.0
    ends = (choose(known, key=lambda row: row["start_seconds"]) for choose in (min, max))
    return math.hypot(*(row["uncertainty_joules"] for row in ends))


def _last(run: "StoredRun", table: Table) -> dict[str, float]:
    """Return the numbers of a table's last row by column, without empty cells; empty where it has no rows."""
    rows = last_rows(run.path, table, _ROW_BYTES)
    return _numbers(run, table, rows[-1]) if rows else {}


def _numbers(run: "StoredRun", table: Table, row: Mapping[str, str]) -> dict[str, float]:
    return {name: _number(run, table, name, row[name]) for name in _COLUMNS if row.get(name)}


def _last_samples(run: "StoredRun") -> dict[str, float]:
    rows = last_rows(run.path, SAMPLES, _SAMPLES_BYTES)
    return {
        row["domain"]: _number(run, SAMPLES, "energy_joules", row["energy_joules"])
        for row in rows
        if row.get("domain") and row.get("energy_joules")
    }


def _number(run: "StoredRun", table: Table, name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RunDamagedError(
            run.path / table.filename, f"{name} of its last row is {text!r:.40}, not a number."
        )
    return number


def _metered(run: "StoredRun", joules: Mapping[str, float], total: float | None) -> tuple[Metered, ...]:
    """Return the counted domains with their energy.

    Energy of domains whose part is not known counts as that of the least accurate one: no interval is too narrow.
    """
    counted = {name: domain for name, domain in run.domains.items() if domain.billed}
    known = [Metered(domain=counted[name], joules=value) for name, value in joules.items() if name in counted]
    unknown = [domain for name, domain in counted.items() if name not in joules]
    rest = (total or 0.0) - sum(one.joules for one in known)
    if unknown and rest > 0.0:
        worst = max(unknown, key=lambda domain: domain.gain_uncertainty)
        known.append(Metered(domain=worst, joules=rest))
    return tuple(known)


def _up_to_the_rows(
    run: "StoredRun", sampled: Mapping[str, float], total: float | None
) -> Mapping[str, float]:
    """Scale the last samples to the total of the rows, because the process may have ended between the two."""
    counted = [name for name, domain in run.domains.items() if domain.billed]
    whole = sum(sampled.get(name, 0.0) for name in counted)
    if total is None or whole <= 0.0 or not set(counted) <= sampled.keys():
        return sampled
    return {**sampled, **{name: sampled[name] * total / whole for name in counted}}


def _estimated_part(run: "StoredRun", joules: Mapping[str, float], total: float) -> float | None:
    """Return the estimated part of a total in proportion to the last samples; None without all of them."""
    counted = {name: domain for name, domain in run.domains.items() if domain.billed}
    if not any(domain.provenance is Provenance.MODELLED for domain in counted.values()):
        return 0.0
    sampled = sum(joules.get(name, 0.0) for name in counted)
    if not counted.keys() <= joules.keys() or not sampled:
        return None
    estimated = [joules[name] for name, one in counted.items() if one.provenance is Provenance.MODELLED]
    return total * sum(estimated) / sampled
