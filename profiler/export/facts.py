"""Facts of the runs of one model, added up for the forms that describe it. Unknown values are None or empty."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from profiler import uncertainty
from profiler.analysis.breakdown import parts_of
from profiler.emissions import Prices, read_prices
from profiler.errors import UsageError
from profiler.merging.resume import resumed_directory
from profiler.records import Interval, Metered, Provenance, Status, kind_of
from profiler.reporting.model import build
from profiler.reporting.records import Report
from profiler.storage.run_file import read_run_file
from profiler.storage.schema import CONFIG, HARDWARE, RESUMED

if TYPE_CHECKING:
    from profiler.run import Run
    from profiler.storage.reader import StoredRun

TOKENS = "tokens"
STAGES = ("pre-training", "fine-tuning")
"""Values of the setting ``training_type`` that forms distinguish."""
_FLOPS_PER_PARAMETER_AND_TOKEN = 6.0
_EVALUATION = "evaluation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A way in which part of the energy was obtained.

    Attributes:
        text: Interface and field that was read.
        provenance: Origin of the values.
        domains: The domains, in order.
        share: Their part of the total.
    """

    text: str
    provenance: Provenance
    domains: tuple[str, ...]
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Energy, time, hardware and work of one or several runs.

    Attributes:
        names: Names of the runs, each once.
        keys: Names of their directories.
        statuses: Their statuses, each once.
        began: Start of the first run.
        ended: End of the last run.
        joules: Sum of their energies, in joules; None if that of one is unknown.
        kwh: Kilowatt-hours at the building's meter.
        gco2e: Grams of CO2 equivalent; None if the carbon intensity of one is unknown.
        validation_share: Part of the energy used in evaluations.
        measured_share: Measured part of the energy.
        prices: The prices behind ``kwh`` and ``gco2e``, each once.
        sources: Origin of the energy, by decreasing share.
        bridged_seconds: Longest time without readings of a counted domain, added up over the runs.
        missing: Devices that were used and that no sensor covers.
        is_incomplete: Whether energy of such devices, or of ranks without a record, is missing.
        window_seconds: Sum of the durations.
        accelerators: Number of accelerators by model.
        accelerator_seconds: Sum over the runs of duration times accelerators; None if their number is unknown.
        processors: Number of processor packages by model.
        memory_bytes: Memory of the host; None if unknown or different.
        parameters: Parameters that were trained; None if unknown or different.
        work: Totals of the units of work, of those that every run counted.
        config: Settings that are the same in every run.
        versions: Versions of packages that are the same in every run.
        caveats: Sentences that restrict the numbers.
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]
    statuses: tuple[Status, ...]
    began: datetime | None
    ended: datetime | None
    joules: Interval | None
    kwh: Interval | None
    gco2e: Interval | None
    validation_share: float
    measured_share: float | None
    prices: tuple[Prices, ...]
    sources: tuple[Source, ...]
    bridged_seconds: float
    missing: tuple[str, ...]
    is_incomplete: bool
    window_seconds: float
    accelerators: Mapping[str, int]
    accelerator_seconds: float | None
    processors: Mapping[str, int]
    memory_bytes: float | None
    parameters: int | None
    work: Mapping[str, float]
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    caveats: tuple[str, ...]

    @property
    def name(self) -> str:
        """Names of the runs as one text."""
        return ", ".join(self.names)

    @property
    def stage(self) -> str | None:
        """``pre-training`` or ``fine-tuning``, where the settings state it."""
        stage = self.config.get("training_type")
        return stage if stage in STAGES else None

    @property
    def country(self) -> str:
        """The country whose electricity was used, as given; empty if unknown or different."""
        places = {prices.country for prices in self.prices}
        return places.pop() if len(places) == 1 else ""

    @property
    def uuid(self) -> UUID:
        """Identifier of these runs: the same runs have the same one."""
        return uuid5(NAMESPACE_URL, f"{self.began} {' '.join(self.keys)}")

    @property
    def flops(self) -> float | None:
        """Floating-point operations, estimated as 6 x parameters x tokens; None if either is unknown."""
        tokens = self.work.get(TOKENS)
        if self.parameters is None or tokens is None:
            return None
        return _FLOPS_PER_PARAMETER_AND_TOKEN * self.parameters * tokens


@dataclass(frozen=True, slots=True)
class _Part:
    """One run, and its report without a forecast."""

    run: "StoredRun"
    report: Report

    @property
    def began(self) -> datetime | None:
        try:
            found = datetime.fromisoformat(self.report.summary.started_at)
        except ValueError:
            return None
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)

    @property
    def ended(self) -> datetime | None:
        try:
            return self.began and self.began + timedelta(seconds=self.report.summary.window_seconds)
        except OverflowError:
            return None

    @property
    def counted(self) -> list[Metered]:
        return [one for one in self.report.summary.metered if one.domain.billed]


