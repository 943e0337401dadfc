"""The frozen dataclasses that travel between rooms: data in, data out, no behaviour beyond reading themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Provenance(StrEnum):
    """Where a joule comes from."""

    COUNTER = "counter"
    """Read from an energy counter of the hardware."""
    INTEGRATED = "integrated"
    """Power readings of the hardware, integrated over time."""
    MODELLED = "modelled"
    """Estimated from load and tables, not measured."""
    MISSING = "missing"
    """The device works for the run and nothing measures it."""


class Status(StrEnum):
    """How a run stands or ended."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class Verdict(StrEnum):
    """What a forecast says of a target."""

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
class Domain:
    """Something that draws power.

    Attributes:
        name: ``gpu:0``, ``cpu:package-0``, ``dram:package-0``, ``psys``, ...
        source: The interface and field it is read from, for people.
        provenance: Where its joules come from.
        billed: Whether its joules count in totals. A part of a billed whole, or a whole whose parts are billed, is not.
        parent: The domain that contains it, if one does.
        update_period_seconds: How often the hardware renews its value; None while unknown.
        gain_uncertainty: One relative standard deviation that is common to the whole run (a board's gain, a model's
            error). It does not average away.
        edge_watts: By how much momentary power departs from the counter's mean power; 0 while unknown.
        blur_seconds: One standard deviation of the moments at which values are known to have been renewed.
        buffered_seconds: How far back the source remembers its readings, each with its own time; 0 where it gives the
            present one alone.
        drift_watts: What a sensor that looks only at times misses: one standard deviation over one second, in
            joules; over several it grows with the square root of the time.
        device: A stable identifier of the device (a GPU's UUID), if it has one.
        notes: Sentences a reader must know to trust the number.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading of one domain.

    Attributes:
        domain: The domain's name.
        time_ns: Monotonic time of the reading: the middle between the stamps before and after it.
        energy_joules: A cumulative energy that never decreases while the source is healthy; None where the source
            gives power only. Its zero is arbitrary. Wraps are already resolved.
        power_watts: The power now, or None.
    """

    domain: str
    time_ns: int
    energy_joules: float | None = None
    power_watts: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a source is not used.

    Attributes:
        source: Its name: ``nvml``, ``powercap``, ``modelled``.
        reason: What was found.
        remedy: The command or change that would make it usable; empty when there is none.
    """

    source: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A quantity with its uncertainty: ``low`` and ``high`` bound ``level`` of the probability.

    Either end may be infinite; none is ever NaN.
    """

    low: float
    median: float
    high: float
    level: float = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What reaching a level costs.

    Attributes:
        verdict: The answer in a word.
        low: Lower end of the interval, in joules since the start of the run.
        median: Median, in joules since the start of the run; the first crossing of the smoothed curve when the level
            was reached, infinity when it never is.
        high: Upper end; infinity when "never" has more probability than the interval leaves out.
        p_unreachable: Probability that no finite energy reaches the level.
        certain: Whether the verdict follows from an exact bound and not from the fit.
        energy_ratio: ``median`` over the joules measured so far.
        reason: One sentence for people.
        level: Probability inside the interval.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """What one domain gave in the window.

    Attributes:
        domain: The domain.
        joules: Its energy in the window, in joules.
        bridged_seconds: Time that no reading covers, estimated at the neighbouring power.
    """

    domain: Domain
    joules: float
    bridged_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnergy:
    """What one phase of the training steps took.

    Attributes:
        name: ``data``, ``forward``, ``backward``, ``optimizer``, or ``other`` for what is left of the steps.
        seconds: Its time in all steps; on a GPU the time in which the host launched its work.
        joules: Its energy, inferred from how power goes with the phases' shares of time; None when nothing is metered.
    """

    name: str
    seconds: float
    joules: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run that goes on stands; what is not metered is absent.

    Attributes:
        seconds: Time since the window's start up to which everything that follows is known.
        steps: Training steps.
        step_joules: Energy of those steps, in joules.
        total_joules: All that was billed by then, in joules; None while nothing is.
        modelled_joules: The part of it that was estimated, not measured.
        watts: Power of each billed domain lately.
    """

    seconds: float
    steps: int
    step_joules: float
    total_joules: float | None
    modelled_joules: float
    watts: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run comes to, from memory at its end or from its directory later: the same either way.

    Attributes:
        path: The run directory.
        name: The run's name.
        status: How it stands or ended.
        started_at: Wall-clock time of the window's start, ISO 8601.
        window_seconds: Length of the window that is accounted for.
        metered: Every sampled domain that gave a reading.
        missing: Devices that worked for the run without a meter.
        refusals: Why other sources were not used.
        warnings: What a reader must know.
        steps: Training steps.
        step_joules: Energy of the steps, in joules; None when nothing is metered.
        step_seconds: Time inside the steps.
        training_joules: Energy from the start of the first step to the end of the last, with what lies between them;
            None when nothing is metered.
        training_seconds: Time from the one to the other.
        span_joules: Energy outside the steps.
        modelled_joules: The part of both that was estimated, not measured.
        edge_joules: One standard deviation of the total, without the gains.
        sampler_cpu_seconds: Processor time of the profiler's own thread; None while unknown.
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

    @property
    def total_joules(self) -> float | None:
        """All that was billed, in joules to the microjoule; None when nothing is metered."""
        if self.step_joules is None or self.span_joules is None:
            return None
        return round(self.step_joules + self.span_joules, 6)

    @property
    def training_watts(self) -> float | None:
        """Mean power of the training, without setup and teardown; None without steps or without measured energy."""
        if self.training_joules is None or self.training_seconds <= 0:
            return None
        return self.training_joules / self.training_seconds
