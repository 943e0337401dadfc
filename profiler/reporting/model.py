"""The report: every number and caveat, decided once for all renderers."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from profiler import uncertainty
from profiler.emissions import Prices
from profiler.records import (
    CONTAINED_NOTE,
    CurveState,
    Interval,
    Metered,
    PhaseEnergy,
    Provenance,
    Refusal,
    Status,
    Summary,
    Work,
    kind_of,
)
from profiler.reporting.answer import Answer, answer_of
from profiler.reporting.forecast_section import Outlook
from profiler.reporting.idle import IdleSplit, idle_split
from profiler.reporting.metric_choice import LOSS
from profiler.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from profiler.analysis.breakdown import Part
    from profiler.analysis.device_energy import Piece
    from profiler.analysis.downsample import Band, Power, Series, Stretch
    from profiler.analysis.throttling import Throttling
    from profiler.forecasting.anneal import AnnealOption
    from profiler.reporting.power_limits import LimitTable
    from profiler.reporting.target_table import TargetTable
    from profiler.reporting.waste import WasteLine

_NUMBER = re.compile(r"(?:-\d+)?(?:@.*)?$")
"""End of a domain's name: the number of a module, and the node of a job of several nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainLine:
    """The energy of one domain.

    Attributes:
        name: The domain.
        joules: Its energy in the window, in joules.
        watts: Its mean power.
        provenance: Origin of the joules.
        source: The interface they are read from.
        billed: True if they count in the total.
        bridged_share: Share of the window that no reading covers.
        period_seconds: Update interval of its value; None while unknown.
        gain_share: Half of the 90 % interval of the error common to all its joules, as a share of them.
        notes: Caveats.
    """

    name: str
    joules: float
    watts: float
    provenance: Provenance
    source: str
    billed: bool
    bridged_share: float
    period_seconds: float | None
    gain_share: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMeter:
    """Meter of the whole node, beside the sum of the parts that it contains.

    Attributes:
        name: The domain; without its number where several are added up.
        joules: Its energy in the window, in joules.
        parts_joules: Energy of the measured and estimated parts, in joules.
        ratio: Energy over that of the parts.
        parts_are_estimated: True if a part is estimated.
        billed: True if the meter is the total.
    """

    name: str
    joules: float
    parts_joules: float
    ratio: float
    parts_are_estimated: bool
    billed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The run's energy as electricity, carbon and money.

    Attributes:
        kwh: Kilowatt-hours at the building's meter; None without measured energy. The same interval as the joules.
        gco2e: Grams of CO2 equivalent; None while the grid is unknown.
        money: In the user's currency; None while the price is unknown.
        prices: The prices behind them.
    """

    kwh: Interval | None
    gco2e: Interval | None
    money: Interval | None
    prices: Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLine:
    """Work of a run in one unit, such as tokens.

    Attributes:
        unit: Name of the unit.
        total: Amount; None if unknown.
        joules_each: Energy of the whole run per unit, with its 90 % interval; None if unknown.
        reason: Reason why it is unknown; empty where it is known.
    """

    unit: str
    total: float | None
    joules_each: Interval | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricReport:
    """One metric of a run.

    Attributes:
        name: Its name.
        goal: ``min``, ``max``, or None where the direction is unknown.
        outlook: The forecast; None when the curve does not support one.
        state: State of the curve; None without a usable point.
        refused: Reason why there is no outlook, with the remedy.
        last: The last recorded value; None without one.
    """

    name: str
    goal: str | None
    outlook: Outlook | None
    state: CurveState | None
    refused: str
    last: float | None = None


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

    seen: "Series"
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
        late_samples: Rounds that were delayed by more than the interval between rounds.
        missed_samples: Rounds that were omitted during such delays.
        delayed_seconds: Duration of such delays.
        start_seconds: Duration of the start.
        stop_seconds: Duration of the stop.
        bytes_written: Size of the record.
        log_calls: Calls of experiment trackers.
        log_seconds: Time that these calls took, on the training thread.
    """

    sampler_cpu_seconds: float | None = None
    share_of_a_core: float | None = None
    seconds_a_step: float | None = None
    samples: int | None = None
    longest_read_seconds: float | None = None
    late_samples: int | None = None
    missed_samples: int | None = None
    delayed_seconds: float | None = None
    start_seconds: float | None = None
    stop_seconds: float | None = None
    bytes_written: int | None = None
    log_calls: float | None = None
    log_seconds: float | None = None


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
class CurveDetails:
    """Details of one metric; absent parts are None.

    Attributes:
        name: Its name.
        chart: Its values against joules.
        target_table: Price of any level.
        assumptions: Assumptions of the forecast.
    """

    name: str
    chart: Chart | None = None
    target_table: "TargetTable | None" = None
    assumptions: Assumptions | None = None


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
        curves: The curve of each metric, the headline's first.
        power: Power over time by domain.
        stretches: Named stretches of time: outside steps, and phases that the user named.
        step_joules_over_time: Joules per step.
        where: The parts of the window.
        devices: The energy by device and activity, with the part after the best level of a run that got worse.
        phases: Estimated energy of the phases of steps.
        processes: The processes of a job of several.
        learning_rate: The rate over time.
        overhead: Cost of the profiler itself.
        anneals: Level and cost of an anneal begun now or later, for the headline's metric.
        throttling: Time at a reduced clock of each accelerator, by cause.
    """

    curves: tuple[CurveDetails, ...] = ()
    power: "Power | None" = None
    stretches: "tuple[Stretch, ...]" = ()
    step_joules_over_time: "Band | None" = None
    where: "tuple[Part, ...]" = ()
    devices: "tuple[Piece, ...]" = ()
    phases: tuple[PhaseEnergy, ...] = ()
    processes: tuple[Process, ...] = ()
    learning_rate: "Series | None" = None
    overhead: Overhead = Overhead()
    anneals: "tuple[AnnealOption, ...]" = ()
    throttling: "tuple[Throttling, ...]" = ()

    @property
    def headline(self) -> CurveDetails:
        """The curve of the headline's metric."""
        return self.curves[0] if self.curves else CurveDetails(name="loss")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that renderers need. The details are computed on first access.

    Attributes:
        summary: The run.
        energy: Total with its 90 % interval, in joules; None without measured energy.
        modelled_share: The estimated part of the total.
        watts: Mean power over the window.
        training_watts: Mean power from the start of the first step to the end of the last, which converts further
            joules to time. None without steps.
        step_joules: Mean energy of a step.
        step_seconds: Mean duration of a step, without the time between steps; None without steps.
        cost: The total as electricity, carbon and money.
        domains: The sampled domains, counted ones first.
        metrics: The metrics; the first one is the headline's.
        note: One sentence that explains the choice of the headline's metric; empty where it is evident.
        refusals: Sources that are not used, with the reason.
        warnings: Warnings of the run.
        examine: Computes the details.
        waste: Energy that bought nothing, by cause; empty for a healthy run.
        power_limits: Cost of a step under each power limit; None if it never changed or was not recorded.
        work: Work of the run, one line per unit.
        device_hours: Duration times the accelerators that were used, in hours; None without one, or if their number is
            unknown.
    """

    summary: Summary
    energy: Interval | None
    modelled_share: float | None
    watts: float | None
    training_watts: float | None
    step_joules: float | None
    step_seconds: float | None
    cost: Cost
    domains: tuple[DomainLine, ...]
    metrics: tuple[MetricReport, ...]
    note: str
    refusals: tuple[Refusal, ...]
    warnings: tuple[str, ...]
    examine: Callable[[], Details]
    waste: "tuple[WasteLine, ...]" = ()
    work: tuple[WorkLine, ...] = ()
    device_hours: float | None = None
    power_limits: "LimitTable | None" = None

    @property
    def priced_work(self) -> WorkLine | None:
        """The first unit whose energy is known; forecasts are given in it too."""
        return next((line for line in self.work if line.joules_each is not None), None)

    @cached_property
    def idle(self) -> IdleSplit | None:
        """Split of the energy into idle and active; None without a stored idle power."""
        return idle_split(self.summary.metered, self.summary.window_seconds)

    @cached_property
    def node_meters(self) -> tuple[NodeMeter, ...]:
        """The meters of the whole node, beside their parts; empty where there is none or nothing else is measured."""
        return _node_meters(self.domains)

    @property
    def metric(self) -> str:
        """Name of the headline's metric."""
        return self.metrics[0].name

    @property
    def outlook(self) -> Outlook | None:
        """The forecast of the headline's metric."""
        return self.metrics[0].outlook

    @property
    def state(self) -> CurveState | None:
        """State of the headline's metric."""
        return self.metrics[0].state

    @property
    def refused(self) -> str:
        """Reason why the headline's metric has no outlook."""
        return self.metrics[0].refused

    @property
    def measured_share(self) -> float | None:
        """The measured part of the total; None without energy."""
        if self.modelled_share is None:
            return None
        return max(1.0 - self.modelled_share, 0.0)

    @cached_property
    def answer(self) -> Answer:
        """The report in a few sentences."""
        return answer_of(self)

    @cached_property
    def details(self) -> Details:
        """Details that only the page and JSON show."""
        return self.examine()


