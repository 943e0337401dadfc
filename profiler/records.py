"""Frozen dataclasses that the packages exchange."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any, Literal

from profiler.errors import UsageError
from profiler.units import format_joules, format_seconds, significant

_LARGEST_RATIO = 10.0

CountRule = Literal["parts", "node"]
"""Which domains make up the total: the parts of the node, or the meter of the whole node."""
CONTAINED_NOTE = "Contained in the meter of the node, which is counted."
"""Note of a part that would be counted if the total were the sum of the parts."""


class Provenance(StrEnum):
    """Origin of an energy value."""

    COUNTER = "counter"
    """Read from an energy counter of the hardware."""
    INTEGRATED = "integrated"
    """Integrated from power readings of the hardware."""
    MODELLED = "modelled"
    """Estimated from load and tables, not measured."""
    MISSING = "missing"
    """The run uses the device and no sensor covers it."""

    @property
    def words(self) -> str:
        """The provenance in words for people."""
        return {"integrated": "integrated power", "modelled": "estimated"}.get(self.value, self.value)


class Status(StrEnum):
    """State of a run."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class Verdict(StrEnum):
    """Answer of a forecast for a target."""

    REACHED = "reached"
    REACHABLE = "reachable"
    BEYOND_HORIZON = "beyond_horizon"
    UNDETERMINED = "undetermined"
    UNREACHABLE = "unreachable"


