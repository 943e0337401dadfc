"""Factors of the energy of two runs to the same level.

For each run, ``joules = steps x seconds per step x watts in steps x (1 + share outside steps)`` holds exactly for the
part of its record up to the level, so that the ratios of the four factors multiply to the ratio of the joules.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from profiler.analysis.curve import trainings
from profiler.analysis.waste import standard_error
from profiler.errors import ForecastRefusedError
from profiler.forecasting.smoothing import NEIGHBOURS
from profiler.records import Domain, Provenance, Verdict
from profiler.storage.schema import CATEGORIES, category_of
from profiler.uncertainty import Z_90

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from profiler.forecasting import CurveFit
    from profiler.storage.reader import StoredRun

    Array = npt.NDArray[np.float64]

JOULES = "joules"
STEPS = "steps_to_level"
SECONDS = "seconds_per_step"
WATTS = "watts"
OUTSIDE = "outside_steps"
FACTORS = (STEPS, SECONDS, WATTS, OUTSIDE)
"""Factors whose product is the ratio of the joules. Only the first depends on the loss."""
_LEVELS = 60
"""Levels that are tried, from the best common one upwards."""
_LEAST_ERROR = 1e-6
"""Smallest standard deviation of a log ratio: stored values have six decimals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """The ratio of one factor, the second run over the first.

    Attributes:
        name: ``joules`` for the product, one of `FACTORS`, or ``watts.gpu`` and the like for the power of the devices
            of one kind in steps.
        ratio: The ratio.
        low: Lower end of its 90 % interval.
        high: Upper end.
        probability: Probability that the ratio lies on this side of one.
    """

    name: str
    ratio: float
    low: float
    high: float
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Decomposition of the energy of two runs to the same level.

    Attributes:
        level: The level, the best one at which both curves have evidence.
        joules: Energy of the first and the second run to the level.
        steps: Steps of both to the level.
        factors: The product, its factors, and the power by kind of device.
        is_same_machine: True if the same sensors measured both runs, whose errors then cancel.
    """

    level: float
    joules: tuple[float, float]
    steps: tuple[float, float]
    factors: tuple[Factor, ...]
    is_same_machine: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The record of one run up to a level; energies in joules."""

    joules: float
    steps: float
    step_error: float
    """Standard deviation of the logarithm of the steps."""
    step_seconds: float
    step_joules: float
    seconds_error: float
    """Relative standard error of the seconds per step."""
    watts_error: float
    by_category: Mapping[str, float]
    """Energy of the devices of each kind in the steps; kinds without a sensor are absent."""
    category_errors: Mapping[str, float]


