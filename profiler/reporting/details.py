"""Details that only the page and JSON show, computed from the run directory when they are rendered."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from profiler.analysis import phase_energy
from profiler.analysis.breakdown import parts_of
from profiler.analysis.curve import metric_points
from profiler.analysis.device_energy import pieces_of
from profiler.analysis.downsample import (
    Band,
    Series,
    band,
    floats,
    power_of,
    stretches,
    thinned,
)
from profiler.analysis.throttling import throttling_of
from profiler.budget import Budget
from profiler.forecasting.priors import sentences
from profiler.records import CurveState, Summary
from profiler.reporting.records import Assumptions, Chart, CurveDetails, Details, Overhead, Process
from profiler.reporting.target_table import table_of

if TYPE_CHECKING:
    import pandas as pd

    from profiler.emissions import Prices
    from profiler.forecasting import CurveFit
    from profiler.forecasting.anneal import AnnealOption
    from profiler.forecasting.inverse import Inverse
    from profiler.forecasting.lr_trace import RateTrace
    from profiler.reporting.records import MetricReport
    from profiler.storage.reader import StoredRun

_ROUNDING = 1e-9
_LOSSES = 300
_WORSE = (CurveState.DIVERGED, CurveState.RISING)


def details_of(
    run: "StoredRun",
    summary: Summary,
    curves: "Sequence[tuple[MetricReport, CurveFit | None]]",
    prices: "Prices",
    trace: "RateTrace",
) -> Details:
    """Compute the details of a recorded run.

    Args:
        run: The run.
        summary: Its totals.
        curves: Its metrics, each with its fit; None where that is refused.
        prices: Prices of a kilowatt-hour.
        trace: Its learning rate.
    """
    steps, spans = run.steps, run.spans
    billed = [domain.name for domain in run.domains.values() if domain.billed]
    return Details(
        curves=tuple(_curve(run, known, fit, summary, prices) for known, fit in curves),
        power=power_of(run.samples_by_domain, billed),
        stretches=stretches(steps, spans),
        step_joules_over_time=_step_joules(steps),
        where=parts_of(steps, spans, run.unrecorded),
        devices=pieces_of(run, _best_joules(curves)),
        phases=phase_energy.of_run(run) if summary.steps > 1 else (),
        processes=tuple(map(_process, run.meta.get("ranks", ()))),
        learning_rate=_learning_rate(steps),
        overhead=_overhead(run.meta.get("overhead") or {}, summary),
        throttling=throttling_of(run, summary.window_seconds),
        anneals=_anneals(run, curves[0][1], trace) if curves else (),
    )


def _anneals(run: "StoredRun", fit: "CurveFit | None", trace: "RateTrace") -> "tuple[AnnealOption, ...]":
    if fit is None:
        return ()
    from profiler.forecasting.anneal import anneal_options

    is_constant = not trace.varies and math.isfinite(trace.lowest)
    budget = Budget.from_run_json(run.meta).energy_joules
    return anneal_options(fit, budget_joules=budget, is_constant=is_constant)


def _best_joules(curves: "Sequence[tuple[MetricReport, CurveFit | None]]") -> float | None:
    """Return where the headline's metric was best, if it got worse since."""
    outlook = curves[0][0].outlook if curves else None
    if outlook is None or outlook.best is None or outlook.state not in _WORSE:
        return None
    return outlook.best.joules


def _curve(
    run: "StoredRun",
    known: "MetricReport",
    fit: "CurveFit | None",
    summary: Summary,
    prices: "Prices",
) -> CurveDetails:
    if fit is None or known.outlook is None or not known.outlook.has_trend:
        return CurveDetails(name=known.name, chart=drawn_curve(run, known, fit))
    from profiler.forecasting.inverse import Inverse

    inverse = Inverse(fit=fit)
    return CurveDetails(
        name=known.name,
        chart=_chart(run, fit, known.name, inverse),
        target_table=table_of(inverse, known.outlook, prices, summary.training_watts, _per_joule(summary)),
        assumptions=_assumptions(fit),
    )