def build(
    summary: Summary,
    metrics: Sequence[MetricReport] = (),
    *,
    note: str = "",
    prices: Prices | None = None,
    examine: Callable[[], Details] | None = None,
    waste: "tuple[WasteLine, ...]" = (),
    power_limits: "LimitTable | None" = None,
) -> Report:
    """Build the report of a run.

    Args:
        summary: The run.
        metrics: Its metrics, the headline's first.
        note: One sentence that explains the choice of the headline's metric.
        prices: Prices of a kilowatt-hour; unknown by default.
        examine: Computes the details; there are none by default.
        waste: Energy that bought nothing, by cause.
        power_limits: Cost of a step under each power limit, if it changed.
    """
    total, window, steps = summary.total_joules, summary.window_seconds, summary.steps
    modelled = summary.modelled_joules
    energy = energy_of(total, summary.edge_joules, summary.metered)
    first, *others = metrics or (MetricReport(name=LOSS, goal="min", outlook=None, state=None, refused=""),)
    if first.outlook is None:
        has_curve = summary.steps > 0 and total is not None
        state = first.state if has_curve else None
        first = replace(first, state=state, refused=_refused(summary, first.refused))
    return Report(
        summary=summary,
        energy=energy,
        modelled_share=modelled / total if total and modelled is not None else None,
        watts=_watts(total, window),
        training_watts=summary.training_watts,
        step_joules=summary.step_joules / steps if steps and summary.step_joules is not None else None,
        step_seconds=summary.step_seconds / steps if steps else None,
        cost=cost_of(energy, prices or Prices()),
        domains=tuple(_line(m, window) for m in sorted(summary.metered, key=lambda m: not m.domain.billed)),
        metrics=(first, *others),
        note=note,
        refusals=summary.refusals,
        warnings=summary.warnings,
        examine=examine or Details,
        waste=waste,
        power_limits=power_limits,
        work=tuple(_work(one, energy, summary) for one in summary.work),
        device_hours=_device_hours(summary),
    )