class CurveState(StrEnum):
    """State of a metric's curve, decided before any forecast. The first that applies holds, in this order."""

    NOT_A_PROGRESS_MEASURE = "not_a_progress_measure"
    """Values of mixed sign, or losses of optimizers that take turns: lower is not better."""
    TOO_EARLY = "too_early"
    """Too few points, or too short a span of energy, to support a forecast."""
    DIVERGED = "diverged"
    """The tail is not finite, or far above the lowest level."""
    RISING = "rising"
    """The level rises beyond its noise at the end."""
    FLAT = "flat"
    """The level has stopped falling: progress above 1 % is excluded up to ten times the energy."""
    IMPROVING = "improving"
    """The level falls; the forecast applies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainKind:
    """Kind of a domain: the prefix of its name, and what follows from it.

    Attributes:
        name: The prefix: ``gpu`` in ``gpu:0``.
        category: The column ``<category>_joules`` of ``steps.csv`` that its energy is added to.
        torch_type: The ``type`` of the torch devices it measures; None if it is not an accelerator.
        covers: The parts of a node that one domain of this kind measures completely: ``cpu``, ``accelerators``.
    """

    name: str
    category: str = "other"
    torch_type: str | None = None
    covers: frozenset[str] = frozenset()

    @property
    def is_accelerator(self) -> bool:
        """True if a process uses individual devices of this kind; False if all processes of a node share it."""
        return self.torch_type is not None

    @property
    def is_container(self) -> bool:
        """True for a meter of the whole node, or of a module of it, which contains the other domains."""
        return self.name == "node"

    @property
    def measures_accelerators_only(self) -> bool:
        """True for an accelerator and for a module of several accelerators."""
        return self.is_accelerator or self.covers == {"accelerators"}


DOMAIN_KINDS = {
    kind.name: kind
    for kind in (
        DomainKind(name="gpu", category="gpu", torch_type="cuda"),
        DomainKind(name="xpu", category="gpu", torch_type="xpu"),
        DomainKind(name="mps", category="gpu", torch_type="mps"),
        DomainKind(name="npu", torch_type="npu"),
        DomainKind(name="cpu", category="cpu", covers=frozenset({"cpu"})),
        DomainKind(name="dram", category="dram"),
        DomainKind(name="psys", covers=frozenset({"cpu"})),
        DomainKind(name="accel", category="gpu", covers=frozenset({"accelerators"})),
        DomainKind(name="rail", covers=frozenset({"cpu", "accelerators"})),
        DomainKind(name="node", covers=frozenset({"cpu", "accelerators"})),
    )
}
"""Kinds with a category or a torch device type of their own. A new accelerator is one row."""


def kind_of(domain: str) -> DomainKind:
    """Return the kind of the domain with this name."""
    prefix = domain.partition(":")[0].partition("@")[0]
    return DOMAIN_KINDS.get(prefix) or DomainKind(name=prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A device, or a part of one, whose energy is recorded separately.

    Attributes:
        name: ``gpu:0``, ``cpu:package-0``, ``dram:package-0``, ``psys``, ...
        source: The interface and field that is read, for people.
        provenance: Origin of its energy.
        billed: True if its energy is counted in totals. A part of a counted domain is not counted, nor is a domain
            whose parts are.
        parent: Name of the domain that contains it, if any.
        update_period_seconds: Update interval of the hardware's value; None if unknown.
        gain_uncertainty: Relative standard deviation common to the whole run (gain of a board, error of a model). It
            does not average out.
        edge_watts: Standard deviation of momentary power around the counter's mean power; 0 if unknown.
        blur_seconds: Standard deviation of the times at which the counter's updates were observed.
        buffered_seconds: Time span of the past readings that the source buffers, each with its own time stamp; 0 if it
            returns only the present reading.
        drift_watts: Standard deviation, in joules over one second, of the energy that a power sensor misses between
            readings; it grows with the square root of time.
        device: Stable identifier of the device (UUID of a GPU), if any.
        notes: Sentences that qualify the domain's energy, for people.
        idle_watts: Its power while the machine is idle; None if it was not measured on this hardware.
        device_count: Number of devices; more than one where those of a large job are added up.
    """

    name: str
    source: str
    provenance: Provenance
    billed: bool = True
    parent: str | None = None
    update_period_seconds: float | None = None
    gain_uncertainty: float = 0.0
    edge_watts: float = 0.0
    blur_seconds: float = 0.0
    buffered_seconds: float = 0.0
    drift_watts: float = 0.0
    device: str | None = None
    notes: tuple[str, ...] = ()
    idle_watts: float | None = None
    device_count: int = 1

    @property
    def kind(self) -> DomainKind:
        """Kind of the device, from the prefix of the name."""
        return kind_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardState:
    """State of an accelerator besides its energy; what is not supported is None.

    Attributes:
        limit_watts: Enforced power limit, in watts.
        sm_mhz: Clock of the processors, in megahertz.
        throttle: Reasons for a reduced clock, separated by ``|``; ``none`` without any.
        throttled_seconds: Cumulative time at a reduced clock by cause (``power``, ``thermal``), with an arbitrary
            zero.
    """

    limit_watts: float | None = None
    sm_mhz: float | None = None
    throttle: str | None = None
    throttled_seconds: Mapping[str, float] = field(default_factory=dict)


NO_STATE = BoardState()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading of one domain.

    Attributes:
        domain: The domain's name.
        time_ns: Monotonic time in nanoseconds, midway between the clock readings before and after the call.
        energy_joules: Cumulative energy with an arbitrary zero, with wraparounds resolved. It never decreases while the
            source is healthy. None if the source reports power only.
        power_watts: Present power, or None.
        state: State of the device, at most once per second; None in the readings between.
    """

    domain: str
    time_ns: int
    energy_joules: float | None = None
    power_watts: float | None = None
    state: BoardState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Explanation of a source that is not used.

    Attributes:
        source: Name of the source: ``nvml``, ``powercap``, ``modelled``.
        reason: The cause.
        remedy: The command or change that would make it usable; empty if there is none.
    """

    source: str
    reason: str
    remedy: str = ""


