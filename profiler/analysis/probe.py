"""Energy and time per step of a short run, and the signs that it does the same work as another run."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profiler import work
from profiler.analysis.factors import run_gain_error
from profiler.analysis.waste import standard_error
from profiler.errors import ForecastRefusedError, UsageError
from profiler.storage.schema import CONFIG
from profiler.uncertainty import Z_90

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from profiler.storage.reader import StoredRun

    Array = npt.NDArray[np.float64]

_FEWEST = 30
"""Steps after the warm-up that a cost per step needs."""
_WARM_SHARE, _WARM_STEPS, _SETTLED = 0.1, 5, 1.2
"""Least part and number of steps of the warm-up, which lasts until steps take at most 1.2 times the later median."""
_WINDOW = 5
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """Mean energy and duration of a step after the warm-up.

    Attributes:
        joules: Energy of a step, in joules.
        joules_error: Its relative standard deviation, the gain of the sensors included.
        seconds: Duration of a step.
        seconds_error: Its relative standard deviation.
        steps: Steps that it is the mean of.
        dropped: Steps before them, which count as warm-up.
    """

    joules: float
    joules_error: float
    seconds: float
    seconds_error: float
    steps: int
    dropped: int


def step_cost(run: "StoredRun", name: str = "run") -> StepCost:
    """Return the energy and the duration of a step without the warm-up.

    Args:
        run: The run.
        name: Its name in messages.

    Raises:
        ForecastRefusedError: ``too_few_steps``, or ``no_energy`` where nothing was measured.
    """
    import numpy as np

    steps = run.steps.sort_values("end_seconds", kind="stable")
    total = int(steps["step_count"].sum()) if len(steps) else 0
    metered = steps[steps["total_joules"].notna()]
    if total and not len(metered):
        raise ForecastRefusedError(
            "no_energy", f"The energy of the {name} was not measured.", remedy="See `energy-profiler doctor`."
        )
    counts = metered["step_count"].to_numpy(dtype=float)
    seconds = (metered["end_seconds"] - metered["start_seconds"]).to_numpy(dtype=float)
    first = _warm_rows(seconds, counts)
    used = int(counts[first:].sum())
    if used < _FEWEST:
        raise ForecastRefusedError(
            "too_few_steps",
            f"The {name} has {used:,} of {total:,} steps after the warm-up; a cost per step needs {_FEWEST}.",
            remedy="Train it for a minute.",
        )
    kept = metered.iloc[first:]
    counts, seconds = counts[first:], seconds[first:]
    joules = kept["total_joules"].to_numpy(dtype=float)
    edges = math.sqrt(2.0) * float(
        np.nanmax(np.append(kept["uncertainty_joules"].to_numpy(dtype=float), 0.0))
    )
    mean = float(joules.sum() / counts.sum())
    noise = _relative(joules / counts)
    return StepCost(
        joules=mean,
        joules_error=math.hypot(noise, run_gain_error(run), edges / max(float(joules.sum()), 1e-9)),
        seconds=float(seconds.sum() / counts.sum()),
        seconds_error=_relative(seconds / counts),
        steps=used,
        dropped=total - used,
    )


def _relative(values: "Array") -> float:
    mean, error = float(values.mean()), standard_error(values)
    # A single row of many steps shows no scatter.
    return error / mean if mean > 0.0 and math.isfinite(error) else 0.0


def _warm_rows(seconds: "Array", counts: "Array") -> int:
    """Return the number of first rows that are warm-up."""
    import numpy as np

    if not len(seconds):
        return 0
    each = seconds / counts
    usual = float(np.median(each[len(each) // 2 :]))
    before = np.cumsum(counts)
    first = int(np.searchsorted(before, max(_WARM_SHARE * before[-1], _WARM_STEPS), side="left")) + 1
    first = min(first, len(each) - 1)
    while first < len(each) - 1 and float(each[first : first + _WINDOW].mean()) > _SETTLED * usual:
        first += 1
    return first


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


def combined(*errors: float) -> float:
    """Return the half width of a 90 % interval in logarithms from relative standard deviations."""
    return Z_90 * math.hypot(*errors)