def facts_of(runs: "Sequence[Run]") -> Facts:
    """Add up the runs of one model.

    The error of a sensor's gain is common to all runs that it measured, so it adds up linearly. Other errors of
    different runs are independent.

    Raises:
        UsageError: No run is given, one is given twice, or one contains another that it resumed.
    """
    _check_distinct(runs)
    parts = [_Part(run, build(run.summary(), prices=read_prices(run.meta))) for run in runs]
    joules = _sum(parts, [part.report.energy for part in parts])
    starts = [part.began for part in parts if part.began is not None]
    ends = [part.ended for part in parts if part.ended is not None]
    reports = [part.report for part in parts]
    return Facts(
        names=_unique(report.summary.name for report in reports),
        keys=tuple(run.path.resolve().name for run in runs),
        statuses=_unique(report.summary.status for report in reports),
        began=min(starts, default=None), ended=max(ends, default=None),
        joules=joules, kwh=_sum(parts, [report.cost.kwh for report in reports]),
        gco2e=_sum(parts, [report.cost.gco2e for report in reports]),
        validation_share=_validation_share(parts, joules), measured_share=_measured_share(parts, joules),
        prices=_unique(report.cost.prices for report in reports),
        sources=_sources(parts), bridged_seconds=sum(_bridged(part) for part in parts),
        missing=tuple(sorted({name for report in reports for name in report.summary.missing})),
        is_incomplete=any(report.summary.is_incomplete for report in reports),
        window_seconds=sum(report.summary.window_seconds for report in reports),
        accelerators=_largest(_accelerators(part) or {} for part in parts),
        accelerator_seconds=_accelerator_seconds(parts),
        processors=_largest(_processors(part) for part in parts),
        memory_bytes=_same([_hardware(run).get("memory_bytes") for run in runs]),
        parameters=_same([report.summary.parameters for report in reports]),
        work=_work_totals(reports), config=_common([run.meta.get(CONFIG) or {} for run in runs]),
        versions=_common([run.meta.get("versions") or {} for run in runs]), caveats=tuple(_caveats(parts)),
    )  # fmt: skip


def _check_distinct(runs: "Sequence[Run]") -> None:
    if not runs:
        raise UsageError("no run is given.")
    places = [run.path.resolve() for run in runs]
    for index, (run, place) in enumerate(zip(runs, places, strict=True)):
        if place in places[:index]:
            raise UsageError(f"{run.path} is given twice; its energy would be added twice.")
        for earlier in _resumed(run):
            if earlier in places:
                raise UsageError(
                    f"{run.path} resumed {earlier.name} and contains its energy; leave out {earlier.name}."
                )


def _resumed(run: "StoredRun") -> list[Path]:
    """Return the directories of the runs whose energy a run contains."""
    from profiler.storage.reader import StoredRun

    found: list[Path] = []
    while run.meta.get(RESUMED):
        place = resumed_directory(run)
        if place is None or place.resolve() in found:
            break
        found.append(place.resolve())
        run = StoredRun(place, read_run_file(place))
    return found


def _sum(parts: Sequence[_Part], amounts: Sequence[Interval | None]) -> Interval | None:
    """Add up one amount per run, each in proportion to its joules; None if one is unknown."""
    total, edges, gains = 0.0, 0.0, defaultdict[tuple[bool, str], float](float)
    for part, found in zip(parts, amounts, strict=True):
        energy = part.report.energy
        if energy is None or found is None:
            return None
        factor = found.median / energy.median if energy.median else 0.0
        total += found.median
        edges += (factor * part.report.summary.edge_joules) ** 2
        for one in part.counted:
            domain = one.domain
            sensor = domain.device or f"{domain.name} {domain.source}"
            error = factor * domain.gain_uncertainty * one.joules
            gains[domain.provenance is Provenance.MODELLED, sensor] += error
    errors = ((is_estimated, error) for (is_estimated, _), error in gains.items())
    spread = uncertainty.Z_90 * math.sqrt(edges + uncertainty.gain_variance(errors))
    return Interval(low=max(total - spread, 0.0), median=total, high=total + spread)


def _validation_share(parts: Sequence[_Part], joules: Interval | None) -> float:
    if joules is None or not joules.median:
        return 0.0
    found = (part for one in parts for part in parts_of(one.run.steps, one.run.spans, one.run.unrecorded))
    used = sum(part.joules or 0.0 for part in found if part.name == _EVALUATION and not part.in_steps)
    return min(used / joules.median, 1.0)


def _measured_share(parts: Sequence[_Part], joules: Interval | None) -> float | None:
    estimated = [part.report.summary.modelled_joules for part in parts]
    if joules is None or not joules.median or None in estimated:
        return None
    return max(1.0 - sum(one or 0.0 for one in estimated) / joules.median, 0.0)


