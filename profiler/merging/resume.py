"""Resumed runs: attempts of one job, and jobs resumed from a checkpoint, after the run that they resumed.

Joules continue. Steps after the checkpoint that the later run started from were lost: their joules are spent, as spans
of the kind ``lost``, and the curve continues from the checkpoint. Seconds are those that were recorded, one window
after the other.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.records import kind_of
from profiler.storage.reader import StoredRun, Tables
from profiler.storage.schema import RESUMED, SPANS, STEPS, TABLES, TOTALS
from profiler.units import MICROJOULES_PER_JOULE

if TYPE_CHECKING:
    import pandas as pd

LOST = "lost"
CARRIED = "carried"
UNWRITTEN = "unwritten"
_ADJACENT_SECONDS = 2e-6
"""Rows closer than this follow each other: seconds are written in millionths."""
_DIVISIBLE = STEPS.where(type="float", over_steps="sum")
_MOMENTS = frozenset(name for table in TABLES for name in table.moments)


def with_history(run: StoredRun, earlier: StoredRun | None) -> StoredRun:
    """Return a run together with the one that it resumed.

    Args:
        run: The later run.
        earlier: The run before, with its own history; None where its record is not here.
    """
    resumed: Mapping[str, Any] = run.meta[RESUMED]
    later = _tables(run)
    if earlier is None:
        return _without_record(run, later, resumed)
    before = _tables(earlier)
    last = int(before.steps["step"].iloc[-1]) if len(before.steps) else 0
    step = resumed.get("step")
    tables = append(before, later, last if step is None else int(step))
    entries = (*earlier.meta.get("domains", ()), *run.meta.get("domains", ()))
    domains: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if entry.get("billed"):
            domains[entry["name"]] = _continued(domains.get(entry["name"]), entry)
    in_both = {entry["name"] for entry in earlier.meta.get("domains", ())} & set(run.domains)
    # A meter of the node that did not measure both runs cannot be compared with their total.
    unbilled = {
        entry["name"]: entry
        for entry in entries
        if entry["name"] not in domains
        and (entry["name"] in in_both or not kind_of(entry["name"]).is_container)
    }
    edges = [float((one.meta.get(TOTALS) or {}).get("edge_joules") or 0.0) for one in (earlier, run)]
    meta = {
        **run.meta,
        "warnings": [*run.warnings, *earlier.left_out],
        "domains": [*domains.values(), *unbilled.values()],
        TOTALS: {**(run.meta.get(TOTALS) or {}), "edge_joules": math.hypot(*edges)},
    }
    return StoredRun(run.path, meta, partial=run.partial, tables=tables)


def _continued(earlier: Mapping[str, Any] | None, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add the throttled time of the run before to that of a domain; unknown where one of them is."""
    if earlier is None:
        return entry
    before, later = earlier.get("throttled_seconds"), entry.get("throttled_seconds")
    known = (
        {cause: before[cause] + later[cause] for cause in before if cause in later}
        if before and later
        else None
    )
    return {**entry, "throttled_seconds": known}


def _without_record(run: StoredRun, later: Tables, resumed: Mapping[str, Any]) -> StoredRun:
    step, joules = int(resumed.get("step") or 0), resumed.get("joules")
    used = "its energy is unknown" if joules is None else "its energy is one span"
    line = (
        f"the run that this one resumed ({resumed.get('run')}) is not here: {used}, and its losses are not part of "
        "the curve. Keep both directories side by side."
    )
    meta = {**run.meta, "warnings": [*run.warnings, line]}
    tables = carry(later, step=step, joules=joules)
    return StoredRun(run.path, meta, partial=run.partial, tables=tables)


def resumed_directory(run: StoredRun) -> Path | None:
    """Return the directory of the resumed run: where it was, or beside this one; None if it is in neither place."""
    named = Path(str(run.meta[RESUMED].get("run", "")))
    here = run.path.absolute()
    beside = here.parent / named.name
    return next((path for path in (named, beside) if path.is_dir() and path.absolute() != here), None)