def _work(known: Work, energy: Interval | None, summary: Summary) -> WorkLine:
    reason, each = known.reason, None
    if known.total and energy is not None and summary.is_incomplete:
        reason = f"the energy is incomplete, so that per {known.unit.removesuffix('s')} is unknown"
    elif known.total:
        total = known.total
        each = converted(energy, lambda joules: joules / total)
    return WorkLine(unit=known.unit, total=known.total, joules_each=each, reason=reason)


def _device_hours(summary: Summary) -> float | None:
    counted = [one.domain.kind for one in summary.metered if one.domain.billed]
    if summary.missing_ranks:
        return None
    # A meter of a whole node, or of a module of several accelerators, does not show how many there are.
    if any("accelerators" in kind.covers and not kind.is_accelerator for kind in counted):
        return None
    kinds = [*counted, *map(kind_of, summary.missing)]
    devices = sum(kind.is_accelerator for kind in kinds)
    return devices * summary.window_seconds / SECONDS_PER_HOUR if devices else None


def _refused(summary: Summary, refused: str) -> str:
    """Return the reason for a missing forecast: missing steps or energy come before a short curve."""
    if not summary.steps:
        if summary.status is Status.RUNNING:
            return "No optimizer update was detected yet."
        return "No optimizer update was detected. In a loop without torch.optim, call prof.step(loss=...)."
    if summary.total_joules is None:
        return "Without measured energy there is no curve; `energy-profiler doctor` shows how to measure this machine."
    return refused