def _sources(parts: Sequence[_Part]) -> tuple[Source, ...]:
    found = defaultdict[tuple[str, Provenance], list[Metered]](list)
    for part in parts:
        for one in part.counted:
            found[one.domain.source, one.domain.provenance].append(one)
    total = sum(one.joules for group in found.values() for one in group)
    made = [
        Source(
            text=text,
            provenance=provenance,
            domains=_unique(one.domain.name for one in group),
            share=sum(one.joules for one in group) / total if total > 0 else 0.0,
        )
        for (text, provenance), group in found.items()
    ]
    return tuple(sorted(made, key=lambda source: -source.share))


def _bridged(part: _Part) -> float:
    return max((one.bridged_seconds for one in part.counted), default=0.0)


def _hardware(run: "StoredRun") -> Mapping[str, Any]:
    return run.meta.get(HARDWARE) or {}


def _accelerators(part: _Part) -> Mapping[str, int] | None:
    """Return the number of accelerators that a run used; None if its meters do not show it."""
    counted = [one.domain for one in part.counted]
    used = [domain for domain in counted if domain.kind.is_accelerator]
    unmetered = [name for name in part.report.summary.missing if kind_of(name).is_accelerator]
    includes_unknown = any(
        "accelerators" in domain.kind.covers and not domain.kind.is_accelerator for domain in counted
    )
    if includes_unknown or not counted:
        return None
    return _counted(
        [
            *(
                _board(part.run, domain.name, domain.source)
                for domain in used
                for _ in range(domain.device_count)
            ),
            *(_board(part.run, name, "") for name in unmetered),
        ]
    )


def _board(run: "StoredRun", domain: str, source: str) -> str:
    """Return the model of a board: as recorded, as its source names it in parentheses, or else its kind."""
    boards = _hardware(run).get("boards") or {}
    if isinstance(boards, Mapping) and isinstance(boards.get(domain), str):
        return str(boards[domain])
    model = source.removesuffix(")").partition(" (")[2]
    return model or kind_of(domain).name.upper()


def _processors(part: _Part) -> Mapping[str, int]:
    processor = _hardware(part.run).get("processor")
    packages = sum(one.domain.device_count for one in part.counted if one.domain.kind.name == "cpu")
    return _counted([processor if isinstance(processor, str) else "processor package"] * packages)


def _counted(names: Iterable[str]) -> dict[str, int]:
    found = defaultdict[str, int](int)
    for name in names:
        found[name] += 1
    return dict(found)


def _largest(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            found[name] = max(found.get(name, 0), count)
    return found


def _accelerator_seconds(parts: Sequence[_Part]) -> float | None:
    total = 0.0
    for part in parts:
        counts = _accelerators(part)
        if counts is None:
            return None
        total += part.report.summary.window_seconds * sum(counts.values())
    return total


def _work_totals(reports: Sequence[Report]) -> dict[str, float]:
    """Add up the units of work that every run counted."""
    totals = [
        {one.unit: one.total for one in report.summary.work if one.total is not None} for report in reports
    ]
    shared = [unit for unit in totals[0] if all(unit in one for one in totals)]
    return {unit: sum(one[unit] for one in totals) for unit in shared}


def _unique(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


def _same(values: Sequence[Any]) -> Any:
    """Return the value that all have in common; None otherwise."""
    return values[0] if all(value == values[0] for value in values) else None


def _common(sections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = sections
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}


def _caveats(parts: Sequence[_Part]) -> Iterable[str]:
    for part in parts:
        status = part.report.summary.status
        if status is not Status.COMPLETED:
            yield f"Run {part.report.summary.name} is {status.value}; its energy is that of the part recorded."
    missing = sorted({name for part in parts for name in part.report.summary.missing})
    if missing:
        yield f"The total is incomplete: no sensor covers {', '.join(missing)}."
    ranks = sum(part.report.summary.missing_ranks for part in parts)
    if ranks:
        yield f"The total is incomplete: {ranks:,} ranks of the process group were not recorded."
    yield from _overlaps(parts)


def _overlaps(parts: Sequence[_Part]) -> Iterable[str]:
    """Yield the runs that shared devices at the same time, of which each run counts the whole energy."""
    for index, one in enumerate(parts):
        for other in parts[:index]:
            shared = _shared(one, other)
            if shared and _overlap(one, other):
                names = f"{other.report.summary.name} and {one.report.summary.name}"
                yield (
                    f"Runs {names} ran at the same time on one host: the energy of {', '.join(shared)} is in both, so "
                    "the sum is too high."
                )


def _overlap(one: _Part, other: _Part) -> bool:
    if one.began is None or one.ended is None or other.began is None or other.ended is None:
        return False
    return max(one.began, other.began) < min(one.ended, other.ended)


def _shared(one: _Part, other: _Part) -> list[str]:
    if not one.run.meta.get("host") or one.run.meta.get("host") != other.run.meta.get("host"):
        return []
    theirs = {(found.domain.name, found.domain.device) for found in other.counted}
    return [name.name for name in (f.domain for f in one.counted) if (name.name, name.device) in theirs]
