"""Clocks of hosts: the start of each process's window on one time axis.

Processes of one host share its monotonic clock, so no offset between them is estimated. The wall clocks of hosts may
disagree. If the hosts trained as one process group, their steps end together, to within the time that one waits for
another in a collective operation: the offset is then the median difference between the ends of common steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiler.merging.discovery import Outline, Record

_FEWEST_STEPS = 10
_LARGEST_SPREAD_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class HostClock:
    """Offset of a host's wall clock from that of the first host.

    Attributes:
        host: The host, as a short hash.
        offset_seconds: Lead of its clock, subtracted from its times.
        uncertainty_seconds: Half the width of the interval that holds 90 % of the differences; None where unknown.
        source: ``reference``, ``steps``, or ``wall clock`` where the offset could not be estimated.
    """

    host: str
    offset_seconds: float
    uncertainty_seconds: float | None
    source: str


def host_clocks(outlines: Sequence[Outline], *, partial: bool = False) -> dict[str, HostClock]:
    """Estimate the offset of each host's clock from the first one's, from the first process of each."""
    firsts: dict[str, Outline] = {}
    for outline in outlines:
        firsts.setdefault(outline.record.host, outline)
    reference = next(iter(firsts.values()))
    return {host: _compared(reference, outline, partial=partial) for host, outline in firsts.items()}


def _compared(reference: Outline, outline: Outline, *, partial: bool) -> HostClock:
    import numpy as np

    host = outline.record.host
    if outline is reference:
        return HostClock(host=host, offset_seconds=0.0, uncertainty_seconds=0.0, source="reference")
    unknown = HostClock(host=host, offset_seconds=0.0, uncertainty_seconds=None, source="wall clock")
    if not (reference.record.meta.get("process_group") and outline.record.meta.get("process_group")):
        return unknown
    _, here, there = np.intersect1d(reference.ends, outline.ends, return_indices=True)
    if len(here) < _FEWEST_STEPS:
        return unknown
    start, other_start = (wall_start(one.record) for one in (reference, outline))
    ends, other_ends = (one.end_seconds(partial=partial) for one in (reference, outline))
    # A collective operation ends at the same moment on both hosts, so what separates its two times is the clocks.
    apart = other_start - start + other_ends[there] - ends[here]
    low, median, high = (float(value) for value in np.percentile(apart, (5, 50, 95)))
    spread = (high - low) / 2
    # Ends so far apart are not those of common operations: the hosts did not wait for each other.
    if spread > _LARGEST_SPREAD_SECONDS:
        return unknown
    return HostClock(host=host, offset_seconds=median, uncertainty_seconds=spread, source="steps")


def wall_start(record: Record) -> float:
    """Return the start of a window by its host's wall clock, in Unix seconds."""
    return float(
        record.meta.get("clock", {}).get("unix_seconds", record.meta.get("started_unix_seconds", 0.0))
    )


def starts(records: Sequence[Record], clocks: Mapping[str, HostClock]) -> list[float]:
    """Return the start of each window, in Unix seconds of the first host's clock."""
    anchors: dict[str, tuple[float, float]] = {}
    found = []
    for record in records:
        # A wall clock may have been set between the starts of two processes; the monotonic clock of their host was not.
        monotonic = record.meta.get("clock", {}).get("monotonic_seconds")
        wall = wall_start(record)
        if monotonic is not None and record.host:
            there, at = anchors.setdefault(record.host, (monotonic, wall))
            wall = at + (monotonic - there)
        clock = clocks.get(record.host)
        found.append(wall - (clock.offset_seconds if clock else 0.0))
    return found
