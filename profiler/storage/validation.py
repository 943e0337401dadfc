"""Consistency of a record: its rows tile the window and add up to the totals in ``run.json``.

Steps and spans tile the window, each row's cumulative energy is that of the row before it plus its own, and
``run.json`` holds the totals of a run that has ended. Rows that contradict this are damaged. Rows that end too early
were not written, as on a full disk: the totals of ``run.json`` stand, and the difference is reported.
"""

from collections.abc import Mapping
from functools import reduce
from operator import and_, or_
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from profiler.errors import RunDamagedError
from profiler.records import Status
from profiler.storage.csv_reader import PARTIAL
from profiler.storage.schema import CATEGORIES, ROWS_LOST, RUN_FILE, SAMPLES, SPANS, STEPS, TOTALS, Table
from profiler.storage.totals import Remainder, whole_microjoules
from profiler.units import MICROJOULES_PER_JOULE, format_joules

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]
    Indices = npt.NDArray[np.int64]

_SAME = 1.5e-6
"""Seconds and joules are written in millionths: values that differ by more are different."""
_SUM_TOLERANCE = 1e-5
"""Tolerance of sums of a few such numbers, in joules."""
_WRITING_FAILED = "cannot write the run directory"
_SKIPPED = "steps before it are missing."


class Rows(NamedTuple):
    """The rows of a record's window."""

    steps: "pd.DataFrame"
    spans: "pd.DataFrame"


class Fault(NamedTuple):
    """The first row, in order of time, that does not follow from those before it.

    Attributes:
        table: The file it is in, or the one in which rows are missing before it.
        line: Its line; None where rows are missing.
        reason: A sentence for people.
        seconds: End of the last good row.
        before: For each row of steps and of spans, true if it lies before the fault.
        is_tail: True if rows are missing at the end of one table, and all later rows are in the other.
    """

    table: Table
    line: int | None
    reason: str
    seconds: float
    before: "tuple[Flags, Flags]"
    is_tail: bool


class Checked(NamedTuple):
    """Rows that follow from each other.

    Attributes:
        rows: The rows before the first fault.
        remainder: What followed them and is in no row; None if nothing did.
        note: A sentence on what is missing; empty if nothing is.
    """

    rows: Rows
    remainder: Remainder | None = None
    note: str = ""


def check_rows(path: Path, meta: Mapping[str, Any], rows: Rows, *, partial: bool) -> Checked:
    """Check the rows of one process's record against each other and against its totals.

    Args:
        path: The run directory.
        meta: Its ``run.json``.
        rows: Its steps and spans.
        partial: Exclude the rows from the first fault on instead of raising.

    Raises:
        RunDamagedError: Rows contradict each other or ``run.json``, unless ``partial``.
    """
    totals, note = meta.get(TOTALS) or {}, ""
    fault = first_fault(rows)
    if fault is not None:
        was_cut_short = fault.is_tail and (not totals or _lost_rows(meta))
        if not partial and not was_cut_short:
            reason = fault.reason + _counted(totals, rows)
            raise RunDamagedError(path / fault.table.filename, reason, line=fault.line, remedy=PARTIAL)
        if not totals and was_cut_short:
            is_running = meta.get("status") == Status.RUNNING.value
            return Checked(rows, note="" if is_running else _cut_off(fault))
        rows = Rows(*(frame[kept] for frame, kept in zip(rows, fault.before, strict=True)))
        note = _excluded(fault)
    if "window_seconds" not in totals:
        return Checked(rows, note=note)
    return _against_totals(path, meta, rows, note, partial=partial)


def rank_doubts(path: Path, meta: Mapping[str, Any], rows: Rows, *, partial: bool) -> tuple[str, ...]:
    """Return warnings about rows that are merged as they are, as those of one process of a job.

    Raises:
        RunDamagedError: As :func:`check_rows` does.
    """
    if not check_rows(path, meta, rows, partial=partial).note:
        return ()
    here, counted = int(rows.steps["step_count"].sum()), (meta.get(TOTALS) or {}).get("steps")
    of = "" if counted is None else f" ({here:,} of {counted:,} steps)"
    return (f"{path.name}: rows{of} do not account for its whole window; totals are those of rows",)


