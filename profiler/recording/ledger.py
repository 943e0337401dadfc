"""Counted energy up to a boundary in time. Pure, in whole microjoules, so that sums are exact."""

import math
from collections.abc import Sequence
from itertools import chain
from operator import add, sub
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


class Bills(NamedTuple):
    """The bills at several boundaries, as columns. The fields are those of :class:`Bill`."""

    by_category: tuple[Sequence[int] | None, ...]
    total: Sequence[int] | None
    modelled: Sequence[int]
    variance: Sequence[float]
    drift: Sequence[float]

    def at(self, index: int) -> Bill:
        """Return one of the bills."""
        return Bill(
            tuple([None if column is None else column[index] for column in self.by_category]),
            None if self.total is None else self.total[index],
            self.modelled[index],
            self.variance[index],
            self.drift[index],
        )


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
        return self.bills((time_ns,)).at(0)

    def bills(self, times: Sequence[int]) -> Bills:
        """Return the bills at boundaries in ascending order."""
        categories: list[Sequence[int] | None] = [None] * len(CATEGORIES)
        nothing = [0] * len(times)
        total = modelled = nothing
        variance = drift = [0.0] * len(times)
        for number, account in enumerate(self._accounts.values()):
            start = account.start()[0]
            joules, spread, missed = account.timeline.along(times)
            # Rounding the cumulative amounts, and not their differences, makes the rows add up to the total exactly.
            amounts = [
                round((reached - start) * MICROJOULES_PER_JOULE) if reached > start else 0
                for reached in joules
            ]
            known = categories[account.column]
            categories[account.column] = amounts if known is None else list(map(add, known, amounts))
            total = list(map(add, total, amounts)) if number else amounts
            variance = list(map(add, variance, spread)) if number else spread
            drift = list(map(add, drift, missed)) if number else missed
            if account.is_modelled:
                modelled = amounts if modelled is nothing else list(map(add, modelled, amounts))
        return Bills(tuple(categories), total if self._accounts else None, modelled, variance, drift)


class Shares(NamedTuple):
    """Differences between successive bills, as columns, in whole microjoules; None where nothing is metered."""

    by_category: tuple[Sequence[int | None], ...]
    total: Sequence[int | None]
    modelled: Sequence[int | None]
    cumulative: Sequence[int | None]
    sigma_joules: Sequence[float | None]


def successive(before: Bill, bills: Bills) -> Shares:
    """Return the difference of each bill from the one before it; a category that ``before`` lacks counts from zero."""
    nothing = [None] * len(bills.modelled)
    pairs = zip(before.by_category, bills.by_category, strict=True)
    parts = tuple([nothing if column is None else _differences(first, column) for first, column in pairs])
    if bills.total is None:
        return Shares(parts, nothing, nothing, nothing, nothing)
    steps = zip(
        bills.variance,
        chain((before.variance,), bills.variance),
        bills.drift,
        chain((before.drift,), bills.drift),
        strict=False,
    )
    # Both edges of a row are uncertain. What no reading shows accumulates, so a row has only its growth.
    sigmas = [
        math.sqrt(here + there + (now - then if now > then else 0.0)) for here, there, now, then in steps
    ]
    total = _differences(before.total, bills.total)
    return Shares(parts, total, _differences(before.modelled, bills.modelled), bills.total, sigmas)


def _differences(first: int | None, column: Sequence[int]) -> list[int]:
    return list(map(sub, column, chain((first or 0,), column)))
