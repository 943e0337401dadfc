"""Metrics for Prometheus: scraped from ``watch --web``, or as a file for node_exporter's textfile collector."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from profiler._compat import printable
from profiler.budget import Budget
from profiler.emissions import read_prices
from profiler.records import Metered, Status, Verdict
from profiler.reporting.live_report import last_watts
from profiler.storage.last_levels import last_levels
from profiler.storage.quick_summary import quick_summary_of
from profiler.units import significant

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    from profiler.reporting.records import Report, Target
    from profiler.run import Run
    from profiler.storage.reader import StoredRun

CONTENT_TYPE = "text/plain; version=0.0.4"
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """Forecast of one target.

    Attributes:
        metric: Name of the metric.
        target: ``5 % lower`` than the present level, or the level that was asked for.
        more: Further joules by percentile; infinite where out of reach, absent where unknown.
        p_unreachable: Probability that no energy suffices.
    """

    metric: str
    target: str
    more: Mapping[int, float]
    p_unreachable: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """Values of one run. Unknown values are None or absent.

    Attributes:
        run: Label of the run: its directory, because names repeat.
        name: Name of the run.
        status: Its status.
        started_at: Start of the window, ISO 8601.
        steps: Number of steps.
        window_seconds: Length of the window.
        total_joules: Counted energy.
        estimated_joules: Its estimated part.
        gco2e: Grams of CO2 equivalent.
        budget_joules: Energy budget.
        metered: Energy of the counted domains.
        watts: Present power of each counted domain; empty for a run that has ended.
        levels: Present level of each metric.
        targets: Forecasts.
    """

    run: str
    name: str
    status: Status
    started_at: str
    steps: int
    window_seconds: float
    total_joules: float | None
    estimated_joules: float | None
    gco2e: float | None
    budget_joules: float | None
    metered: tuple[Metered, ...]
    watts: Mapping[str, float] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    targets: tuple[Priced, ...] = ()


def export(runs: "Sequence[Run]") -> bytes:
    """Return the metrics of recorded runs."""
    from profiler.reporting import report_of

    return exposition(exposed(run, report_of(run), label=run.path.resolve().name) for run in runs)


def exposed(run: "StoredRun", report: "Report", *, label: str) -> Exposed:
    """Return the values of a run and its report."""
    levels = {
        known.name: level
        for known in report.metrics
        if (level := known.last if known.outlook is None else known.outlook.last_loss) is not None
    }
    targets = [
        _priced(known.name, target, known.goal or "min")
        for known in report.metrics
        if known.outlook is not None
        for target in (*known.outlook.targets, *known.outlook.asked)
    ]
    summary, cost = report.summary, report.cost
    return Exposed(
        run=_label(label),
        name=summary.name,
        status=summary.status,
        started_at=summary.started_at,
        steps=summary.steps,
        window_seconds=summary.window_seconds,
        total_joules=summary.total_joules,
        estimated_joules=summary.modelled_joules,
        gco2e=None if cost.gco2e is None else cost.gco2e.median,
        budget_joules=Budget.from_run_json(run.meta).energy_joules,
        metered=tuple(one for one in summary.metered if one.domain.billed),
        watts=last_watts(run) if summary.status is Status.RUNNING else {},
        levels=last_levels(run).known | levels,
        targets=tuple(targets),
    )


def exposed_quickly(run: "StoredRun", *, label: str) -> Exposed:
    """Return the values of a run without reading its tables where that is possible; no power and no forecasts."""
    summary = quick_summary_of(run)
    total = summary.total_joules
    return Exposed(
        run=_label(label),
        name=str(run.meta.get("name", "")),
        status=run.status,
        started_at=str(run.meta.get("started_at", "")),
        steps=summary.steps,
        window_seconds=summary.window_seconds,
        total_joules=total,
        estimated_joules=summary.modelled_joules,
        gco2e=None if total is None else read_prices(run.meta).gco2e(total),
        budget_joules=Budget.from_run_json(run.meta).energy_joules,
        metered=tuple(one for one in summary.metered if one.domain.billed),
        levels=last_levels(run).known,
    )


def _priced(metric: str, target: "Target", goal: str) -> Priced:
    forecast, more = target.forecast, target.more
    if more is None:
        ends = dict.fromkeys((5, 50, 95), 0.0 if forecast.verdict is Verdict.REACHED else math.inf)
    elif math.isnan(more.median):
        ends = {}
    elif forecast.verdict is Verdict.REACHABLE:
        ends = {5: more.low, 50: more.median, 95: more.high}
    else:  # beyond the horizon no median is known
        ends = {5: more.low, 95: more.high}
    better = "lower" if goal == "min" else "less error"
    name = (
        significant(target.loss, _DIGITS) if target.change is None else f"{100 * target.change:g} % {better}"
    )
    return Priced(metric=metric, target=name, more=ends, p_unreachable=forecast.p_unreachable)


def exposition(runs: Iterable[Exposed]) -> bytes:
    """Return the values of runs in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Collector(tuple(runs)))
    return generate_latest(registry)