def check_samples(
    path: Path, meta: Mapping[str, Any], last: Mapping[str, float], *, partial: bool
) -> tuple[str, ...]:
    """Return the domains whose last sample is not what ``run.json`` counted for them in the window.

    Args:
        path: The run directory.
        meta: Its ``run.json``.
        last: Joules of the last sample of each domain.
        partial: Return domains whose samples end above their total too, instead of raising.

    Raises:
        RunDamagedError: A domain's samples end above its total, unless ``partial``.
    """
    counted = domain_joules(meta)
    wrong = [
        name for name, joules in counted.items() if not abs(joules - last.get(name, 0.0)) <= _SUM_TOLERANCE
    ]
    over = [name for name in wrong if not last.get(name, 0.0) <= counted[name]]
    if over and not partial:
        reason = f"its last sample of {over[0]} is above the total of that domain in {RUN_FILE}."
        raise RunDamagedError(path / SAMPLES.filename, reason, remedy=PARTIAL)
    return tuple(wrong)


def domain_joules(meta: Mapping[str, Any]) -> dict[str, float]:
    """Return the joules of each counted domain by the totals in ``run.json``; empty if it holds none."""
    found = (meta.get(TOTALS) or {}).get("domain_joules") or {}
    return {str(name): float(joules) for name, joules in found.items()}


def _lost_rows(meta: Mapping[str, Any]) -> bool:
    return bool(meta.get(ROWS_LOST)) or any(
        str(line).startswith(_WRITING_FAILED) for line in meta.get("warnings", ())
    )


def _counted(totals: Mapping[str, Any], rows: Rows) -> str:
    here, all_steps = int(rows.steps["step_count"].sum()), int(totals.get("steps") or 0)
    return f" It holds {here:,} of {all_steps:,} steps." if here < all_steps else ""


def _cut_off(fault: Fault) -> str:
    return f"the record was cut off: {fault.reason} Totals do not include the missing rows."


def _excluded(fault: Fault) -> str:
    place = fault.table.filename if fault.line is None else f"{fault.table.filename}, line {fault.line}"
    return f"{place}: {fault.reason} Rows after {fault.seconds:.6g} s are excluded."


def _is_zero(rest: Remainder) -> bool:
    """Return true if rows add up to the totals."""
    return not rest.steps and not any(abs(value) > _SUM_TOLERANCE for value in rest if value == value)  # noqa: PLR0124 - NaN


def _follows_the_rows(rest: Remainder) -> bool:
    """Return true if it can be what followed the last row."""
    return rest.seconds > _SAME and not any(value < -_SUM_TOLERANCE for value in rest[1:])


def _remainder(totals: Mapping[str, Any], rows: Rows) -> Remainder:
    end = max((float(frame["end_seconds"].iloc[-1]) for frame in rows if len(frame)), default=0.0)
    steps, spans = (_joules(frame["total_joules"]) for frame in rows)
    modelled = _joules(*(frame["modelled_joules"] for frame in rows))
    counted = [_number(totals.get(name)) for name in ("step_joules", "span_joules", "modelled_joules")]
    return Remainder(
        float(totals["window_seconds"]) - end,
        int(totals.get("steps") or 0) - int(rows.steps["step_count"].sum()),
        *(total - here for total, here in zip(counted, (steps, spans, modelled), strict=True)),
    )


def _joules(*columns: "pd.Series[float]") -> float:
    return whole_microjoules(*columns) / MICROJOULES_PER_JOULE


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _against_totals(path: Path, meta: Mapping[str, Any], rows: Rows, note: str, *, partial: bool) -> Checked:
    totals = meta[TOTALS]
    rest = _remainder(totals, rows)
    if _is_zero(rest):
        return Checked(rows, note=note)
    is_empty = not len(rows.steps) and rest.steps > 0 and not _lost_rows(meta)
    if not partial and (is_empty or not _follows_the_rows(rest)):
        reason = f"its rows do not add up to the totals in {RUN_FILE}.{_counted(totals, rows)}"
        raise RunDamagedError(path / STEPS.filename, reason, remedy=PARTIAL)
    if not _follows_the_rows(rest):
        note = f"{note} Its rows do not add up to the totals in {RUN_FILE}; totals are those of rows."
        return Checked(rows, note=note.strip())
    return Checked(rows, rest, f"{note} {_difference(rest, totals, rows)}".strip())