def _tables(run: StoredRun) -> Tables:
    """Return a run's tables up to one moment, so that spans and samples add up to its totals."""
    rest, end = run.unrecorded, run.window_seconds
    tables = Tables(steps=run.steps, spans=run.spans, samples=run.samples, metrics=run.metrics)
    spans = tables.spans
    if rest is not None:
        joules = _spent(tables) + rest.step_joules + rest.span_joules
        spans = _join(spans, _span(UNWRITTEN, end, end + rest.seconds, joules - _spent(tables), joules))
        end += rest.seconds
    return Tables(steps=tables.steps, spans=spans, samples=_samples_until(run, end), metrics=tables.metrics)


def _samples_until(run: StoredRun, end: float) -> "pd.DataFrame":
    """Return a run's samples up to the end of its window, at which each domain has its total."""
    import pandas as pd

    joules = run.joules_by_domain()
    last = run.samples.groupby("domain", sort=False).last()
    kept = run.samples[run.samples["time_seconds"] <= end]
    rows = [
        {
            "time_seconds": end,
            "domain": name,
            "energy_joules": total,
            "provenance": run.domains[name].provenance.value,
        }
        for name, total in joules.items()
        if name not in last.index or last.loc[name, "energy_joules"] != total
    ]
    return (
        _join(kept, pd.DataFrame(rows, columns=list(kept.columns)).astype(kept.dtypes.to_dict()))
        if rows
        else kept
    )


def _span(
    kind: str, start: float, end: float, joules: float | None, cumulative: float | None
) -> "pd.DataFrame":
    import pandas as pd

    row = dict.fromkeys(SPANS.columns) | {
        "start_seconds": start, "end_seconds": end, "kind": kind, "total_joules": joules,
        "cumulative_joules": cumulative, "overlapping": 0,
    }  # fmt: skip
    return pd.DataFrame([row]).astype(dict.fromkeys(SPANS.where(type="float"), "float64"))


def append(earlier: Tables, later: Tables, step: int) -> Tables:
    """Append a run to the one that it resumed.

    Args:
        earlier: The run before.
        later: The run that resumed it, its steps counted from 1.
        step: The step of the earlier run whose weights the later one started with.
    """
    # Steps that are repeated after a restart are no progress, but their energy was used: they become spans.
    kept, lost = _split(earlier.steps, step)
    shift = _window_of(earlier)
    joules = _spent(earlier)
    spans = _join(earlier.spans, _as_spans(lost))
    steps = _moved(later.steps, shift, joules)
    steps["step"] = steps["step"] + step
    steps["training"] += int(kept["training"].iloc[-1]) if len(kept) else 0  # the run continued the last one
    return Tables(
        steps=_join(kept, steps),
        spans=_join(_by_time(spans), _moved(later.spans, shift, joules)),
        samples=_samples(earlier.samples, later.samples, shift),
        metrics=_metrics(earlier.metrics, later.metrics, shift, joules, step),
    )


def carry(later: Tables, *, step: int, joules: float | None) -> Tables:
    """Append a run to one whose record is not here: its joules, if known, are one span of no length."""
    before = joules or 0.0
    steps = _moved(later.steps, 0.0, before)
    steps["step"] = steps["step"] + step
    spans = _join(_span(CARRIED, 0.0, 0.0, joules, joules), _moved(later.spans, 0.0, before))
    metrics = _moved(later.metrics, 0.0, before)
    metrics["step"] = metrics["step"] + step
    return Tables(steps=steps, spans=spans, samples=later.samples, metrics=metrics)


def _window_of(tables: Tables) -> float:
    frames = (tables.steps, tables.spans)
    return max((float(frame["end_seconds"].max()) for frame in frames if len(frame)), default=0.0)


def _spent(tables: Tables) -> float:
    """Return the joules of all rows."""
    columns = (frame["cumulative_joules"] for frame in (tables.steps, tables.spans))
    return max((float(column.max()) for column in columns if column.notna().any()), default=0.0)


