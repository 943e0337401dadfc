"""Every sampled domain's timeline and log of samples, and the ledger of those that are billed."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from profiler.distributed.leader_election import Election, SoleProcess
from profiler.recording.counter_monitor import Intake
from profiler.recording.interpolation import Sharing
from profiler.recording.ledger import Ledger
from profiler.recording.samples import SampleLog
from profiler.recording.segmentation import Tile
from profiler.recording.timeline import Timeline
from profiler.records import Domain, Metered, Provenance, Reading
from profiler.storage.schema import SampleRow
from profiler.uncertainty import BUFFERED_FACTOR, DRIFT_FACTOR
from profiler.units import NANOSECONDS_PER_SECOND

_KEPT_NS = 600 * NANOSECONDS_PER_SECOND
_MODELLED_SECONDS = 0.4
"""Load in the mean over a quarter of a second is all that a model is worth."""


class Meters:
    """The domains of a run. Timelines run from the first reading, before the window's start.

    Args:
        domains: What is sampled.
        election: Which of it this process counts: what another process counts is neither logged nor billed here.

    Attributes:
        ledger: The billed domains.
    """

    def __init__(self, domains: Sequence[Domain], election: "Election | SoleProcess | None" = None) -> None:
        self._election = election or SoleProcess()
        self.domains = {domain.name: domain for domain in domains}
        self.timelines = {
            domain.name: Timeline(
                is_sampled=domain.provenance is Provenance.INTEGRATED,
                drift_factor=BUFFERED_FACTOR if domain.buffered_seconds else DRIFT_FACTOR,
            )
            for domain in domains
        }
        self.intakes = {domain.name: Intake(domain) for domain in domains}
        self.ledger = Ledger()
        self._logs: dict[str, SampleLog] = {}
        self._sharings: dict[str, Sharing] = {}
        self._shortest_ns = math.inf
        self._start_ns = 0
        self._log_until_ns: float = -math.inf
        self.billed_from_ns: dict[str, int] = {}

    def have_moved(self) -> bool:
        """Whether every domain has been seen to change, so that a window can begin at a known energy."""
        return all(
            timeline.points > 1 and self.intakes[name].has_begun for name, timeline in self.timelines.items()
        )

    def begin(self, start_ns: int) -> Iterator[SampleRow]:
        """Open the window; yields each domain's first row."""
        self._start_ns, self._log_until_ns = start_ns, math.inf
        self._election.try_lead()
        self._election.mark_counted(start_ns)
        for name, timeline in self.timelines.items():
            if timeline.points and self._election.counts(name):
                yield self._open_log(name)

    def _open_log(self, name: str) -> SampleRow:
        timeline, start = self.timelines[name], self._start_ns
        first = max(start, timeline.first_ns or start, self._election.counted_since(name) or start)
        log = self._logs[name] = SampleLog(self.domains[name], timeline, first, window_ns=start)
        return log.first()

    def add(self, readings: Iterable[Reading]) -> Iterator[SampleRow]:
        """Take readings in; yields the rows they are worth."""
        for reading in readings:
            timeline = self.timelines.get(reading.domain)
            if timeline is None or not math.isfinite(reading.energy_joules or 0.0):
                continue
            intake = self.intakes[reading.domain]
            appeared_ns = intake.time_of(reading)
            moved = timeline.add(reading, appeared_ns, intake.blur_ns)
            if not moved or reading.time_ns > self._log_until_ns:
                continue
            if reading.domain not in self._logs:
                if not self._election.counts(reading.domain):
                    continue
                yield self._open_log(reading.domain)
            row = self._logs[reading.domain].at(timeline.latest_ns or reading.time_ns)
            if row is not None:
                yield row

    def periods(self) -> list[float | None]:
        """How often each domain renews its value, in seconds; None where that is not known yet."""
        return [
            _MODELLED_SECONDS
            if domain.provenance is Provenance.MODELLED
            else self.intakes[name].paced_seconds
            for name, domain in self.domains.items()
        ]

    def bill(self, names: Iterable[str], start_ns: int) -> None:
        """Bill domains from ``start_ns`` on, or from where another process left off counting them.

        Those that have given no reading yet join when they do.
        """
        for name in names:
            if name not in self.billed_from_ns and self.timelines[name].points:
                since = self._election.counted_since(name)
                if since is None:
                    continue
                from_ns = self._from_ns(name, since, start_ns)
                self.ledger.join(self.domains[name], self.timelines[name], from_ns)
                self.billed_from_ns[name] = from_ns
                if self.domains[name].provenance is Provenance.COUNTER:
                    self._sharings[name] = Sharing(self.timelines[name])

    def _from_ns(self, name: str, since: int, start_ns: int) -> int:
        """From when to bill a domain that others counted up to ``since``, if that is not 0.

        What a host shares works for the run from its start; a GPU from when it is used.
        """
        if since > self._start_ns:
            return since
        return self._start_ns if since and not name.startswith("gpu:") else start_ns

    def share(self, tile: Tile, following: Sequence[Tile]) -> None:
        """Fix every billed counter's energy at the end of a tile that all of them have passed."""
        length = tile.end_ns - tile.start_ns
        if length < self._shortest_ns:
            return
        for name, sharing in self._sharings.items():
            if length >= self.intakes[name].shortest_step_ns:
                sharing.settle(tile, following)
        if tile.step is not None:
            for name in self.billed_from_ns:
                if length >= self.intakes[name].shortest_step_ns:
                    self.intakes[name].step(tile.start_ns, tile.end_ns)

    def settled_ns(self, now_ns: int) -> int:
        """The time up to which every billed domain is known; a domain that stands still is bridged to now."""
        settled = now_ns
        for timeline in self.ledger.timelines:
            if timeline.is_stale(now_ns):
                timeline.bridge_to(now_ns)
            settled = min(settled, timeline.latest_ns or now_ns)
        return settled

    def have_settled(self, end_ns: int) -> bool:
        """Whether every domain has been seen to change since ``end_ns``."""
        return all((timeline.latest_ns or end_ns) >= end_ns for timeline in self.timelines.values())

    def close(self, end_ns: int) -> None:
        """Log no reading after ``end_ns``: what is read then only tells what was spent before the window's end."""
        self._log_until_ns = end_ns

    def finish(self, end_ns: int) -> Iterator[SampleRow]:
        """Close the window: every domain reaches to its end; yields each domain's last row."""
        for name in self.billed_from_ns.keys() - self._logs.keys():  # taken over with the last look at it
            yield self._open_log(name)
        for name, log in self._logs.items():
            self.timelines[name].bridge_to(end_ns)
            row = log.at(end_ns, always=True)
            if row is not None:
                yield row

    def prune(self, before_ns: int) -> None:
        """Forget change points that are billed."""
        for name, timeline in self.timelines.items():
            timeline.prune(before_ns if name in self._logs else self._needed_ns(name, before_ns))
            timeline.hidden_watts = self.intakes[name].hidden_watts
            timeline.is_sampled = self.intakes[name].is_sampled is True
        self._shortest_ns = min(
            (self.intakes[name].shortest_step_ns for name in self.billed_from_ns), default=math.inf
        )

    def _needed_ns(self, name: str, before_ns: int) -> int:
        """From when on a domain is kept in mind that is not logged yet: another process may stop to count it."""
        kept = max(self._election.counted_ns(name), before_ns - _KEPT_NS)
        return min(kept, before_ns)

    def described(self, name: str) -> Domain:
        """A domain with what was learnt of it."""
        timeline = self.timelines[name]
        seconds = ((timeline.latest_ns or 0) - self._start_ns) / NANOSECONDS_PER_SECOND
        drift = timeline.drift_at(timeline.latest_ns or 0)
        return self.intakes[name].described(math.sqrt(drift / seconds) if seconds > 0 else 0.0)

    def findings(self) -> Iterator[str]:
        """What readers of the measured domains' joules must know, as sentences."""
        for name, domain in self.domains.items():
            if domain.provenance is not Provenance.MODELLED:
                yield from self.intakes[name].findings()

    def metered(self) -> tuple[Metered, ...]:
        """What every domain that gave any energy took since the window's start, as in the log of samples."""
        return tuple(
            Metered(
                domain=replace(self.described(name), billed=name in self.billed_from_ns),
                joules=log.joules,
                bridged_seconds=self.timelines[name].bridged_seconds,
            )
            for name, log in self._logs.items()
        )
