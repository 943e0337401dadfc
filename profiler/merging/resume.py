"""Runs that go on where an earlier one stopped: attempts of one job, and jobs resumed from a checkpoint.

Joules carry on. Steps behind the checkpoint that the later run began from were lost: their joules are spent, as spans
of the kind ``lost``, and the curve goes on from the checkpoint. Seconds are those that were recorded, one window
behind the other.
"""

from typing import TYPE_CHECKING, Any

from profiler.merging.tables import FLOATS
from profiler.storage.reader import Tables
from profiler.storage.schema import SPANS
from profiler.units import MICROJOULES_PER_JOULE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Array = npt.NDArray[np.float64]

LOST = "lost"
CARRIED = "carried"
_TOGETHER_SECONDS = 2e-6
_SHARED_OUT = (
    "gpu_joules", "cpu_joules", "dram_joules", "other_joules", "total_joules", "modelled_joules",
    "data_seconds", "forward_seconds", "backward_seconds", "optimizer_seconds",
)  # fmt: skip


def after(earlier: Tables, later: Tables, step: int) -> Tables:
    """Put a run behind the one that it resumed.

    Args:
        earlier: The run before.
        later: The run that went on, its steps counted from 1.
        step: The step of the earlier run whose weights the later one began with.
    """
    kept, lost = _split(earlier.steps, step)
    shift = window_of(earlier)
    joules = _last(earlier)
    spans = _join(earlier.spans, _as_spans(lost))
    steps = _moved(later.steps, shift, joules)
    steps["step"] = steps["step"] + step
    return Tables(
        steps=_join(kept, steps),
        spans=_join(_by_time(spans), _moved(later.spans, shift, joules)),
        samples=_samples(earlier.samples, later.samples, shift),
        metrics=_metrics(earlier.metrics, later.metrics, shift, joules, step),
    )


def carry(later: Tables, *, step: int, joules: float | None) -> Tables:
    """Put a run behind one whose record is not here: its joules, if known, stand as one span of no length."""
    import pandas as pd

    before = joules or 0.0
    span = {"start_seconds": 0.0, "end_seconds": 0.0, "kind": CARRIED, "total_joules": joules,
            "modelled_joules": None, "cumulative_joules": joules, "uncertainty_joules": None}  # fmt: skip
    steps = _moved(later.steps, 0.0, before)
    steps["step"] = steps["step"] + step
    spans = _join(pd.DataFrame([span]).astype(FLOATS), _moved(later.spans, 0.0, before))
    metrics = _moved(later.metrics, 0.0, before)
    metrics["step"] = metrics["step"] + step
    return Tables(steps=steps, spans=spans, samples=later.samples, metrics=metrics)


def window_of(tables: Tables) -> float:
    """Length of the window that rows cover, in seconds."""
    frames = (tables.steps, tables.spans)
    return max((float(frame["end_seconds"].max()) for frame in frames if len(frame)), default=0.0)


def _last(tables: Tables) -> float:
    """All joules of a run."""
    frames = (tables.steps, tables.spans)
    ends = [
        float(frame["cumulative_joules"].max())
        for frame in frames
        if frame["cumulative_joules"].notna().any()
    ]
    return max(ends, default=0.0)


def _split(steps: "pd.DataFrame", step: int) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Cut behind a step; a block that contains it is shared out by its steps."""
    import pandas as pd

    first = steps["step"] - steps["step_count"] + 1
    kept, lost = steps[steps["step"] <= step], steps[first > step]
    inside = steps[(first <= step) & (steps["step"] > step)]
    if inside.empty:
        return kept.copy(), lost.copy()
    row = {str(name): value for name, value in inside.iloc[0].items()}
    before, behind = _cut(row, step)
    names = list(steps.columns)
    return (
        pd.concat([kept, pd.DataFrame([before])], ignore_index=True)[names].astype(steps.dtypes.to_dict()),
        pd.concat([pd.DataFrame([behind]), lost], ignore_index=True)[names].astype(steps.dtypes.to_dict()),
    )


def _cut(row: dict[str, Any], step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    count = int(row["step_count"])
    behind_count = int(row["step"]) - step
    share = (count - behind_count) / count
    middle = row["start_seconds"] + share * (row["end_seconds"] - row["start_seconds"])
    before = {**row, "step": step, "step_count": count - behind_count, "end_seconds": middle}
    behind = {**row, "step_count": behind_count, "start_seconds": middle}
    for name in _SHARED_OUT:
        before[name] = round(row[name] * share, 6) if row[name] == row[name] else row[name]
        behind[name] = row[name] - before[name]
    before["nonfinite_count"] = min(int(row["nonfinite_count"]), count - behind_count)
    before["cumulative_joules"] = row["cumulative_joules"] - behind["total_joules"]
    return before, behind


def _as_spans(lost: "pd.DataFrame") -> "pd.DataFrame":
    """One span for all lost steps that follow each other without anything in between."""
    import pandas as pd

    columns = list(SPANS.columns)
    if lost.empty:
        return pd.DataFrame(columns=columns)
    apart = (lost["start_seconds"] - lost["end_seconds"].shift()).abs() > _TOGETHER_SECONDS
    groups = lost.groupby(apart.cumsum(), sort=False)
    spans = groups.agg(start_seconds=("start_seconds", "first"), end_seconds=("end_seconds", "last"),
                       cumulative_joules=("cumulative_joules", "last"),
                       uncertainty_joules=("uncertainty_joules", "max"))  # fmt: skip
    for name in ("total_joules", "modelled_joules"):
        spans[name] = groups[name].sum(min_count=1).round(6)
    return spans.assign(kind=LOST)[columns].reset_index(drop=True)


def _by_time(spans: "pd.DataFrame") -> "pd.DataFrame":
    return spans.sort_values("start_seconds", kind="stable", ignore_index=True)


def _moved(frame: "pd.DataFrame", seconds: float, joules: float) -> "pd.DataFrame":
    import numpy as np

    moved = frame.copy()
    for name in ("start_seconds", "end_seconds", "time_seconds"):
        if name in moved:
            moved[name] = moved[name] + seconds
    total = np.round((moved["cumulative_joules"] + joules) * MICROJOULES_PER_JOULE) / MICROJOULES_PER_JOULE
    moved["cumulative_joules"] = total
    return moved


def _join(before: "pd.DataFrame", behind: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    frames = [frame for frame in (before, behind) if len(frame)]
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
    """What was logged behind the checkpoint is lost with the steps that it was logged at."""
    moved = _moved(later, shift, joules)
    moved["step"] = moved["step"] + step
    return _join(earlier[earlier["step"] <= step], moved)