def _difference(rest: Remainder, totals: Mapping[str, Any], rows: Rows) -> str:
    here = int(rows.steps["step_count"].sum())
    end = float(totals["window_seconds"]) - rest.seconds
    joules = rest.step_joules + rest.span_joules
    lost = f" and {format_joules(joules)}" if joules == joules else ""  # noqa: PLR0124 - NaN
    return (
        f"only part of the record was written: {here:,} of {int(totals.get('steps') or 0):,} steps, up to {end:.4g} s. "
        f"Totals are from {RUN_FILE}; the last {rest.seconds:.4g} s{lost} are in no row: curve, forecast and "
        "figures lack them"
    )


def first_fault(rows: Rows) -> Fault | None:
    """Find the first row, in order of time, that does not follow from those before it; None where all do."""
    import numpy as np

    counts = len(rows.steps)
    order, (start, end, cumulative, total) = _in_order_of_time(rows)
    before = np.concatenate([[0.0], end[:-1]])
    gap = start - before
    faults = {
        "its cells contradict each other.": np.concatenate([_contradictions(frame) for frame in rows])[order],
        "its seconds are not after those of the row before it.": ~(end >= start)
        | ~np.isfinite(end)
        | ~(gap >= -_SAME),
        "": ~(gap <= _SAME),
        "its cumulative_joules are not those of the row before it and its own.": ~_adds_up(cumulative, total),
        _SKIPPED: np.append(_skips(rows.steps), np.zeros(len(rows.spans), bool))[order],
    }
    broken = reduce(or_, faults.values())
    if not broken.any():
        return None
    first = int(np.argmax(broken))
    reason = next(sentence for sentence, found in faults.items() if found[first])
    in_steps, number = bool(order[first] < counts), int(order[first])
    table = STEPS if in_steps else SPANS
    line: int | None = number + 2 - (0 if in_steps else counts)
    after = order[first:] < counts
    is_tail = not reason and bool(after.all() or not after.any())
    if not reason:
        # Nothing covers a stretch of time. If step numbers continue across it, the missing rows are spans.
        reason = f"no row covers {before[first]:.6g} s to {start[first]:.6g} s."
        steps_continue = in_steps and not faults[_SKIPPED][first]
        table, line = SPANS if steps_continue else STEPS, None
    good = np.zeros(len(order), bool)
    good[order[:first]] = True
    return Fault(table, line, reason, float(before[first]), (good[:counts], good[counts:]), is_tail)


def _in_order_of_time(rows: Rows) -> "tuple[Indices, tuple[Floats, ...]]":
    """Return the order of all rows, and their starts, ends, cumulative and own joules in it."""
    import numpy as np

    names = ("start_seconds", "end_seconds", "cumulative_joules", "total_joules")
    columns = [np.concatenate([frame[name].to_numpy(dtype=float) for frame in rows]) for name in names]
    start, end, cumulative, _ = columns
    order = np.lexsort((cumulative, start, end))
    return order, tuple(column[order] for column in columns)


def _adds_up(cumulative: "Floats", total: "Floats") -> "Flags":
    """Compare each row's cumulative energy with that of the row before it plus its own; unmetered rows pass."""
    import numpy as np

    known = ~np.isnan(cumulative)
    good = np.isnan(total) == ~known
    change = np.diff(cumulative[known], prepend=0.0)
    good &= ~np.isinf(cumulative)
    good[known] &= np.abs(change - total[known]) <= _SAME + 1e-12 * np.abs(cumulative[known])
    return np.asarray(good)


def _contradictions(frame: "pd.DataFrame") -> "Flags":
    """Find rows whose modelled energy exceeds their total, or whose categories do not add up to it."""
    import numpy as np

    total = frame["total_joules"].to_numpy(dtype=float)
    modelled = frame["modelled_joules"].to_numpy(dtype=float)
    wrong = np.abs(modelled) > np.abs(total) + _SUM_TOLERANCE
    columns = [name for name in CATEGORIES.values() if name in frame]
    if columns:
        parts = [frame[name].to_numpy(dtype=float) for name in columns]
        metered = ~reduce(and_, map(np.isnan, parts))
        known = sum(np.where(np.isnan(part), 0.0, part) for part in parts)
        wrong |= metered & ~(np.abs(known - total) <= _SUM_TOLERANCE)
    return np.asarray(wrong)


def _skips(steps: "pd.DataFrame") -> "Flags":
    import numpy as np

    ends, counts = steps["step"].to_numpy(), steps["step_count"].to_numpy()
    return np.asarray(np.diff(ends, prepend=0) != counts)
