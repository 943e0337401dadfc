"""Billing: which joules a boundary in time has behind it. Pure, in whole microjoules, so that sums are exact."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.recording.timeline import Timeline
from profiler.records import Domain, Provenance
from profiler.units import MICROJOULES_PER_JOULE

CATEGORIES = ("gpu", "cpu", "dram", "other")


def category(domain: str) -> str:
    """The column a domain is billed in: the word before its colon, or ``other``."""
    head = domain.split(":", 1)[0]
    return head if head in CATEGORIES else "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Billed energy from the window's start to a boundary, in whole microjoules; None for a category without a meter.

    Attributes:
        by_category: Aligned with :data:`CATEGORIES`.
        modelled: The part of the total that was estimated, not measured.
        variance: Of the boundary's total, in square joules, without the gains common to the whole run.
    """

    by_category: tuple[int | None, ...]
    modelled: int
    variance: float

    @property
    def total(self) -> int | None:
        """Everything billed; None when nothing is metered."""
        known = [value for value in self.by_category if value is not None]
        return sum(known) if known else None


class Ledger:
    """Reads bills off the timelines of the billed domains.

    A domain's energy counts from the moment at which it joined: the window's start, or later for a device the run
    only begins to use later.
    """

    def __init__(self) -> None:
        self._joined: dict[str, tuple[Domain, Timeline, float]] = {}

    def join(self, domain: Domain, timeline: Timeline, start_ns: int) -> None:
        """Bill ``domain`` from ``start_ns`` on."""
        if domain.name not in self._joined:
            self._joined[domain.name] = (domain, timeline, timeline.joules_at(start_ns))

    @property
    def domains(self) -> tuple[str, ...]:
        """The billed domains."""
        return tuple(self._joined)

    @property
    def timelines(self) -> Sequence[Timeline]:
        """Their timelines."""
        return [timeline for _, timeline, _ in self._joined.values()]

    def bill(self, time_ns: int) -> Bill:
        """The bill at a boundary. Non-decreasing in every part."""
        sums: dict[str, int] = {}
        modelled, variance = 0, 0.0
        for domain, timeline, start in self._joined.values():
            amount = round((timeline.joules_at(time_ns) - start) * MICROJOULES_PER_JOULE)
            column = category(domain.name)
            sums[column] = sums.get(column, 0) + amount
            modelled += amount if domain.provenance is Provenance.MODELLED else 0
            variance += timeline.sigma_at(time_ns) ** 2
        return Bill(by_category=tuple(sums.get(c) for c in CATEGORIES), modelled=modelled, variance=variance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What lies between two bills, in whole microjoules."""

    by_category: tuple[int | None, ...]
    total: int | None
    modelled: int
    cumulative: int | None
    sigma_joules: float | None


def between(start: Bill, end: Bill) -> Share:
    """The difference of two bills; a category that only the later one has counts from zero."""
    pairs = zip(start.by_category, end.by_category, strict=True)
    metered = end.total is not None
    return Share(
        by_category=tuple(None if b is None else b - (a or 0) for a, b in pairs),
        total=None if end.total is None else end.total - (start.total or 0),
        modelled=end.modelled - start.modelled,
        cumulative=end.total,
        sigma_joules=math.sqrt(start.variance + end.variance) if metered else None,
    )


NOTHING_YET = Bill(by_category=(None,) * len(CATEGORIES), modelled=0, variance=0.0)
