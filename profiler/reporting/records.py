"""Frozen dataclasses that the builders of reports, the wording and the renderers share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from profiler.emissions import Prices, ReferenceEnergy
from profiler.records import (
    CurveState,
    Forecast,
    Interval,
    PhaseEnergy,
    Provenance,
    Refusal,
    Status,
    Summary,
    Verdict,
)
from profiler.reporting.metric_choice import LOSS

if TYPE_CHECKING:
    from profiler.analysis.breakdown import Part
    from profiler.analysis.device_energy import Piece
    from profiler.analysis.downsample import Band, Power, Series, Stretch
    from profiler.analysis.factors import Factor
    from profiler.analysis.probe import StepCost
    from profiler.analysis.throttling import Throttling
    from profiler.forecasting.allocation import AdviceTest
    from profiler.forecasting.anneal import AnnealOption
    from profiler.forecasting.backtest import Backtest
    from profiler.forecasting.frontier import Milestone
    from profiler.forecasting.frontier import Stretch as CheapestStretch
    from profiler.forecasting.ranking import Ranking
    from profiler.forecasting.size import BestSize


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target and its price.

    Attributes:
        loss: The target, in the unit of the metric.
        change: Its relative distance from the present level; None for a requested one.
        forecast: The answer, in joules since the start.
        more: Joules from now on; None when reached or out of reach.
    """

    loss: float
    change: float | None
    forecast: Forecast
    more: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The price of a target under one future of the learning rate.

    Attributes:
        name: ``planned`` as declared, ``held`` at the present rate, or ``annealed`` to zero at the target.
        target: The target and its price.
    """

    name: str
    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEnd:
    """The end of the planned run.

    Attributes:
        joules: Energy since the start by then, at the recent energy per step.
        loss: The level expected there.
    """

    joules: float
    loss: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best level that the curve reached.

    Attributes:
        level: The smoothed level.
        joules: Joules since the start, where it was reached.
        step: The step; None where it is unknown.
        share_after: Share of the curve's energy that was spent after it.
    """

    level: float
    joules: float
    step: int | None
    share_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The forecast of one metric.

    Attributes:
        metric: Its name.
        goal: ``min`` for a metric that falls, ``max`` for one that rises.
        state: State of the curve. Only an improving or flat curve has prices.
        state_reason: One sentence that states the reason for it.
        first_loss: Level at the start of the curve.
        last_loss: Level now.
        half: Level after half of the curve's energy; None where it is unknown.
        best: The best level; None where it is the present one.
        diverged_step: The last step before all values are not finite; None where they are finite.
        joules: Energy up to the last point of the curve, in joules.
        floor: The level that infinite energy would approach; None without a trend.
        targets: Levels by round reductions of the present one.
        asked: Requested targets.
        ahead: Level after twice the energy; None without a trend.
        perfection: Level after the energy of `yardstick`, extrapolated; None without a trend.
        yardstick: An enormous amount of energy.
        notes: Caveats of the fit.
        backtest: Forecasts for the present that earlier parts of the run would have given.
        scenarios: The price of one target if the learning rate continues as planned, is held, or is annealed;
            empty where the learning rate is not known.
        planned_end: The end of the planned run; None without a plan ahead.
        points: Usable points of the curve.
        rate_ended: True if the learning rate has fallen below 1 % of its peak.
    """

    metric: str
    goal: str
    state: CurveState
    state_reason: str
    first_loss: float
    last_loss: float
    half: float | None
    best: Best | None
    diverged_step: int | None
    joules: float
    floor: Interval | None
    targets: tuple[Target, ...]
    asked: tuple[Target, ...]
    ahead: Interval | None
    perfection: Interval | None
    yardstick: ReferenceEnergy
    notes: tuple[str, ...]
    backtest: "tuple[Backtest, ...]" = ()
    scenarios: tuple[Scenario, ...] = ()
    planned_end: PlannedEnd | None = None
    points: int = 0
    rate_ended: bool = False

    @property
    def has_trend(self) -> bool:
        """True if the curve improves and can be extrapolated."""
        return self.floor is not None

    @property
    def rows(self) -> tuple[Target, ...]:
        """All targets, from the easiest to the hardest; an asked target replaces its equal."""
        every = {row.loss: row for row in (*self.targets, *self.asked)}
        return tuple(every[loss] for loss in sorted(every, reverse=self.goal == "min"))

    @property
    def all_reached(self) -> bool:
        """True if every asked target is reached."""
        return all(row.forecast.verdict is Verdict.REACHED for row in self.asked)

    @property
    def is_guess(self) -> bool:
        """True if most intervals of the backtest missed the present level."""
        return 2 * sum(test.held for test in self.backtest) < len(self.backtest)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """One power limit.

    Attributes:
        limit_watts: The limit of each accelerator, in watts.
        visits: Number of times at which it was enforced.
        steps: Number of steps in them.
        step_joules: Energy per step, with all counted domains.
        step_seconds: Time per step.
        joules: Energy from now to the target under this limit; None without a target within reach.
        seconds: Time to it.
        money: Cost of that energy; None without a price.
    """

    limit_watts: float
    visits: int
    steps: int
    step_joules: Interval
    step_seconds: Interval
    joules: Interval | None
    seconds: float | None
    money: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitTable:
    """The power limits under which a run trained, from the highest.

    Attributes:
        rows: The limits.
        least_joules: Limit of the lowest energy per step, in watts; None if none can be named.
        p_least_joules: Probability that it is the lowest of these limits.
        least_seconds: Limit of the shortest steps, in watts; None if none can be named.
        p_least_seconds: Probability that it is the shortest.
        target: Level whose price the rows state; None without one.
        refused: Reason why no limit is named; empty otherwise.
    """

    rows: tuple[LimitRow, ...]
    least_joules: float | None
    p_least_joules: float | None
    least_seconds: float | None
    p_least_seconds: float | None
    target: float | None
    refused: str

    def row(self, limit_watts: float | None) -> LimitRow | None:
        """Return the row of a limit."""
        return next((row for row in self.rows if row.limit_watts == limit_watts), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WasteLine:
    """Energy of one cause.

    Attributes:
        name: The cause: ``lost_to_restarts``, ``nonfinite``, ``after_best_level``, ``throttled``, ``data_wait``,
            ``evaluation`` or ``idle``.
        joules: The energy in joules. It is an upper bound of the saving.
        share: Its part of the total.
        low: Lower end of its 90 % interval, in joules.
        high: Upper end, in joules.
        remedy: The remedy, with the energy that it may save, as a clause.
        allowed_share: The part of the total that this activity may take, which is not included; None without one.
    """

    name: str
    joules: float
    share: float
    low: float
    high: float
    remedy: str
    allowed_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSplit:
    """Energy of the counted domains whose idle power is known.

    Attributes:
        idle_joules: Idle power times the length of the window, in joules.
        active_joules: The rest of their energy, in joules.
        domains: These domains.
        others: Counted domains of unknown idle power, which are in neither part.
        refused: Domains that used less than their stored idle power, which is therefore wrong; also in neither part.
    """

    idle_joules: float
    active_joules: float
    domains: tuple[str, ...]
    others: tuple[str, ...]
    refused: tuple[str, ...]

    @property
    def idle_share(self) -> float:
        """The idle part of their energy."""
        whole = self.idle_joules + self.active_joules
        return self.idle_joules / whole if whole > 0 else 0.0


class Action(StrEnum):
    """Advised action."""

    GO_ON = "go_on"
    STOP = "stop"
    ANNEAL = "anneal_now"
    TOO_EARLY = "too_early"
    FIX = "fix_divergence"
    CHANGE_METRIC = "change_metric"


class Confidence(StrEnum):
    """Confidence in a forecast: in 90 % of cases, the level is within 2 % of it, within 5 %, or neither."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Tone(StrEnum):
    """Colour of the status."""

    GOOD = "good"
    CAUTION = "caution"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The report in a few sentences.

    Attributes:
        run_status: Status of the run.
        curve_state: State of the headline metric's curve; None without one.
        measured_share: Measured part of the energy; None without energy.
        tone: Colour of the status.
        status: The three of them in words.
        cost: Cost of the run.
        scope: The part of the run that the curve and the advice are about; empty where it is the whole run.
        worth: What the past energy bought, and the price of further progress.
        waste: Energy that bought nothing, by cause, the largest first; without the causes that ``worth`` states.
        action: The advised action; None without one.
        advice: It as sentences.
        confidence: Confidence in the forecast behind the advice; None where it does not depend on one.
        measuring: How to measure more of the energy; empty where almost all of it is measured.
    """

    run_status: Status
    curve_state: CurveState | None
    measured_share: float | None
    tone: Tone
    status: str
    cost: str
    scope: str
    worth: tuple[str, ...]
    waste: tuple[str, ...]
    action: Action | None
    advice: str
    confidence: Confidence | None
    measuring: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PerJoule:
    """Quantities that accompany one more joule of this run.

    Attributes:
        seconds: Its time, at the mean power of the training; None without power.
        kwh: Kilowatt-hours at the building's meter.
        gco2e: Grams of CO2 equivalent; None while the grid is unknown.
        money: In the user's currency; None while the price is unknown.
        work: Amount of each unit of work whose energy is known.
    """

    seconds: float | None
    kwh: float
    gco2e: float | None
    money: float | None
    work: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTable:
    """Columns of equal length, from the first loss of the curve to one that is probably out of reach.

    Joules are totals since the start of the run, in joules; infinite where no finite energy suffices.

    Attributes:
        joules_now: Energy up to the last point of the curve, in joules.
        losses: Targets, each better than the one before it.
        low: Lower end of the 90 % interval of the joules.
        median: Their median.
        high: Their upper end.
        p_unreachable: Probability that no finite energy reaches the target.
        p_within: Probability of reaching it within ten times the present energy; NaN where unknown.
        verdicts: Verdicts of the forecasts.
        per_joule: Quantities that accompany one more joule.
    """

    joules_now: float
    losses: tuple[float, ...]
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]
    p_unreachable: tuple[float, ...]
    p_within: tuple[float, ...]
    verdicts: tuple[Verdict, ...]
    per_joule: PerJoule

    def nearest(self, loss: float) -> int:
        """Return the index of the row whose loss is nearest."""
        return min(range(len(self.losses)), key=lambda row: abs(self.losses[row] - loss))


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

    @property
    def diverged_step(self) -> int | None:
        """The last step with a finite value, where later ones are not finite."""
        return None if self.outlook is None else self.outlook.diverged_step


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
        idle: Split of the energy into idle and active; None without a stored idle power.
        node_meters: The meters of the whole node, beside their parts; empty where there is none or nothing else is
            measured.
        budget_joules: Energy that the run may use, in joules; None without a budget.
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
    idle: IdleSplit | None = None
    node_meters: tuple[NodeMeter, ...] = ()
    budget_joules: float | None = None

    @property
    def is_budget_used(self) -> bool:
        """True if the run has used its energy budget."""
        total = self.summary.total_joules
        return self.budget_joules is not None and total is not None and total >= self.budget_joules

    @property
    def priced_work(self) -> WorkLine | None:
        """The first unit whose energy is known; forecasts are given in it too."""
        return next((line for line in self.work if line.joules_each is not None), None)

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
    def details(self) -> Details:
        """Details that only the page and JSON show."""
        return self.examine()


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveSeries:
    """The smoothed curve of a run: joules since its start, and levels."""

    joules: tuple[float, ...]
    levels: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One run.

    Attributes:
        name: Its name, or its directory's where names repeat.
        path: Its directory.
        joules: Its total energy; None without measured energy.
        last_loss: End of its smoothed curve; None when it is excluded.
        refused: Reason for its exclusion; empty for a compared run.
        status: Status of the run.
        state: State of its curve; None when it is excluded.
        steps: Training steps.
        measured_share: Measured part of the energy; None without energy.
        cost: Its energy as electricity, carbon and money.
        series: Its smoothed curve; None when it is excluded.
    """

    name: str
    path: str
    joules: float | None
    last_loss: float | None
    refused: str
    status: Status = Status.COMPLETED
    state: CurveState | None = None
    steps: int = 0
    measured_share: float | None = None
    cost: Cost | None = None
    series: CurveSeries | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """The best level expected for an amount of energy."""

    joules: float
    loss: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Spread between runs that differ only in their seed.

    Attributes:
        share: Standard deviation of the energy to a level, relative to it; None where it is unknown.
        repeats: Runs from whose repeats it was estimated; 0 where the user gave it.
    """

    share: float | None = None
    repeats: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting that differs between the runs: its name, and its value in each, None where it is not set."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that renderers need. ``run`` and ``cheapest`` are indices of ``runs``; joules count from a run's start.

    Attributes:
        runs: The runs in the order given.
        milestones: Levels, and the energy of each run to reach them.
        cheapest: The parts of the lower envelope, each with its cheapest run.
        ahead: The extrapolated envelope; empty where it is refused.
        floor: The level that it approaches; None where it is refused.
        refused: Reason for the missing extrapolation.
        notes: Caveats of the extrapolation.
        metric: Name of the compared metric.
        goal: ``min`` or ``max``, the direction in which it improves.
        note: One sentence that explains the choice of the metric; empty where it is evident.
        at_energy: The runs ranked at the energy of the shortest; None where two runs cannot be ranked.
        at_level: The runs ranked at a level; None where two runs cannot be ranked.
        spread: Spread between seeds that the probabilities include.
        flags: Signs that the runs are not of one task, as sentences.
        differences: Settings in which the runs differ.
        frontier: The measured part of the lower envelope.
        why: Factors of the energy to one level, where requested: the product first.
        why_level: That level.
        why_runs: The two runs; ratios are the second over the first.
        why_joules: The energy of both to the level.
        why_refused: Reason for missing factors.
    """

    runs: tuple[Line, ...]
    milestones: "tuple[Milestone, ...]"
    cheapest: "tuple[CheapestStretch, ...]"
    ahead: tuple[Ahead, ...]
    floor: Interval | None
    refused: str
    notes: tuple[str, ...]
    metric: str = LOSS
    goal: str = "min"
    note: str = ""
    at_energy: "Ranking | None" = None
    at_level: "Ranking | None" = None
    spread: Spread = Spread()
    flags: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    frontier: CurveSeries | None = None
    why: "tuple[Factor, ...]" = ()
    why_level: float | None = None
    why_runs: tuple[int, int] | None = None
    why_joules: tuple[float, float] | None = None
    why_refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceThere:
    """The price of one target on the other hardware, from the first step on.

    Attributes:
        loss: The target.
        verdict: Verdict on it, which does not depend on the hardware.
        steps: Steps to it; None where it is out of reach or unknown, as all further attributes.
        joules: Energy there.
        seconds: Time there.
        money: Money there; None also where the price is unknown.
        joules_here: Energy on the old hardware.
    """

    loss: float
    verdict: Verdict
    steps: Interval | None
    joules: Interval | None
    seconds: Interval | None
    money: Interval | None
    joules_here: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """The price of a training on the hardware of a probe.

    Attributes:
        run: Name of the run.
        probe: Name of the probe.
        metric: The metric of the targets.
        here: Cost of a step of the run.
        there: Cost of a step of the probe.
        joules_ratio: Energy of a step there over here; 90 % interval.
        seconds_ratio: Time of a step there over here.
        outside_joules: Energy of the run between its steps, as a share of that in steps; assumed there as well.
        outside_seconds: Likewise of the time.
        targets: Prices from the first step on.
        refused: Reason for missing targets; empty otherwise.
        unchecked: Facts that were not recorded, so that nothing shows that both do the same work.
        prices: Prices of a kilowatt-hour there.
    """

    run: str
    probe: str
    metric: str
    here: "StepCost"
    there: "StepCost"
    joules_ratio: Interval
    seconds_ratio: Interval
    outside_joules: float
    outside_seconds: float
    targets: tuple[PriceThere, ...]
    refused: str
    unchecked: tuple[str, ...]
    prices: Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationLine:
    """The advice on one run.

    Attributes:
        run: Its name, or its directory's where names repeat.
        path: Its directory.
        status: Status of the run.
        joules: Energy that it used; None where nothing was measured.
        level_now: Level now; None without a curve.
        level: Level expected at the budget; 90 % interval, None without a forecast.
        p_best: Probability that it is the best run at the budget; None where its curve is too short for a forecast.
        stop: True if it should not get more energy.
        joules_saved: Energy that this saves, up to the budget.
        reason: Reason for a missing forecast, or that the schedule has ended; empty otherwise.
        is_finished: True if the schedule of its learning rate has ended.
    """

    run: str
    path: str
    status: Status
    joules: float | None
    level_now: float | None
    level: Interval | None
    p_best: float | None
    stop: bool
    joules_saved: float
    reason: str
    is_finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Advice on a sweep, in the order of decreasing chances.

    Attributes:
        metric: The metric of all runs.
        goal: ``min`` or ``max``, its direction.
        budget_joules: Energy per run at which the runs are compared.
        runs: The runs.
        joules_saved: Energy that the advice saves.
        backtest: The advice that earlier parts of the sweep would have given.
        beyond: Runs whose forecast reaches beyond ten times their energy, where it is not tested.
    """

    metric: str
    goal: str
    budget_joules: float
    runs: tuple[AllocationLine, ...]
    joules_saved: float
    backtest: "tuple[AdviceTest, ...]"
    beyond: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeReport:
    """The best size for each budget.

    Attributes:
        metric: The metric.
        unit: Unit of the work: ``tokens`` or another one that all runs recorded, else ``steps``.
        runs: Runs that were used.
        sizes: Different sizes among them; the best run of each is used.
        smallest: The smallest number of parameters.
        largest: The largest one.
        exponents: Exponents of the loss in parameters and in work.
        cost_exponent: Exponent of the energy of a unit of work in parameters.
        error: Standard deviation of the log loss of a run around the fit.
        best: The best size for each budget.
        excluded: Runs that were not used, with the reason.
        annealed: Used runs whose learning rate fell to half of its peak or less.
    """

    metric: str
    unit: str
    runs: int
    sizes: int
    smallest: float
    largest: float
    exponents: tuple[float, float]
    cost_exponent: float
    error: float
    best: "tuple[BestSize, ...]"
    excluded: tuple[str, ...]
    annealed: int = 0
