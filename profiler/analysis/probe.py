"""Energy and time per step of a short run."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.analysis.factors import run_gain_error
from profiler.analysis.waste import standard_error
from profiler.errors import ForecastRefusedError
from profiler.uncertainty import Z_90

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from profiler.storage.reader import StoredRun

    Array = npt.NDArray[np.float64]

_FEWEST = 30
"""Steps after the warm-up that a cost per step needs."""
_WARM_SHARE, _WARM_STEPS, _SETTLED = 0.1, 5, 1.2
"""Least part and number of steps of the warm-up, which lasts until steps take at most 1.2 times the later median."""
_WINDOW = 5


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


def combined(*errors: float) -> float:
    """Return the half width of a 90 % interval in logarithms from relative standard deviations."""
    return Z_90 * math.hypot(*errors)
