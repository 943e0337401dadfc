"""The report: every number and caveat, decided once for all renderers."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from profiler import uncertainty
from profiler.emissions import Prices
from profiler.records import (
    CONTAINED_NOTE,
    Interval,
    Metered,
    Provenance,
    Status,
    Summary,
    Work,
    kind_of,
)
from profiler.reporting.metric_choice import LOSS
from profiler.reporting.records import (
    Cost,
    Details,
    DomainLine,
    IdleSplit,
    MetricReport,
    NodeMeter,
    Report,
    WorkLine,
)
from profiler.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from profiler.reporting.records import LimitTable, WasteLine

_NUMBER = re.compile(r"(?:-\d+)?(?:@.*)?$")
"""End of a domain's name: the number of a module, and the node of a job of several nodes."""
_MOST_RATIO = 1.05
"""Idle power over the mean power of a run above which the stored idle power is wrong."""


def build(
    summary: Summary,
    metrics: Sequence[MetricReport] = (),
    *,
    note: str = "",
    prices: Prices | None = None,
    examine: Callable[[], Details] | None = None,
    waste: "tuple[WasteLine, ...]" = (),
    power_limits: "LimitTable | None" = None,
    budget_joules: float | None = None,
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
        budget_joules: Energy that the run may use, in joules.
    """
    total, window, steps = summary.total_joules, summary.window_seconds, summary.steps
    modelled = summary.modelled_joules
    energy = energy_of(total, summary.edge_joules, summary.metered)
    first, *others = metrics or (MetricReport(name=LOSS, goal="min", outlook=None, state=None, refused=""),)
    if first.outlook is None:
        has_curve = summary.steps > 0 and total is not None
        state = first.state if has_curve else None
        first = replace(first, state=state, refused=_refused(summary, first.refused))
    domains = tuple(_line(m, window) for m in sorted(summary.metered, key=lambda m: not m.domain.billed))
    return Report(
        summary=summary,
        energy=energy,
        modelled_share=modelled / total if total and modelled is not None else None,
        watts=_watts(total, window),
        training_watts=summary.training_watts,
        step_joules=summary.step_joules / steps if steps and summary.step_joules is not None else None,
        step_seconds=summary.step_seconds / steps if steps else None,
        cost=cost_of(energy, prices or Prices()),
        domains=domains,
        metrics=(first, *others),
        note=note,
        refusals=summary.refusals,
        warnings=summary.warnings,
        examine=examine or Details,
        waste=waste,
        power_limits=power_limits,
        work=tuple(_work(one, energy, summary) for one in summary.work),
        device_hours=_device_hours(summary),
        idle=idle_split(summary.metered, window),
        node_meters=_node_meters(domains),
        budget_joules=budget_joules,
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
    counted = [one.domain for one in summary.metered if one.domain.billed]
    if summary.missing_ranks:
        return None
    # A meter of a whole node, or of a module of several accelerators, does not show how many there are.
    if any("accelerators" in one.kind.covers and not one.kind.is_accelerator for one in counted):
        return None
    devices = sum(one.device_count for one in counted if one.kind.is_accelerator)
    devices += sum(kind_of(name).is_accelerator for name in summary.missing)
    return devices * summary.window_seconds / SECONDS_PER_HOUR if devices else None


def _refused(summary: Summary, refused: str) -> str:
    """Return the reason for a missing forecast: missing steps or energy come before a short curve."""
    if not summary.steps:
        if summary.status is Status.RUNNING:
            return "No optimizer update was detected yet."
        if summary.unrecorded_processes:
            return "The training ran in child processes. Start a profiler inside the function or script that they run."
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


def idle_split(metered: Sequence[Metered], window_seconds: float) -> IdleSplit | None:
    """Split the energy of the counted domains; None if the idle power of none is known."""
    counted = [one for one in metered if one.domain.billed]
    known = [one for one in counted if one.domain.idle_watts is not None]
    if not known or window_seconds <= 0:
        return None
    idle = {one.domain.name: (one.domain.idle_watts or 0.0) * window_seconds for one in known}
    refused = [one for one in known if idle[one.domain.name] > _MOST_RATIO * one.joules]
    used = [one for one in known if one not in refused]
    joules = [(min(idle[one.domain.name], one.joules), one.joules) for one in used]
    return IdleSplit(
        idle_joules=sum(part for part, _ in joules),
        active_joules=sum(whole - part for part, whole in joules),
        domains=tuple(one.domain.name for one in used),
        others=tuple(one.domain.name for one in counted if one not in known),
        refused=tuple(one.domain.name for one in refused),
    )
