"""Curves whose end is known, and how near to it forecasts from their beginnings come."""

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from profiler.errors import ForecastRefusedError
from profiler.forecasting import CurveFit, fit_curve
from profiler.records import Verdict

PREFIXES = (0.25, 0.5, 0.75)
END = 0.96
"""The end level is the geometric mean of what comes after this part of the run."""
MISS_PENALTY = 20.0
"""2 / alpha of the interval score of a 90 % interval (Gneiting and Raftery, JASA 102, 2007)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A curve whose end is known."""

    group: str
    x: np.ndarray
    y: np.ndarray
    rate: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One forecast against what came: logs, in units of the level."""

    group: str
    prefix: float
    error: float
    factor: float
    width: float
    covered: bool
    interval_score: float
    called_unreachable: bool
    refused: bool


def score(run: Run, prefix: float) -> Score | None:
    """Fit a prefix of a run and compare with its end; None where there is nothing to fit."""
    seen, end = run.x <= prefix * run.x[-1], run.x >= END * run.x[-1]
    if seen.sum() < 6:
        return None
    log_y, log_x = float(np.log(run.y[end]).mean()), float(np.log(run.x[end]).mean())
    try:
        fit = fit_curve(run.x[seen], run.y[seen], planned_learning_rate=_plan(run))
    except ForecastRefusedError:
        return _refused(run, prefix, math.log(run.y[seen][-1]) - log_y)
    return _compared(run, prefix, fit, log_x, log_y)


def _plan(run: Run) -> tuple[np.ndarray, np.ndarray] | None:
    return None if run.rate is None else (run.x, run.rate)


def _refused(run: Run, prefix: float, error: float) -> Score:
    """A refusal counts as the forecast that nothing will change."""
    return Score(
        group=run.group,
        prefix=prefix,
        error=abs(error),
        factor=math.inf,
        width=0.0,
        covered=False,
        interval_score=MISS_PENALTY * abs(error),
        called_unreachable=False,
        refused=True,
    )


def _compared(run: Run, prefix: float, fit: CurveFit, log_x: float, log_y: float) -> Score:
    interval, forecast = fit.loss_at(math.exp(log_x)), fit.joules_at(math.exp(log_y))
    low, high = math.log(interval.low) - log_y, math.log(interval.high) - log_y
    return Score(
        group=run.group,
        prefix=prefix,
        error=abs(math.log(interval.median) - log_y),
        factor=abs(math.log(forecast.median) - log_x),
        width=high - low,
        covered=low <= 0.0 <= high,
        interval_score=high - low + MISS_PENALTY * (max(low, 0.0) + max(-high, 0.0)),
        called_unreachable=forecast.verdict is Verdict.UNREACHABLE,
        refused=False,
    )


def score_all(runs: list[Run]) -> pd.DataFrame:
    """Score every run at every prefix, on two processes."""
    jobs = [(run, prefix) for run in runs for prefix in PREFIXES]
    with ProcessPoolExecutor(2) as pool:
        scores = pool.map(score, *zip(*jobs, strict=True), chunksize=8)
        return pd.DataFrame([asdict(one) for one in scores if one is not None])
