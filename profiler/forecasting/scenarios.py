"""From a curve and what is known beside it to the laws it may follow, and the futures they lead to."""

from dataclasses import dataclass, replace

import numpy as np

from profiler.forecasting.curve import Curve, FloatArray
from profiler.forecasting.metric import Metric
from profiler.forecasting.models import Laws
from profiler.forecasting.posterior import fit_laws, gather
from profiler.forecasting.predictive import Predictive
from profiler.forecasting.priors import Priors
from profiler.forecasting.schedule import Annealed, Held, Onward, Path, Planned, Schedule

AHEAD = 0.01
"""A plan that goes on for less than this part of the joules so far has come to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the caller knows beside the points.

    Attributes:
        metric: Which way the metric gets better.
        lower_bound: A value that the metric cannot be under; 0 where nothing is known.
        level: Probability inside intervals.
        priors: What is assumed beforehand.
        schedule: The learning rate; None when nothing is known of it.
        planned: Whether the schedule reaches into the future.
        ended: Whether the learning rate came down to zero, at which nothing would ever be learned: it is left aside.
        over: Whether there was a plan and the curve has come to its end or beyond.
        origin_joules: Joules at which the first step began, from which all others here count.
    """

    metric: Metric
    lower_bound: float
    level: float
    priors: Priors
    schedule: Schedule | None
    planned: bool
    ended: bool = False
    over: bool = False
    origin_joules: float = 0.0

    def until(self, last_joules: float) -> "Known":
        """Return what of it matters to a curve that comes so far."""
        schedule = self.schedule
        ahead = schedule is not None and self.planned and schedule.end > last_joules * (1.0 + AHEAD)
        if schedule is None or ahead:
            return self
        kept = None if schedule.is_spent else schedule
        return replace(self, schedule=kept, planned=False, ended=schedule.is_spent, over=self.planned)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weighed:
    """The posterior of a curve.

    Attributes:
        laws: The laws that it may follow.
        log_law: Their mean log level in each bin.
        log_v: Log of energy / energy at the last point in each bin, on the axis that the laws are written in.
    """

    laws: Laws
    log_law: FloatArray
    log_v: FloatArray


def weigh(curve: Curve, known: Known, *, refine: float = 1.0) -> Weighed:
    """Weigh every law by how well it explains the curve.

    Args:
        curve: The binned curve.
        known: What is known beside it.
        refine: Multiplies the number of grid lines.

    Raises:
        UsageError: The lower bound is not under the curve.
    """
    log_v, progress = _axis(curve, known.schedule)
    evidence = gather(curve, known.priors, log_v=log_v, progress=progress, lower_bound=known.lower_bound)
    laws = fit_laws(evidence, refine=refine)
    log_law = laws.mass @ laws.log_levels(log_v, np.zeros_like(log_v) if progress is None else progress)
    return Weighed(laws=laws, log_law=log_law, log_v=log_v)


def _axis(curve: Curve, schedule: Schedule | None) -> tuple[FloatArray, FloatArray | None]:
    """Log v of each bin, and its anneal progress less that at the last point."""
    if schedule is None:
        return np.log(curve.joules / curve.last_joules), None
    last = np.array([curve.last_joules])
    log_v = np.log(schedule.learned_at(curve.joules) / schedule.learned_at(last))
    return log_v, schedule.progress_at(curve.joules) - schedule.progress_at(last)


def futures(laws: Laws, known: Known, last_joules: float) -> dict[str, Predictive]:
    """Return the posterior under each scenario, the default one first."""
    misses = known.priors.rate_unknown if known.schedule is None else known.priors.rate_known
    return {
        name: Predictive(laws=laws.merged(gains=isinstance(path, Held | Onward)), misses=misses, path=path)
        for name, path in _paths(known, last_joules).items()
    }


def _paths(known: Known, last: float) -> dict[str, Path]:
    schedule = known.schedule
    if schedule is None:
        return {"onward": Onward()}
    rate, learned = schedule.rate_at(last), float(schedule.learned_at(np.array([last]))[0])
    paths: dict[str, Path] = {"planned": Planned(schedule=schedule, last=last)} if known.planned else {}
    paths["held"] = Held(rate=rate, learned=learned, last=last)
    paths["annealed"] = Annealed(rate=rate, learned=learned, memory=schedule.memory, last=last)
    return paths