def drawn_curve(run: "StoredRun", known: "MetricReport", fit: "CurveFit | None") -> Chart | None:
    """Lay out a metric for drawing; None with fewer than two recorded values."""
    if fit is None or known.outlook is None:
        seen = _seen(run, known.name)
        return Chart(seen=seen, joules=(), losses=(), law_joules=(), law=()) if len(seen.x) > 1 else None
    from profiler.forecasting.inverse import Inverse

    return _chart(run, fit, known.name, Inverse(fit=fit) if known.outlook.has_trend else None)


def _seen(run: "StoredRun", metric: str) -> Series:
    import numpy as np

    joules, values = (np.asarray(column, dtype=np.float64) for column in metric_points(run, metric)[:2])
    drawable = (joules > 0.0) & np.isfinite(values)
    return thinned(joules[drawable], values[drawable], pieces=_LOSSES, at=np.log(joules[drawable]))


def _chart(run: "StoredRun", fit: "CurveFit", metric: str, inverse: "Inverse | None") -> Chart | None:
    """Lay out a fitted curve for drawing; without an inverse, only the recorded and binned values.

    None with fewer than two recorded values.
    """
    import numpy as np

    values = [fit.metric.value(error) for error in np.exp(fit.curve.log_values).tolist()]
    seen = _seen(run, metric)
    if len(seen.x) <= 1:
        return None
    plain = Chart(
        seen=seen,
        joules=floats(fit.curve.joules),
        losses=tuple(values),
        law_joules=(),
        law=(),
    )
    if inverse is None:
        return plain
    past = [joules for joules in plain.joules if joules < fit.joules] + [fit.joules]
    ahead = [
        (joules, level)
        for joules, level in zip(inverse.joules, inverse.levels, strict=True)
        if joules <= fit.horizon_joules * (1.0 + _ROUNDING)
    ]
    return replace(
        plain,
        law_joules=(*past, *(joules for joules, _ in ahead)),
        law=(*(fit.loss_at(joules) for joules in past), *(level for _, level in ahead)),
    )


def _process(entry: Mapping[str, Any]) -> Process:
    return Process(
        rank=int(entry["rank"]),
        attempt=int(entry["attempt"]),
        host=str(entry["host"]),
        status=str(entry["status"]),
        steps=int(entry["steps"]),
        joules=float(entry["joules"]),
    )


def _assumptions(fit: "CurveFit") -> Assumptions:
    return Assumptions(
        priors=tuple(sentences(fit.priors)),
        families=tuple(fit.families.items()),
        exponent=fit.exponent,
    )


def _per_joule(summary: Summary) -> dict[str, float]:
    joules = summary.total_joules
    return {one.unit: one.total / joules for one in summary.work if one.total and joules}


def _step_joules(steps: "pd.DataFrame") -> Band | None:
    middles = (steps["start_seconds"] + steps["end_seconds"]).to_numpy(dtype=float) / 2
    counts = steps["step_count"].to_numpy(dtype=float)
    found = band(middles, steps["total_joules"].to_numpy(dtype=float) / counts, counts)
    return found if len(found.x) > 1 else None


def _learning_rate(steps: "pd.DataFrame") -> Series | None:
    rates = thinned(steps["end_seconds"].to_numpy(dtype=float), steps["learning_rate"].to_numpy(dtype=float))
    return rates if len(rates.x) > 1 else None


def _overhead(known: Mapping[str, Any], summary: Summary) -> Overhead:
    cpu, window, steps = known.get("sampler_cpu_seconds"), summary.window_seconds, summary.steps
    return Overhead(
        sampler_cpu_seconds=cpu,
        share_of_a_core=cpu / window if cpu is not None and window > 0.0 else None,
        seconds_a_step=cpu / steps if cpu is not None and steps else None,
        samples=known.get("samples"),
        longest_read_seconds=known.get("longest_read_seconds"),
        late_samples=known.get("late_samples"),
        missed_samples=known.get("missed_samples"),
        delayed_seconds=known.get("delayed_seconds"),
        start_seconds=known.get("start_seconds"),
        stop_seconds=known.get("stop_seconds"),
        bytes_written=known.get("bytes_written"),
        log_calls=known.get("log_calls"),
        log_seconds=known.get("log_seconds"),
    )