class _Record:
    """Cumulative steps, seconds and joules of the last training of a run, as functions of its joules."""

    def __init__(self, run: "StoredRun") -> None:
        import numpy as np
        import pandas as pd

        steps = run.steps[run.steps["total_joules"].notna()]
        spans = run.spans[run.spans["total_joules"].notna()]
        self.first = 0.0
        if len(trainings(run)) > 1:
            steps = steps[steps["training"] == trainings(run)[-1]]
            begin = float(steps["start_seconds"].min())
            spans = spans[spans["start_seconds"] >= begin]
            self.first = float((steps["cumulative_joules"] - steps["total_joules"]).min())
        self._steps = steps.sort_values("end_seconds", kind="stable")
        self._categories = [name for name, column in CATEGORIES.items() if steps[column].notna().any()]
        # Steps and spans in order of time map the joules of a curve to steps, seconds and joules in steps.
        names = ["start_seconds", "end_seconds", "total_joules", "step_count", "inside"]
        names += [CATEGORIES[name] for name in self._categories]
        # pandas 2 warns where a table without rows has columns of another type.
        tables = self._steps.assign(inside=1.0), spans.assign(inside=0.0)
        rows = pd.concat([table.reindex(columns=names).astype(float) for table in tables])
        rows = rows.sort_values(["start_seconds", "end_seconds"], kind="stable")
        inside = rows["inside"].to_numpy(dtype=float)
        joules = rows["total_joules"].to_numpy(dtype=float)
        seconds = (rows["end_seconds"] - rows["start_seconds"]).to_numpy(dtype=float)
        columns = {
            "steps": rows["step_count"].fillna(0.0).to_numpy(dtype=float) * inside,
            "seconds": seconds * inside,
            "joules": joules * inside,
        }
        for name in self._categories:
            columns[name] = rows[CATEGORIES[name]].fillna(0.0).to_numpy(dtype=float) * inside
        self._total = self.first + np.append(0.0, np.cumsum(joules))
        self._cumulative = {name: np.append(0.0, np.cumsum(values)) for name, values in columns.items()}

    def at(self, name: str, joules: float) -> float:
        """Return a cumulative quantity of the steps at joules since the start of the run."""
        import numpy as np

        return float(np.interp(joules, self._total, self._cumulative[name]))

    def part(self, fit: "CurveFit", level: float, seed_spread: float) -> "_Part | None":
        """Return the record up to a level; None where the curve does not show it with its uncertainty."""
        known = fit.joules_at(level)
        error = level_error(fit)
        if known.verdict is not Verdict.REACHED or known.median <= self.first:
            return None
        if fit.metric.error(level) <= 0.0:  # the best possible value has no neighbourhood
            return None
        # The level of the smoothed curve is uncertain, and so is the place where it crosses.
        log_level = math.log(fit.metric.error(level))
        early, late = (fit.smoothed.first_crossing(log_level + sign * Z_90 * error) for sign in (1.0, -1.0))
        if not late <= fit.joules or log_level > float(fit.smoothed.log_values[0]):
            return None
        steps, seconds, joules = (self.at(name, known.median) for name in ("steps", "seconds", "joules"))
        if min(steps, seconds, joules) <= 0.0:
            return None
        spread = math.log(max(self.at("steps", late), 1.0) / max(self.at("steps", early), 1.0)) / 2.0 / Z_90
        used = self._steps[self._steps["cumulative_joules"] <= known.median]
        durations = _durations(used)
        return _Part(
            joules=known.median - self.first,
            steps=steps,
            step_error=math.hypot(spread, seed_spread),
            step_seconds=seconds,
            step_joules=joules,
            by_category={name: self.at(name, known.median) for name in self._categories},
            seconds_error=_relative_error(durations / used["step_count"].to_numpy(dtype=float)),
            watts_error=self._power_error(used, "total_joules"),
            category_errors={name: self._power_error(used, CATEGORIES[name]) for name in self._categories},
        )

    @staticmethod
    def _power_error(steps: "pd.DataFrame", column: str) -> float:
        """Return the relative standard error of the mean power in steps."""
        seconds = _durations(steps)
        timed = seconds > 0.0
        return _relative_error(steps[column].fillna(0.0).to_numpy(dtype=float)[timed] / seconds[timed])


def _durations(steps: "pd.DataFrame") -> "Array":
    return (steps["end_seconds"] - steps["start_seconds"]).to_numpy(dtype=float)


def _relative_error(values: "Array") -> float:
    mean = float(values.mean()) if len(values) else 0.0
    return standard_error(values) / mean if mean > 0.0 else 0.0


def level_error(fit: "CurveFit") -> float:
    """Return the standard deviation of the log level of a smoothed curve."""
    import numpy as np

    stated = (fit.log_now[2] - fit.log_now[0]) / 2.0 / Z_90
    if stated > 0.0 or not len(fit.smoothed.log_values):
        return max(stated, _LEAST_ERROR)
    # A curve without a trend states no interval: the scatter of its points around their average takes its place.
    levels = np.interp(fit.curve.joules, fit.smoothed.joules, fit.smoothed.log_values)
    scatter = 1.4826 * float(np.median(np.abs(fit.curve.log_values - levels)))
    return max(scatter / math.sqrt(2 * NEIGHBOURS + 1), _LEAST_ERROR)


def explain(
    runs: "tuple[StoredRun, StoredRun]",
    fits: "tuple[CurveFit, CurveFit]",
    *,
    seed_spread: float = 0.0,
    level: float | None = None,
) -> Why:
    """Split the ratio of the energies of two runs to the same level into factors.

    Args:
        runs: The two runs; ratios are the second over the first.
        fits: The fits of their curves, of the same metric.
        seed_spread: Standard deviation of the logarithm of the steps to a level between runs that differ only in their
            seed. With 0, the intervals hold for these two runs.
        level: The level in the unit of the metric; by default the best one at which both curves have evidence.

    Raises:
        ForecastRefusedError: ``no_common_range`` when the curves share no such level.
    """
    records = _Record(runs[0]), _Record(runs[1])
    for candidate in _levels(fits) if level is None else (level,):
        first, second = (
            record.part(fit, candidate, seed_spread) for record, fit in zip(records, fits, strict=True)
        )
        if first is not None and second is not None:
            return Why(
                level=candidate,
                joules=(first.joules, second.joules),
                steps=(first.steps, second.steps),
                factors=tuple(_factors(runs, first, second)),
                is_same_machine=is_same_machine(runs),
            )
    raise ForecastRefusedError(
        "no_common_range",
        "The two curves have no level that both crossed clearly within their records.",
        remedy="Compare runs of one task with the same metric, or train longer until their levels overlap.",
    )


