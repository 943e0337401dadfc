"""Whether the rows of a record account for its whole window, and what to make of it where they do not.

Steps and spans tile the window, each row's cumulative energy is the one before it plus its own, and ``run.json`` says
at the end what they all come to. Rows that contradict this were damaged. Rows that end too early were never written,
as on a full disk: one row each of steps and spans then stands for them, with what ``run.json`` says they came to.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from profiler.errors import RunDamagedError
from profiler.records import Status
from profiler.storage.csv_reader import PARTIAL
from profiler.storage.schema import RUN_FILE, SAMPLES, SPANS, STEPS, Table
from profiler.storage.summary import exact_sum
from profiler.storage.tiling import ADDS_UP, SAME, Fault, Rows, first_fault
from profiler.units import format_joules

if TYPE_CHECKING:
    import pandas as pd

UNWRITTEN = "unwritten"
"""The phase and the kind of rows that stand for what was recorded and not written."""
_WRITING_FAILED = "cannot write the run directory"


def settle(path: Path, meta: Mapping[str, Any], rows: Rows, *, partial: bool) -> tuple[Rows, str]:
    """Check the rows of one process's record against each other and against its end mark.

    Args:
        path: The run directory.
        meta: Its ``run.json``.
        rows: Its steps and spans.
        partial: Leave out what follows the first fault instead of raising.

    Returns:
        The rows, those that were never written included, and what a reader must know of it; empty when all is well.

    Raises:
        RunDamagedError: Rows contradict each other or ``run.json``, unless ``partial``.
    """
    totals, note = meta.get("totals") or {}, ""
    fault = first_fault(rows)
    if fault is not None:
        was_cut_short = fault.is_tail and (not totals or _could_not_write(meta))
        if not partial and not was_cut_short:
            raise RunDamagedError(
                path / fault.table.filename, fault.what + _held(totals, rows), line=fault.line, remedy=PARTIAL
            )
        if not totals and was_cut_short:
            return rows, "" if meta.get("status") == Status.RUNNING.value else _short(fault)
        rows = Rows(*(frame[kept] for frame, kept in zip(rows, fault.before, strict=True)))
        note = _cut(fault)
    if "window_seconds" not in totals:
        return rows, note
    return _completed(path, meta, rows, note, partial=partial)


def doubts(path: Path, meta: Mapping[str, Any], rows: Rows, *, partial: bool) -> tuple[str, ...]:
    """What a reader must know of rows that are taken as they are, as those of one process of a job.

    Raises:
        RunDamagedError: As :func:`settle` does.
    """
    _, note = settle(path, meta, rows, partial=partial)
    here, said = int(rows.steps["step_count"].sum()), (meta.get("totals") or {}).get("steps")
    of = "" if said is None else f" ({here:,} of {said:,} steps)"
    return (
        (f"{path.name}: rows{of} do not account for its whole window; totals are those of rows",)
        if note
        else ()
    )


def _could_not_write(meta: Mapping[str, Any]) -> bool:
    return any(str(line).startswith(_WRITING_FAILED) for line in meta.get("warnings", ()))


def _held(totals: Mapping[str, Any], rows: Rows) -> str:
    here, all_steps = int(rows.steps["step_count"].sum()), int(totals.get("steps") or 0)
    return f" It holds {here:,} of {all_steps:,} steps." if here < all_steps else ""


def _short(fault: Fault) -> str:
    return f"the record was cut off: {fault.what} What is missing is in no total."


def _cut(fault: Fault) -> str:
    where = fault.table.filename if fault.line is None else f"{fault.table.filename}, line {fault.line}"
    return f"{where}: {fault.what} Rows after {fault.seconds:.6g} s are left out."


class Missing(NamedTuple):
    """What the end mark says and no row does: seconds, steps, and joules (NaN where nothing is metered)."""

    seconds: float
    steps: int
    step_joules: float
    span_joules: float
    modelled_joules: float

    @property
    def is_nothing(self) -> bool:
        """Whether rows come to what the end mark says."""
        return not self.steps and not any(abs(value) > ADDS_UP for value in self if value == value)  # noqa: PLR0124 - NaN

    @property
    def is_a_rest(self) -> bool:
        """Whether it can be what follows the last row."""
        return self.seconds > SAME and not any(value < -ADDS_UP for value in self[1:])


def _missing(totals: Mapping[str, Any], rows: Rows) -> Missing:
    end = max((float(frame["end_seconds"].iloc[-1]) for frame in rows if len(frame)), default=0.0)
    steps, spans = (exact_sum(frame["total_joules"]) for frame in rows)
    modelled = exact_sum(*(frame["modelled_joules"] for frame in rows))
    said = [_number(totals.get(name)) for name in ("step_joules", "span_joules", "modelled_joules")]
    return Missing(
        float(totals["window_seconds"]) - end,
        int(totals.get("steps") or 0) - int(rows.steps["step_count"].sum()),
        *(before - here for before, here in zip(said, (steps, spans, modelled), strict=True)),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _completed(
    path: Path, meta: Mapping[str, Any], rows: Rows, note: str, *, partial: bool
) -> tuple[Rows, str]:
    totals = meta["totals"]
    missing = _missing(totals, rows)
    if missing.is_nothing:
        return rows, note
    is_empty = not len(rows.steps) and missing.steps > 0 and not _could_not_write(meta)
    if not partial and (is_empty or not missing.is_a_rest):
        what = f"its rows are not what {RUN_FILE} says they come to.{_held(totals, rows)}"
        raise RunDamagedError(path / STEPS.filename, what, remedy=PARTIAL)
    if not missing.is_a_rest:
        return (
            rows,
            f"{note} Its rows are not what {RUN_FILE} says they come to; totals are those of rows.".strip(),
        )
    return _with_rest(rows, missing, totals), f"{note} {_told(missing, totals, rows)}".strip()


def _told(missing: Missing, totals: Mapping[str, Any], rows: Rows) -> str:
    here = int(rows.steps["step_count"].sum())
    end = float(totals["window_seconds"]) - missing.seconds
    joules = missing.step_joules + missing.span_joules
    lost = f" and {format_joules(joules)}" if joules == joules else ""  # noqa: PLR0124 - NaN
    return (
        f"only part of the record was written: {here:,} of {int(totals.get('steps') or 0):,} steps, up to {end:.4g} s. "
        f"Totals are from {RUN_FILE}; the last {missing.seconds:.4g} s{lost} are in no row: curve, forecast and "
        "figures lack them"
    )


def _with_rest(rows: Rows, missing: Missing, totals: Mapping[str, Any]) -> Rows:
    """Put a row of steps and a span behind the last row, for all that was not written."""
    start, window = float(totals["window_seconds"]) - missing.seconds, float(totals["window_seconds"])
    before = max(
        (float(f["cumulative_joules"].max()) for f in rows if f["cumulative_joules"].notna().any()),
        default=0.0,
    )
    joules = missing.step_joules + missing.span_joules
    share = missing.step_joules / joules if joules > 0 else float(missing.steps > 0)
    middle = start + share * missing.seconds if missing.steps else start
    steps, spans = rows
    if missing.steps:
        row = _row(
            start, middle, missing.step_joules, share * missing.modelled_joules, before + missing.step_joules
        )
        row |= {
            "step": int(totals["steps"]),
            "step_count": missing.steps,
            "nonfinite_count": 0,
            "backwards": 0,
            "phase": UNWRITTEN,
        }
        steps = _append(steps, row, STEPS)
    row = _row(middle, window, missing.span_joules, (1 - share) * missing.modelled_joules, before + joules)
    return Rows(steps, _append(spans, row | {"kind": UNWRITTEN}, SPANS))


def _row(start: float, end: float, joules: float, modelled: float, cumulative: float) -> dict[str, Any]:
    return {
        "start_seconds": start, "end_seconds": end, "total_joules": round(joules, 6),
        "modelled_joules": round(modelled, 6), "cumulative_joules": round(cumulative, 6), "uncertainty_joules": 0.0,
    }  # fmt: skip


def _append(frame: "pd.DataFrame", row: Mapping[str, Any], table: Table) -> "pd.DataFrame":
    import pandas as pd

    new = pd.DataFrame([{name: row.get(name, float("nan")) for name in table.columns}])
    new = new.astype({name: frame[name].dtype for name in table.columns})
    return pd.concat([frame, new], ignore_index=True) if len(frame) else new


def settle_samples(
    path: Path, meta: Mapping[str, Any], samples: "pd.DataFrame", *, partial: bool
) -> tuple["pd.DataFrame", str]:
    """Put behind the samples what each billed domain came to by the end mark, where they end before.

    Raises:
        RunDamagedError: A domain's samples end above what it came to, unless ``partial``.
    """
    totals = meta.get("totals") or {}
    said = {str(name): float(joules) for name, joules in (totals.get("domain_joules") or {}).items()}
    last = samples.groupby("domain", sort=False)["energy_joules"].last().to_dict()
    short = {name: joules for name, joules in said.items() if joules - last.get(name, 0.0) > ADDS_UP}
    over = [name for name, joules in said.items() if not last.get(name, 0.0) - joules <= ADDS_UP]
    if over and not partial:
        what = f"its last sample of {over[0]} is more than {RUN_FILE} says it came to."
        raise RunDamagedError(path / SAMPLES.filename, what, remedy=PARTIAL)
    wrong = {name: said[name] for name in (*short, *over)}
    if not wrong:
        return samples, ""
    known = {str(one["name"]): str(one["provenance"]) for one in meta.get("domains", ())}
    for name, joules in wrong.items():
        row = {"time_seconds": float(totals["window_seconds"]), "domain": name, "energy_joules": joules}
        samples = _append(samples, row | {"provenance": known.get(name, "")}, SAMPLES)
    return (
        samples,
        f"{SAMPLES.filename} lacks samples of {', '.join(wrong)}: their totals are from {RUN_FILE}",
    )