def _watts(joules: float | None, seconds: float) -> float | None:
    return joules / seconds if joules is not None and seconds > 0 else None


def energy_of(total: float | None, edge_joules: float, metered: Sequence[Metered]) -> Interval | None:
    """Return a total with its 90 % interval; None without a total.

    Args:
        total: Energy in joules.
        edge_joules: Its standard deviation without the uncertainty of the gains.
        metered: The domains with their energy.
    """
    if total is None:
        return None
    spread = uncertainty.Z_90 * math.sqrt(edge_joules**2 + gain_variance(metered))
    return Interval(low=max(total - spread, 0.0), median=total, high=total + spread)


def cost_of(energy: Interval | None, prices: Prices) -> Cost:
    """Convert an energy with its interval to electricity, carbon and money."""
    return Cost(
        kwh=converted(energy, prices.kwh),
        gco2e=converted(energy, prices.gco2e),
        money=converted(energy, prices.money),
        prices=prices,
    )


def converted(joules: Interval | None, unit: Callable[[float], float | None]) -> Interval | None:
    """Convert joules to another unit; None where either is unknown."""
    if joules is None or unit(1.0) is None:
        return None
    low, median, high = (unit(end) or 0.0 for end in (joules.low, joules.median, joules.high))
    return Interval(low=low, median=median, high=high, level=joules.level)


def gain_variance(metered: Sequence[Metered]) -> float:
    """Return the variance of the total, in square joules, from errors common to the whole run."""
    billed = [m for m in metered if m.domain.billed]
    return uncertainty.gain_variance(
        (m.domain.provenance is Provenance.MODELLED, m.domain.gain_uncertainty * m.joules) for m in billed
    )


def _line(metered: Metered, window: float) -> DomainLine:
    domain = metered.domain
    return DomainLine(
        name=domain.name,
        joules=metered.joules,
        watts=metered.joules / window if window > 0 else 0.0,
        provenance=domain.provenance,
        source=domain.source,
        billed=domain.billed,
        bridged_share=min(metered.bridged_seconds / window, 1.0) if window > 0 else 0.0,
        period_seconds=domain.update_period_seconds,
        gain_share=uncertainty.Z_90 * domain.gain_uncertainty,
        notes=domain.notes,
    )


def _node_meters(lines: Sequence[DomainLine]) -> tuple[NodeMeter, ...]:
    """Compare each meter of the node with its parts; those of several nodes or modules are added up."""
    groups: dict[str, list[DomainLine]] = {}
    for line in lines:
        if kind_of(line.name).is_container:
            groups.setdefault(_NUMBER.sub("", line.name), []).append(line)
    found = []
    for name, group in groups.items():
        is_counted = any(line.billed for line in group)
        inside = [
            line
            for line in lines
            if not kind_of(line.name).is_container
            and (CONTAINED_NOTE in line.notes if is_counted else line.billed)
        ]
        parts = sum(line.joules for line in inside)
        if parts > 0:
            joules = sum(line.joules for line in group)
            found.append(
                NodeMeter(
                    name=name,
                    joules=joules,
                    parts_joules=parts,
                    ratio=joules / parts,
                    parts_are_estimated=any(line.provenance is Provenance.MODELLED for line in inside),
                    billed=is_counted,
                )
            )
    return tuple(found)