Values = Iterable[tuple[tuple[str, ...], float | None]]


class Family(NamedTuple):
    """One metric.

    Attributes:
        name: Name after the prefix; that of a counter gets ``_total``.
        text: Its description.
        labels: Labels beside ``run``.
        values: Values of a run with their labels; None and NaN are left out.
        is_counter: True if it only increases.
    """

    name: str
    text: str
    labels: tuple[str, ...]
    values: Callable[[Exposed], Values]
    is_counter: bool = False


def _info(one: Exposed) -> Values:
    yield (one.name, one.status.value, one.started_at), 1.0


def _budget_used(one: Exposed) -> Values:
    if one.total_joules is not None and one.budget_joules:
        yield (), one.total_joules / one.budget_joules


def _domain_joules(one: Exposed) -> Values:
    for metered in one.metered:
        yield (metered.domain.name, metered.domain.provenance.value), metered.joules


def _more_joules(one: Exposed) -> Values:
    for target in one.targets:
        for percentile, joules in target.more.items():
            yield (target.metric, target.target, str(percentile)), joules


FAMILIES = (
    Family("run_info", "1 for each run.", ("name", "status", "started_at"), _info),
    Family("joules", "Counted energy since the start of the run.", (), lambda one: [((), one.total_joules)], True),
    Family(
        "estimated_joules", "Part of the energy that is estimated.", (),
        lambda one: [((), one.estimated_joules)], True,
    ),
    Family("domain_joules", "Energy of each counted domain.", ("domain", "provenance"), _domain_joules, True),
    Family(
        "watts", "Present power of each counted domain.", ("domain",),
        lambda one: [((name,), watts) for name, watts in one.watts.items()],
    ),
    Family("steps", "Optimizer steps.", (), lambda one: [((), float(one.steps))], True),
    Family("window_seconds", "Time since the start of the run.", (), lambda one: [((), one.window_seconds)]),
    Family("gco2e_grams", "Grams of CO2 equivalent.", (), lambda one: [((), one.gco2e)], True),
    Family("budget_used_ratio", "Used part of the energy budget.", (), _budget_used),
    Family(
        "level", "Level of each metric: smoothed where it is fitted, else its last value.", ("metric",),
        lambda one: [((name,), level) for name, level in one.levels.items()],
    ),
    Family(
        "forecast_more_joules", "Further energy to a target, by percentile; infinite where out of reach.",
        ("metric", "target", "percentile"), _more_joules,
    ),
    Family(
        "forecast_unreachable_probability", "Probability that no energy reaches a target.", ("metric", "target"),
        lambda one: [((target.metric, target.target), target.p_unreachable) for target in one.targets],
    ),
)  # fmt: skip
"""The metrics; each has the label ``run``."""


class _Collector:
    """Collector of prometheus_client over fixed values."""

    def __init__(self, runs: Sequence[Exposed]) -> None:
        self._runs = runs

    def collect(self) -> "Iterator[CounterMetricFamily | GaugeMetricFamily]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for one in FAMILIES:
            kind = CounterMetricFamily if one.is_counter else GaugeMetricFamily
            family = kind(f"energy_profiler_{one.name}", one.text, labels=("run", *one.labels))
            for run in self._runs:
                for labels, value in one.values(run):
                    if value is not None and not math.isnan(value):
                        family.add_metric([run.run, *map(_label, labels)], value)
            yield family


def _label(text: str) -> str:
    """Return a label that UTF-8 can hold on one line."""
    return printable(text.encode("utf-8", "replace").decode()).replace("\n", " ")
