"""Counted energy up to a boundary in time. Pure, in whole microjoules, so that sums are exact."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from profiler.recording.timeline import Edge, Timeline
from profiler.records import Domain, Provenance
from profiler.storage.schema import CATEGORIES, category_of
from profiler.units import MICROJOULES_PER_JOULE

_COLUMNS = {name: index for index, name in enumerate(CATEGORIES)}


class Bill(NamedTuple):
    """Counted energy from the window's start to a boundary, in whole microjoules; None for a category without a meter.

    Attributes:
        by_category: Aligned with :data:`profiler.storage.schema.CATEGORIES`.
        total: Everything counted; None when nothing is metered.
        modelled: The part of the total that was estimated, not measured.
        variance: Of the boundary's total, in square joules, without the gains common to the whole run.
        drift: Variance of the energy that no reading shows, in gaps and by sensors that see power only at times.
    """

    by_category: tuple[int | None, ...]
    total: int | None
    modelled: int
    variance: float
    drift: float = 0.0


NOTHING_YET = Bill(by_category=(None,) * len(CATEGORIES), total=None, modelled=0, variance=0.0)


class _Account:
    """Energy of one domain from the time at which it joined.

    Attributes:
        start_joules: Energy at that time; None until it is known.
    """

    __slots__ = ("_edge", "column", "is_modelled", "start_joules", "start_ns", "timeline")

    def __init__(self, domain: Domain, timeline: Timeline, start_ns: int) -> None:
        self.timeline = timeline
        self.column = _COLUMNS[category_of(domain.name)]
        self.is_modelled = domain.provenance is Provenance.MODELLED
        self.start_ns = start_ns
        self.start_joules: float | None = None
        self._edge = Edge(start_ns, start_ns)

    def start(self) -> tuple[float, Edge]:
        """Return the joules at the start and their uncertainty.

        With a slow meter, the start lies after its last reading when the domain joins. The energy at the start is then
        unknown until the next reading.
        """
        if self.start_joules is not None:
            return self.start_joules, self._edge
        joules, edge = self.timeline.joules_at(self.start_ns), self.timeline.edge(self.start_ns)
        if (self.timeline.latest_ns or 0) >= self.start_ns:
            self.start_joules, self._edge = joules, edge
        return joules, edge


class Ledger:
    """Computes bills from the timelines of the counted domains.

    A domain's energy counts from the moment at which it joined: the start of the window, or later for a device that
    the run only uses later.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def join(self, domain: Domain, timeline: Timeline, start_ns: int) -> None:
        """Count ``domain`` from ``start_ns`` on."""
        if domain.name not in self._accounts:
            account = self._accounts[domain.name] = _Account(domain, timeline, start_ns)
            account.start()

    @property
    def start_variance(self) -> float:
        """Variance of the energies at which the accounts begin, in square joules."""
        return sum(
            account.start()[1].variance(account.start_ns, account.timeline.traits.hidden_watts)
            for account in self._accounts.values()
        )

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the counted domains."""
        return tuple(self._accounts)

    @property
    def timelines(self) -> Sequence[Timeline]:
        """Timelines of the counted domains."""
        return [account.timeline for account in self._accounts.values()]

    def bill(self, time_ns: int) -> Bill:
        """Return the bill at a boundary. Every part is non-decreasing in time."""
        sums: list[int | None] = [None] * len(CATEGORIES)
        total, modelled, variance, drift = 0, 0, 0.0, 0.0
        for account in self._accounts.values():
            column, start = account.column, account.start_joules
            joules, spread, missed = account.timeline.at(time_ns)
            if start is None:
                start = account.start()[0]
            amount = round((joules - start) * MICROJOULES_PER_JOULE) if joules > start else 0
            sums[column] = amount + (sums[column] or 0)
            total += amount
            variance += spread
            drift += missed
            if account.is_modelled:
                modelled += amount
        return Bill(tuple(sums), total if self._accounts else None, modelled, variance, drift)


class Share(NamedTuple):
    """Difference between two bills, in whole microjoules."""

    by_category: tuple[int | None, ...]
    total: int | None
    modelled: int
    cumulative: int | None
    sigma_joules: float | None


def between(start: Bill, end: Bill) -> Share:
    """Return the difference of two bills; a category that only the later one has counts from zero."""
    before, total_before, modelled_before, variance_before, missed_before = start
    after, total, modelled, variance, missed = end
    pairs = zip(before, after, strict=True)
    parts = tuple([None if b is None else b - (a or 0) for a, b in pairs])
    modelled -= modelled_before
    if total is None:
        return Share(parts, None, modelled, None, None)
    variance += variance_before
    if missed > missed_before:
        variance += missed - missed_before
    return Share(parts, total - (total_before or 0), modelled, total, math.sqrt(variance))
