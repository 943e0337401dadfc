"""Signs that two runs do the same work per step: batch size, units of work, parameters and first losses."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from profiler import work
from profiler.errors import UsageError
from profiler.storage.schema import CONFIG

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from profiler.storage.reader import StoredRun

    Array = npt.NDArray[np.float64]

_SAME_WORK = 0.01
"""Relative difference of the work per step that counts as none."""
_FIRST = 20
"""First steps whose losses are compared."""
_SAME_LOSS = 0.05
"""Difference of the first log losses that other seeds and orders of data explain."""
_ERRORS = 3.0
FIRST_LOSSES = "first losses"
"""Name of the fact that the losses of the first steps agree."""
_BATCH = "batch_size"


def check_same_work(run: "StoredRun", probe: "StoredRun") -> tuple[str, ...]:
    """Check that two runs do the same work per step.

    Returns:
        The facts that neither run or only one of them recorded, in words; they cannot be checked.

    Raises:
        UsageError: Batch size, work per step, parameters or first losses differ; the message names the fact.
    """
    return tuple(
        unknown
        for unknown in (
            _check_batch(run, probe),
            _check_work(run, probe),
            _check_parameters(run, probe),
            _check_losses(run, probe),
        )
        if unknown
    )


def _check_batch(run: "StoredRun", probe: "StoredRun") -> str:
    known = [_batch_sizes(one.meta.get(CONFIG) or {}) for one in (run, probe)]
    shared = known[0].keys() & known[1].keys()
    for name in sorted(shared):
        if known[0][name] != known[1][name]:
            raise _differs(f"the setting {name}", known[0][name], known[1][name])
    return "" if shared else "batch size"


def _batch_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if _BATCH in name.lower()}


def _check_work(run: "StoredRun", probe: "StoredRun") -> str:
    known = [dict(_work_per_step(one)) for one in (run, probe)]
    shared = known[0].keys() & known[1].keys()
    for unit in sorted(shared):
        first, second = known[0][unit], known[1][unit]
        if abs(second - first) > _SAME_WORK * first:
            raise _differs(f"{unit} per step", f"{first:.6g}", f"{second:.6g}")
    return "" if shared else "work per step"


def _work_per_step(run: "StoredRun") -> Iterator[tuple[str, float]]:
    steps = int(run.steps["step_count"].sum()) if len(run.steps) else 0
    for one in work.read_work(run.meta, steps, is_continued=False):
        if one.total and steps:
            yield one.unit, one.total / steps


def parameters_of(run: "StoredRun") -> int | None:
    """Return the number of trained parameters, recorded or from the setting ``parameters``; None where unknown."""
    recorded = (run.meta.get(work.SECTION) or {}).get(work.PARAMETERS)
    given = (run.meta.get(CONFIG) or {}).get(work.PARAMETERS)
    for value in (recorded, given):
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return int(value)
    return None


def _check_parameters(run: "StoredRun", probe: "StoredRun") -> str:
    first, second = parameters_of(run), parameters_of(probe)
    if first is None or second is None:
        return "number of parameters"
    if first != second:
        raise _differs("the number of parameters", f"{first:,}", f"{second:,}")
    return ""


def _check_losses(run: "StoredRun", probe: "StoredRun") -> str:
    """Compare the losses of the first steps, which other seeds hardly change."""
    import numpy as np

    first, second = (_first_losses(one.steps) for one in (run, probe))
    count = min(len(first), len(second))
    if count < 2 or not (min(first[:count].min(), second[:count].min()) > 0.0):  # noqa: PLR2004 - a spread takes two
        return FIRST_LOSSES
    difference = np.log(second[:count]) - np.log(first[:count])
    error = float(difference.std(ddof=1)) / math.sqrt(count)
    if abs(float(difference.mean())) > max(_SAME_LOSS, _ERRORS * error):
        pair = f"{float(first[:count].mean()):.4g}", f"{float(second[:count].mean()):.4g}"
        raise _differs(f"the mean loss of the first {count} steps", *pair)
    return ""


def _first_losses(steps: "pd.DataFrame") -> "Array":
    """Return the finite losses of the first steps that have rows of their own."""
    import numpy as np

    head = steps.head(_FIRST)
    losses = head[head["step_count"] == 1]["loss"].to_numpy(dtype=float)
    return np.asarray(losses[np.isfinite(losses)])


def _differs(fact: str, first: object, second: object) -> UsageError:
    return UsageError(
        f"the probe does other work: {fact} is {first} in the run and {second} in the probe. "
        "Probe with the same script and settings."
    )
