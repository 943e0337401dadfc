"""Details that only the page and JSON show, computed from the run directory when they are rendered."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from profiler.analysis import phase_energy
from profiler.analysis.breakdown import Part, parts_of
from profiler.analysis.curve import metric_points
from profiler.analysis.downsample import (
    Band,
    Power,
    Series,
    Stretch,
    band,
    floats,
    power_of,
    stretches,
    thinned,
)
from profiler.forecasting.priors import sentences
from profiler.records import Interval, PhaseEnergy, Summary
from profiler.reporting.target_table import TargetTable, table_of

if TYPE_CHECKING:
    import pandas as pd

    from profiler.emissions import Prices
    from profiler.forecasting import CurveFit
    from profiler.forecasting.inverse import Inverse
    from profiler.reporting.forecast_section import Outlook
    from profiler.storage.reader import StoredRun

_ROUNDING = 1e-9
_LOSSES = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Loss against joules, as drawn: recorded values, and the fitted curve up to the horizon.

    Attributes:
        seen: Losses as recorded, thinned.
        joules: Joules of the fitted bins; this and all further attributes are empty without a fit.
        losses: Mean loss of each bin.
        law_joules: Joules at which the fitted curve is given.
        law: Level there, with its interval.
    """

    seen: Series
    joules: tuple[float, ...]
    losses: tuple[float, ...]
    law_joules: tuple[float, ...]
    law: tuple[Interval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Cost of the profiler itself; unknown values are None.

    Attributes:
        sampler_cpu_seconds: Processor time of its thread.
        share_of_a_core: That over the window.
        seconds_a_step: That over the steps.
        samples: Rounds of reading all sensors.
        longest_read_seconds: Duration of the longest round.
        start_seconds: Duration of the start.
        stop_seconds: Duration of the stop.
        bytes_written: Size of the record.
    """

    sampler_cpu_seconds: float | None = None
    share_of_a_core: float | None = None
    seconds_a_step: float | None = None
    samples: int | None = None
    longest_read_seconds: float | None = None
    start_seconds: float | None = None
    stop_seconds: float | None = None
    bytes_written: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """Assumptions of the forecast, and their posterior.

    Attributes:
        priors: Assumptions made before the curve was seen, as sentences.
        families: Probability of each family of curves.
        exponent: Exponent of the curve at the last point.
    """

    priors: tuple[str, ...]
    families: tuple[tuple[str, float], ...]
    exponent: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process and attempt of a job of several.

    Attributes:
        rank: Its rank.
        attempt: Number of earlier starts of the same rank.
        host: A short hash that identifies its host.
        status: Its status.
        steps: Its steps.
        joules: Energy of its own devices and of its part of those that a host's processes share, in joules.
    """

    rank: int
    attempt: int
    host: str
    status: str
    steps: int
    joules: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Everything beyond the terminal; absent parts are empty or None.

    Attributes:
        chart: Loss against joules.
        target_table: Price of any loss.
        assumptions: Assumptions of the forecast.
        power: Power over time by domain.
        stretches: Named stretches of time: outside steps, and phases that the user named.
        step_joules_over_time: Joules per step.
        where: The parts of the window.
        phases: Estimated energy of the phases of steps.
        processes: The processes of a job of several.
        learning_rate: The rate over time.
        overhead: Cost of the profiler itself.
    """

    chart: Chart | None = None
    target_table: TargetTable | None = None
    assumptions: Assumptions | None = None
    power: Power | None = None
    stretches: tuple[Stretch, ...] = ()
    step_joules_over_time: Band | None = None
    where: tuple[Part, ...] = ()
    phases: tuple[PhaseEnergy, ...] = ()
    processes: tuple[Process, ...] = ()
    learning_rate: Series | None = None
    overhead: Overhead = Overhead()


def details_of(
    run: "StoredRun", summary: Summary, fit: "CurveFit | None", outlook: "Outlook | None", prices: "Prices"
) -> Details:
    """Compute the details of a recorded run.

    Args:
        run: The run.
        summary: Its totals.
        fit: Its fitted curve; None when that is refused.
        outlook: The forecast; None when it is refused.
        prices: Prices of a kilowatt-hour.
    """
    steps, spans = run.steps, run.spans
    billed = [domain.name for domain in run.domains.values() if domain.billed]
    known = Details(
        chart=_unfitted(run),
        power=power_of(run.samples, billed),
        stretches=stretches(steps, spans),
        step_joules_over_time=_step_joules(steps),
        where=parts_of(steps, spans, run.unrecorded),
        phases=phase_energy.of_run(run) if summary.steps > 1 else (),
        processes=tuple(map(_process, run.meta.get("ranks", ()))),
        learning_rate=_learning_rate(steps),
        overhead=_overhead(run.meta.get("overhead") or {}, summary),
    )
    if fit is None or outlook is None:
        return known
    from profiler.forecasting.inverse import Inverse

    inverse = Inverse(fit=fit)
    return replace(
        known,
        chart=chart_of(run, fit, inverse),
        target_table=table_of(inverse, outlook, prices, summary.training_watts),
        assumptions=_assumptions(fit),
    )


def _unfitted(run: "StoredRun") -> Chart | None:
    seen = _seen(run)
    return Chart(seen=seen, joules=(), losses=(), law_joules=(), law=()) if len(seen.x) > 1 else None


def _seen(run: "StoredRun") -> Series:
    import numpy as np

    joules, losses = (np.asarray(column, dtype=np.float64) for column in metric_points(run)[:2])
    drawable = (joules > 0.0) & (losses > 0.0)
    return thinned(joules[drawable], losses[drawable], pieces=_LOSSES, at=np.log(joules[drawable]))


def chart_of(run: "StoredRun", fit: "CurveFit", inverse: "Inverse | None" = None) -> Chart:
    """Lay out a fitted curve for drawing; ``inverse`` is computed where it is not given."""
    import numpy as np

    from profiler.forecasting.inverse import Inverse

    inverse = inverse or Inverse(fit=fit)
    past = (*floats(fit.curve.joules[fit.curve.joules < fit.joules]), fit.joules)
    ahead = [
        (joules, level)
        for joules, level in zip(inverse.joules, inverse.levels, strict=True)
        if joules <= fit.horizon_joules * (1.0 + _ROUNDING)
    ]
    return Chart(
        seen=_seen(run),
        joules=floats(fit.curve.joules),
        losses=floats(np.exp(fit.curve.log_values)),
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
        start_seconds=known.get("start_seconds"),
        stop_seconds=known.get("stop_seconds"),
        bytes_written=known.get("bytes_written"),
    )
