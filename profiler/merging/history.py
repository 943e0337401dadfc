"""A run together with the one that it resumed."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.merging import resume
from profiler.merging.merge import Merged
from profiler.storage.reader import Tables
from profiler.storage.schema import RESUMED

if TYPE_CHECKING:
    from profiler.storage.reader import StoredRun


def with_history(run: "StoredRun", earlier: "StoredRun | None") -> Merged:
    """Put a run behind the one that it resumed.

    Args:
        run: The later run.
        earlier: The one before, with its own history; None where its record is not here.
    """
    resumed: Mapping[str, Any] = run.meta[RESUMED]
    later = Tables(steps=run.steps, spans=run.spans, samples=run.samples, metrics=run.metrics)
    if earlier is None:
        return _carried(run, later, resumed)
    before = Tables(
        steps=earlier.steps, spans=earlier.spans, samples=earlier.samples, metrics=earlier.metrics
    )
    last = int(before.steps["step"].iloc[-1]) if len(before.steps) else 0
    step = resumed.get("step")
    tables = resume.after(before, later, last if step is None else int(step))
    entries = (*earlier.meta.get("domains", ()), *run.meta.get("domains", ()))
    domains = {entry["name"]: entry for entry in entries if entry.get("billed")}
    unbilled = {entry["name"]: entry for entry in entries if entry["name"] not in domains}
    edges = [float((one.meta.get("totals") or {}).get("edge_joules") or 0.0) for one in (earlier, run)]
    meta = {
        **run.meta,
        "warnings": [*run.warnings, *earlier.left_out],
        "domains": [*domains.values(), *unbilled.values()],
        "totals": {**(run.meta.get("totals") or {}), "edge_joules": math.hypot(*edges)},
    }
    return Merged(meta=meta, tables=tables)


def _carried(run: "StoredRun", later: Tables, resumed: Mapping[str, Any]) -> Merged:
    step, joules = int(resumed.get("step") or 0), resumed.get("joules")
    used = "what it used is not known" if joules is None else "what it used stands as one span"
    line = (
        f"the run that this one resumed ({resumed.get('run')}) is not here: {used}, and its losses are not part of "
        "the curve. Keep both directories side by side."
    )
    meta = {**run.meta, "warnings": [*run.warnings, line]}
    return Merged(meta=meta, tables=resume.carry(later, step=step, joules=joules))


def place_of(run: "StoredRun") -> Path | None:
    """Where the resumed run is: where it was, or beside this one; None where it is in neither place."""
    named = Path(str(run.meta[RESUMED].get("run", "")))
    beside = run.path.absolute().parent / named.name
    here = run.path.absolute()
    return next((path for path in (named, beside) if path.is_dir() and path.absolute() != here), None)
