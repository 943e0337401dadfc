"""Last levels of the loss and of logged metrics: from ``run.json``, or else from the ends of the tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.errors import RunDamagedError
from profiler.storage.csv_reader import first_row, last_rows
from profiler.storage.schema import METRICS, NONFINITE_ENDS, STEPS, TOTALS, Table

if TYPE_CHECKING:
    from profiler.storage.reader import StoredRun

_LOSS = "loss"
_RECENT = 1.0 / 12.0
"""Share of the energy whose mean loss is the level, as in the totals of a finished run."""
_METRICS_BYTES = 1_048_576
"""End of ``metrics.csv`` that is searched for the last value of each metric."""
_STEPS_BYTES = 32_768
"""End of ``steps.csv`` that is read first; it is doubled until it holds the last twelfth of the energy."""
_MOST_STEPS_BYTES = 8_388_608


@dataclass(frozen=True, slots=True)
class LastLevels:
    """Last levels of metrics.

    Attributes:
        known: Level of each metric that has had a finite value.
        nonfinite_ends: Number of values that are not finite after it, of the metrics that have any.
    """

    known: dict[str, float] = field(default_factory=dict)
    nonfinite_ends: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Loss:
    joules: float
    value: float
    steps: int


def last_levels(run: "StoredRun") -> LastLevels:
    """Return the levels in the totals of a run; without totals, which a running or killed run lacks, those of its rows.

    Raises:
        RunDamagedError: A row at the end of a table holds no number.
    """
    totals: Mapping[str, Any] = run.meta.get(TOTALS) or {}
    if totals or run.tables is not None:
        return LastLevels(dict(totals.get("metrics") or {}), dict(totals.get(NONFINITE_ENDS) or {}))
    level, nonfinite = _of_steps(run.path)
    logged = _of_metrics(run.path)
    return LastLevels(
        ({} if level is None else {_LOSS: level}) | logged.known,
        ({_LOSS: nonfinite} if nonfinite else {}) | logged.nonfinite_ends,
    )


def _of_metrics(directory: Path) -> LastLevels:
    found = LastLevels()
    for row in last_rows(directory, METRICS, _METRICS_BYTES):
        name = row.get("name", "")
        if name == _LOSS:  # its level is that of the steps
            continue
        value = _number(directory, METRICS, row, "value", is_finite=False)
        if math.isfinite(value):
            found.known[name] = value
            found.nonfinite_ends.pop(name, None)
        else:
            found.nonfinite_ends[name] = found.nonfinite_ends.get(name, 0) + 1
    return found


def _of_steps(directory: Path) -> tuple[float | None, int]:
    """Return the mean loss over the last twelfth of the energy and the number of steps since the last finite loss.

    Both are those of the last training. The level is None without a finite loss or without energy.
    """
    first, size = first_row(directory, STEPS), _STEPS_BYTES
    while True:
        rows = last_rows(directory, STEPS, size)
        last = [row for row in rows if row.get("training") == rows[-1].get("training")]
        is_all = not rows or rows[0] == first or len(last) < len(rows)
        losses = [
            _Loss(
                _number(directory, STEPS, row, "cumulative_joules"),
                _number(directory, STEPS, row, _LOSS, is_finite=False),
                int(_number(directory, STEPS, row, "step_count")),
            )
            for row in last
            if row.get(_LOSS) and row.get("cumulative_joules")
        ]
        finite = [index for index, loss in enumerate(losses) if math.isfinite(loss.value)]
        if finite:
            end = losses[finite[-1]].joules
            # Unless the start is among these rows, the energy before the training is not known and counts as none.
            origin = _joules_before(directory, last[0]) if is_all else 0.0
            begin = end - _RECENT * (end - origin)
            if is_all or losses[0].joules <= begin or size >= _MOST_STEPS_BYTES:
                level = _mean([losses[index] for index in finite if losses[index].joules >= begin])
                return level, sum(loss.steps for loss in losses[finite[-1] + 1 :])
        elif is_all:
            return None, sum(loss.steps for loss in losses)
        elif size >= _MOST_STEPS_BYTES:  # an earlier loss may be finite
            return None, 0
        size *= 2


def _joules_before(directory: Path, row: Mapping[str, str]) -> float:
    if not row.get("cumulative_joules") or not row.get("total_joules"):
        return 0.0
    return _number(directory, STEPS, row, "cumulative_joules") - _number(
        directory, STEPS, row, "total_joules"
    )


def _mean(losses: Sequence[_Loss]) -> float:
    return sum(loss.value * loss.steps for loss in losses) / max(sum(loss.steps for loss in losses), 1)


def _number(
    directory: Path, table: Table, row: Mapping[str, str], name: str, *, is_finite: bool = True
) -> float:
    text = row.get(name, "")
    try:
        number: float | None = float(text)
    except ValueError:
        number = None
    if number is None or (is_finite and not math.isfinite(number)):
        path = directory / table.filename
        raise RunDamagedError(path, f"{name} of one of its last rows is {text!r:.40}, not a number.")
    return number
