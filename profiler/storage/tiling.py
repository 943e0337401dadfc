"""Whether rows follow each other: steps and spans tile the window, and each adds its joules to those before it."""

from typing import TYPE_CHECKING, NamedTuple

from profiler.storage.schema import SPANS, STEPS, Table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]

SAME = 1.5e-6
"""Seconds and joules are written in millionths: two that differ by more are not the same."""
ADDS_UP = 1e-5
"""Joules that sums of a few such numbers may be off by."""
_CATEGORIES = ("gpu_joules", "cpu_joules", "dram_joules", "other_joules")
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
        what: A sentence for people.
        seconds: When the last good row ended.
        before: For each row of steps and of spans, whether it stands before the fault.
        is_tail: Whether rows are missing at the end of one table, and all that follows is in the other.
    """

    table: Table
    line: int | None
    what: str
    seconds: float
    before: "tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]"
    is_tail: bool


def first_fault(rows: Rows) -> Fault | None:
    """Find the first row, in order of time, that does not follow from those before it; None where all do."""
    import numpy as np

    columns = ["start_seconds", "end_seconds", "cumulative_joules", "total_joules"]
    values = np.concatenate([frame[columns].to_numpy(dtype=float) for frame in rows])
    counts = len(rows.steps)
    order = np.lexsort((values[:, 2], values[:, 0], values[:, 1]))
    start, end, cumulative, total = values[order].T
    before = np.concatenate([[0.0], end[:-1]])
    gap = start - before
    faults = {
        "its cells contradict each other.": np.concatenate([_contradictions(frame) for frame in rows])[order],
        "its seconds are not after those of the row before it.": ~(end >= start) | ~(gap >= -SAME),
        "": ~(gap <= SAME),
        "its cumulative_joules are not those of the row before it and its own.": ~_adds_up(cumulative, total),
        _SKIPPED: np.append(_skips(rows.steps), np.zeros(len(rows.spans), bool))[order],
    }
    broken = np.any(list(faults.values()), axis=0)
    if not broken.any():
        return None
    first = int(np.argmax(broken))
    what = next(sentence for sentence, found in faults.items() if found[first])
    in_steps, number = bool(order[first] < counts), int(order[first])
    table = STEPS if in_steps else SPANS
    line: int | None = number + 2 - (0 if in_steps else counts)
    behind = order[first:] < counts
    is_tail = not what and bool(behind.all() or not behind.any())
    if not what:
        what = f"no row covers {before[first]:.6g} s to {start[first]:.6g} s."
        steps_go_on = in_steps and not faults[_SKIPPED][first]
        table, line = SPANS if steps_go_on else STEPS, None
    good = np.zeros(len(order), bool)
    good[order[:first]] = True
    return Fault(table, line, what, float(before[first]), (good[:counts], good[counts:]), is_tail)


def _adds_up(cumulative: "Floats", total: "Floats") -> "npt.NDArray[np.bool_]":
    """Whether each row's cumulative energy is that of the one before and its own; what is not metered says nothing."""
    import numpy as np

    known = ~np.isnan(cumulative)
    good = np.isnan(total) == ~known
    change = np.diff(cumulative[known], prepend=0.0)
    good &= ~np.isinf(cumulative)
    good[known] &= np.abs(change - total[known]) <= SAME + 1e-12 * np.abs(cumulative[known])
    return np.asarray(good)


def _contradictions(frame: "pd.DataFrame") -> "npt.NDArray[np.bool_]":
    """Rows whose modelled energy is more than all of theirs, or whose parts are not their total."""
    import numpy as np

    total = frame["total_joules"].to_numpy(dtype=float)
    modelled = frame["modelled_joules"].to_numpy(dtype=float)
    wrong = np.abs(modelled) > np.abs(total) + ADDS_UP
    if _CATEGORIES[0] in frame:
        parts = frame[list(_CATEGORIES)].to_numpy(dtype=float)
        metered = ~np.isnan(parts).all(axis=1)
        wrong |= metered & ~(np.abs(np.nansum(parts, axis=1) - total) <= ADDS_UP)
    return np.asarray(wrong)


def _skips(steps: "pd.DataFrame") -> "npt.NDArray[np.bool_]":
    import numpy as np

    ends, counts = steps["step"].to_numpy(), steps["step_count"].to_numpy()
    return np.asarray(np.diff(ends, prepend=0) != counts)