def _in_words(low: float, median: float, high: float) -> str:
    """Format joules with their interval; an end that is infinite is not named."""
    if not math.isfinite(median):
        return f"at least {format_joules(low)}" if math.isfinite(low) else "no amount"
    upper = f"{format_joules(low)} to {format_joules(high)}"
    return f"{format_joules(median)} ({upper if math.isfinite(high) else f'at least {format_joules(low)}'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A quantity with its credible interval, which contains a probability of ``level``.

    Either end may be infinite; neither is NaN.
    """

    low: float
    median: float
    high: float
    level: float = 0.9

    def _repr_pretty_(self, printer: Any, _: object) -> None:
        ends = [significant(end, 3) for end in (self.low, self.median, self.high)]
        printer.text(f"{ends[1]} ({ends[0]} to {ends[2]}, {100 * self.level:g} %)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Energy needed to reach a target level.

    Attributes:
        verdict: Category of the answer.
        low: Lower end of the interval, in joules since the start of the run.
        median: Median, in joules since the start of the run. The first crossing of the smoothed curve if the level was
            reached; infinite if it is out of reach.
        high: Upper end, in joules since the start of the run; infinite if the probability of never reaching the level
            exceeds that of the upper tail.
        p_unreachable: Probability that no finite energy reaches the level.
        certain: True if the verdict follows from an exact bound and not from the fit.
        energy_ratio: ``median`` divided by the energy measured so far.
        reason: One sentence for people.
        level: Probability inside the interval.
        reach: Probabilities of reaching the level within multiples of the present energy: pairs ``(ratio, p)`` with
            increasing ratios, both since the first step; empty if unknown.
    """

    verdict: Verdict
    low: float
    median: float
    high: float
    p_unreachable: float
    certain: bool
    energy_ratio: float
    reason: str
    level: float = 0.9
    reach: tuple[tuple[float, float], ...] = ()

    def _repr_pretty_(self, printer: Any, _: object) -> None:
        amount = _in_words(self.low, self.median, self.high)
        chance = f"{significant(100 * self.p_unreachable, 2)} %"
        printer.text(f"{self.verdict}: {amount} since the start, out of reach {chance}")

    def p_within(self, ratio: float) -> float:
        """Return the probability of reaching the level within a multiple of the present energy.

        It is interpolated in the logarithm of the ratio, and NaN where the state of the curve supports no forecast.

        Args:
            ratio: Energy over the present energy, both since the first step; from 1 to 10.

        Raises:
            UsageError: The ratio is outside 1 to 10.
        """
        if not 1.0 <= ratio <= _LARGEST_RATIO:
            raise UsageError(f"ratio must lie between 1 and {_LARGEST_RATIO:g}, not {ratio!r}.")
        if self.verdict is Verdict.REACHED:
            return 1.0
        if self.certain:
            return 0.0
        for (low, p_low), (high, p_high) in pairwise(self.reach):
            if ratio <= high:
                part = math.log(ratio / low) / math.log(high / low)
                return p_low + part * (p_high - p_low)
        return math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """Energy of one domain in the recorded window.

    Attributes:
        domain: The domain.
        joules: Energy in joules.
        bridged_seconds: Time without readings, for which the energy is estimated from the power before and after.
    """

    domain: Domain
    joules: float
    bridged_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnergy:
    """Time and estimated energy of one phase, summed over the training steps.

    Attributes:
        name: ``data``, ``forward``, ``backward``, ``optimizer``, or ``other`` for the rest of the steps.
        seconds: Time in all steps; on a GPU, the time in which the host launched the work.
        joules: Energy estimated from how power varies with each phase's share of the time; None without a sensor.
    """

    name: str
    seconds: float
    joules: Interval | None

    def _repr_pretty_(self, printer: Any, _: object) -> None:
        joules = self.joules
        energy = "not measured" if joules is None else _in_words(joules.low, joules.median, joules.high)
        printer.text(f"{self.name}: {energy} in {format_seconds(self.seconds)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a running recording. Domains without a sensor are absent.

    Attributes:
        seconds: Time since the window's start at which the other values hold.
        steps: Number of training steps.
        step_joules: Energy of those steps, in joules.
        total_joules: Energy of all counted domains, in joules; None without any.
        modelled_joules: The estimated part of the total, in joules.
        watts: Recent power of each counted domain, in watts.
        domain_joules: Energy of each counted domain, in joules.
        alternating_steps: Number of steps in which several optimizers had losses of their own.
        libraries: Libraries of reinforcement learning whose environments were stepped between updates.
        convolutional: Whether convolutions over images or spectrograms are trained.
    """

    seconds: float
    steps: int
    step_joules: float
    total_joules: float | None
    modelled_joules: float
    watts: Mapping[str, float]
    domain_joules: Mapping[str, float] = field(default_factory=dict)
    alternating_steps: int = 0
    libraries: tuple[str, ...] = ()
    convolutional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Total of one unit of work of a run.

    Attributes:
        unit: Its name, such as ``tokens``.
        total: Amount over the whole run; None if unknown.
        reason: Reason why it is unknown; empty where it is known.
    """

    unit: str
    total: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Totals of a run. They are the same whether taken from memory at the end of a run or read from its directory.

    Attributes:
        path: The run directory.
        name: Name of the run.
        status: State of the run.
        started_at: Wall-clock time of the window's start, ISO 8601.
        window_seconds: Length of the recorded window.
        metered: Every sampled domain with at least one reading.
        missing: Devices that the run used and no sensor covers.
        refusals: Sources that are not used, with reasons.
        warnings: Problems that affect the numbers.
        steps: Number of training steps.
        step_joules: Energy of the steps, in joules; None without a sensor.
        step_seconds: Time inside the steps.
        training_joules: Energy from the start of the first step to the end of the last, including the time between
            steps, in joules; None without a sensor.
        training_seconds: Time from the start of the first step to the end of the last.
        span_joules: Energy outside the steps, in joules; None without a sensor.
        modelled_joules: The estimated part of ``step_joules`` and ``span_joules``, in joules.
        edge_joules: Standard deviation of the total without the uncertainty of the gains, in joules.
        sampler_cpu_seconds: Processor time of the profiler's own thread; None if unknown.
        missing_ranks: Number of ranks of the process group that have no record here.
        libraries: Libraries of reinforcement learning whose environments were stepped between updates.
        convolutional: Whether convolutions over images or spectrograms are trained.
        work: Units of work, such as tokens.
        parameters: Number of trained parameters; None if unknown.
        alternating_steps: Number of steps in which several optimizers had losses of their own.
        unrecorded_processes: Number of child processes that trained and whose steps are in no row.
        trainings: Number of trainings in the process, such as the folds of a cross-validation.
    """

    path: str
    name: str
    status: Status
    started_at: str
    window_seconds: float
    metered: tuple[Metered, ...]
    missing: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    warnings: tuple[str, ...]
    steps: int
    step_joules: float | None
    step_seconds: float
    training_joules: float | None
    training_seconds: float
    span_joules: float | None
    modelled_joules: float | None
    edge_joules: float
    sampler_cpu_seconds: float | None = None
    missing_ranks: int = 0
    libraries: tuple[str, ...] = ()
    convolutional: bool = False
    work: tuple[Work, ...] = ()
    parameters: int | None = None
    alternating_steps: int = 0
    unrecorded_processes: int = 0
    trainings: int = 1

    @property
    def is_incomplete(self) -> bool:
        """True if energy of the run is missing: of a device without a sensor, or of a rank without a record."""
        return bool(self.missing or self.missing_ranks)

    @property
    def total_joules(self) -> float | None:
        """Counted energy in joules, rounded to a microjoule; None without a sensor."""
        if self.step_joules is None or self.span_joules is None:
            return None
        return round(self.step_joules + self.span_joules, 6)

    @property
    def training_watts(self) -> float | None:
        """Mean power from the first step to the last, in watts; None without steps or without a sensor."""
        if self.training_joules is None or self.training_seconds <= 0:
            return None
        return self.training_joules / self.training_seconds