def _levels(fits: "tuple[CurveFit, CurveFit]") -> Iterator[float]:
    """Yield levels from the best common one to the worst common one."""
    import numpy as np

    curves = [fit.smoothed.log_values for fit in fits]
    if not all(len(curve) for curve in curves):
        return
    best, worst = max(float(c.min()) for c in curves), min(float(c[0]) for c in curves)
    if best < worst:
        metric = fits[0].metric
        yield from (metric.value(math.exp(log)) for log in np.linspace(best, worst, _LEVELS).tolist())


def _factors(runs: "tuple[StoredRun, StoredRun]", first: _Part, second: _Part) -> Iterator[Factor]:
    steps_error = math.hypot(first.step_error, second.step_error)
    shares = gain_error(runs)
    yield _factor(JOULES, second.joules / first.joules, math.hypot(steps_error, shares))
    yield _factor(STEPS, second.steps / first.steps, steps_error)
    seconds = second.step_seconds / second.steps, first.step_seconds / first.steps
    yield _factor(SECONDS, seconds[0] / seconds[1], math.hypot(first.seconds_error, second.seconds_error))
    watts = second.step_joules / second.step_seconds, first.step_joules / first.step_seconds
    noise = math.hypot(first.watts_error, second.watts_error)
    yield _factor(WATTS, watts[0] / watts[1], math.hypot(noise, shares))
    outside = second.joules / second.step_joules, first.joules / first.step_joules
    # A ratio of two sums of one record, in which the errors of its sensors cancel.
    yield _factor(OUTSIDE, outside[0] / outside[1], 0.0)
    for name in (name for name in first.by_category if name in second.by_category):
        power = second.by_category[name] / second.step_seconds, first.by_category[name] / first.step_seconds
        if min(power) <= 0.0:
            continue
        noise = math.hypot(first.category_errors[name], second.category_errors[name])
        gain = gain_error(runs, name)
        yield _factor(f"{WATTS}.{name}", power[0] / power[1], math.hypot(noise, gain))


def _factor(name: str, ratio: float, error: float) -> Factor:
    sigma = error if math.isfinite(error) else math.inf
    spread = math.exp(min(Z_90 * sigma, 700.0))
    certainty = (
        NormalDist().cdf(abs(math.log(ratio)) / max(sigma, _LEAST_ERROR)) if math.isfinite(sigma) else 0.5
    )
    return Factor(name=name, ratio=ratio, low=ratio / spread, high=ratio * spread, probability=certainty)


def gain_error(runs: "tuple[StoredRun, StoredRun]", category: str | None = None) -> float:
    """Return the standard deviation of the log ratio of the powers from errors of the sensors.

    The error of a sensor that measured both runs cancels as far as its share in both is the same.
    """
    is_same = is_same_machine(runs)
    shares = [_shares(run, category) for run in runs]
    known = [{name: domain for name, domain in run.domains.items() if name in share}
             for run, share in zip(runs, shares, strict=True)]  # fmt: skip
    if is_same:
        names = known[0].keys() & known[1].keys()
        return _combined(known[0], {name: shares[1][name] - shares[0][name] for name in names})
    return math.hypot(*(_combined(domains, share) for domains, share in zip(known, shares, strict=True)))


def run_gain_error(run: "StoredRun") -> float:
    """Return the relative standard deviation of a run's energy from errors common to all of its readings."""
    return _combined(run.domains, _shares(run, None))


def _shares(run: "StoredRun", category: str | None) -> dict[str, float]:
    joules = {
        name: value
        for name, value in run.energy_by_domain().items()
        if category is None or category_of(name) == category
    }
    total = sum(joules.values())
    return {name: value / total for name, value in joules.items()} if total > 0.0 else {}


def _combined(domains: Mapping[str, Domain], shares: Mapping[str, float]) -> float:
    """Combine gain errors: those of estimated domains share one model and add linearly."""
    measured = estimated = 0.0
    for name, share in shares.items():
        domain = domains[name]
        if domain.provenance is Provenance.MODELLED:
            estimated += domain.gain_uncertainty * share
        else:
            measured += (domain.gain_uncertainty * share) ** 2
    return math.hypot(estimated, math.sqrt(measured))


def is_same_machine(runs: "tuple[StoredRun, StoredRun]") -> bool:
    """Return True if the same sensors of one host measured both runs."""
    hosts = [str(run.meta.get("host") or "") for run in runs]
    boards = [
        sorted(
            (name, domain.device or "", domain.source)
            for name, domain in run.domains.items()
            if domain.billed
        )
        for run in runs
    ]
    return bool(hosts[0]) and hosts[0] == hosts[1] and boards[0] == boards[1]