def _split(steps: "pd.DataFrame", step: int) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Split after a step; a block that contains it is divided in proportion to its steps."""
    import pandas as pd

    first = steps["step"] - steps["step_count"] + 1
    kept, lost = steps[steps["step"] <= step], steps[first > step]
    inside = steps[(first <= step) & (steps["step"] > step)]
    if inside.empty:
        return kept.copy(), lost.copy()
    row = {str(name): value for name, value in inside.iloc[0].items()}
    before, after = _divided(row, step)
    names = list(steps.columns)
    return (
        pd.concat([kept, pd.DataFrame([before])], ignore_index=True)[names].astype(steps.dtypes.to_dict()),
        pd.concat([pd.DataFrame([after]), lost], ignore_index=True)[names].astype(steps.dtypes.to_dict()),
    )


def _divided(row: dict[str, Any], step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    count = int(row["step_count"])
    count_after = int(row["step"]) - step
    share = (count - count_after) / count
    middle = row["start_seconds"] + share * (row["end_seconds"] - row["start_seconds"])
    before = {**row, "step": step, "step_count": count - count_after, "end_seconds": middle}
    after = {**row, "step_count": count_after, "start_seconds": middle}
    for name in _DIVISIBLE:
        before[name] = round(row[name] * share, 6) if row[name] == row[name] else row[name]
        after[name] = row[name] - before[name]
    before["nonfinite_count"] = min(int(row["nonfinite_count"]), count - count_after)
    before["cumulative_joules"] = row["cumulative_joules"] - after["total_joules"]
    return before, after


def _as_spans(lost: "pd.DataFrame") -> "pd.DataFrame":
    """Return one span for each stretch of lost steps that follow each other."""
    import pandas as pd

    columns = list(SPANS.columns)
    if lost.empty:
        return pd.DataFrame(columns=columns)
    apart = (lost["start_seconds"] - lost["end_seconds"].shift()).abs() > _ADJACENT_SECONDS
    groups = lost.groupby(apart.cumsum(), sort=False)
    spans = groups.agg(**{
        name: (name, {"edges": "max"}.get(column.over_steps, column.over_steps))
        for column in SPANS.schema
        if (name := column.name) in lost and column.over_steps != "sum"
    })  # fmt: skip
    for name in SPANS.where(over_steps="sum"):
        spans[name] = groups[name].sum(min_count=1).round(6)
    return spans.assign(kind=LOST, overlapping=0)[columns].reset_index(drop=True)


def _by_time(spans: "pd.DataFrame") -> "pd.DataFrame":
    return spans.sort_values("start_seconds", kind="stable", ignore_index=True)


def _moved(frame: "pd.DataFrame", seconds: float, joules: float) -> "pd.DataFrame":
    import numpy as np

    moved = frame.copy()
    for name in _MOMENTS & set(moved.columns):
        moved[name] = moved[name] + seconds
    total = np.round((moved["cumulative_joules"] + joules) * MICROJOULES_PER_JOULE) / MICROJOULES_PER_JOULE
    moved["cumulative_joules"] = total
    return moved


def _join(before: "pd.DataFrame", after: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    frames = [frame for frame in (before, after) if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else before


def _samples(earlier: "pd.DataFrame", later: "pd.DataFrame", shift: float) -> "pd.DataFrame":
    moved = later.copy()
    moved["time_seconds"] = moved["time_seconds"] + shift
    last = earlier.groupby("domain")["energy_joules"].last()
    moved["energy_joules"] = moved["energy_joules"] + moved["domain"].map(last).fillna(0.0)
    return _join(earlier, moved)


def _metrics(
    earlier: "pd.DataFrame", later: "pd.DataFrame", shift: float, joules: float, step: int
) -> "pd.DataFrame":
    """Append logged values; those after the checkpoint are lost with the steps that they were logged at."""
    moved = _moved(later, shift, joules)
    moved["step"] = moved["step"] + step
    return _join(earlier[earlier["step"] <= step], moved)
