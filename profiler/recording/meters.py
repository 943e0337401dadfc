"""Every sampled domain's timeline and log of samples, and the ledger of those that are billed."""

import math
from collections.abc import Iterable, Iterator, Sequence

from profiler.recording.attribution import Ledger
from profiler.recording.intake import Intake
from profiler.recording.samples import SampleLog
from profiler.recording.sharing import Sharing
from profiler.recording.tiling import Tile
from profiler.recording.timeline import Timeline
from profiler.records import Domain, Provenance, Reading
from profiler.rundir.schema import SampleRow
from profiler.units import NANOSECONDS_PER_SECOND


class Meters:
    """The domains of a run. Timelines run from the first reading, before the window's start.

    Attributes:
        ledger: The billed domains.
    """

    def __init__(self, domains: Sequence[Domain]) -> None:
        self.domains = {domain.name: domain for domain in domains}
        self.timelines = {domain.name: Timeline() for domain in domains}
        self.intakes = {domain.name: Intake(domain) for domain in domains}
        self.ledger = Ledger()
        self._logs: dict[str, SampleLog] = {}
        self._sharings: dict[str, Sharing] = {}
        self._shortest_ns = math.inf
        self._start_ns = 0
        self._logging = False
        self.billed_from_ns: dict[str, int] = {}

    def have_moved(self) -> bool:
        """Whether every domain has been seen to change, so that a window can begin at a known energy."""
        return all(
            timeline.points > 1 and self.intakes[name].has_begun for name, timeline in self.timelines.items()
        )

    def begin(self, start_ns: int) -> Iterator[SampleRow]:
        """Open the window; yields each domain's first row."""
        self._start_ns, self._logging = start_ns, True
        for name, timeline in self.timelines.items():
            if timeline.points:
                yield self._open_log(name)

    def _open_log(self, name: str) -> SampleRow:
        timeline, start = self.timelines[name], self._start_ns
        first = max(start, timeline.first_ns or start)
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
            if not timeline.add(reading, appeared_ns, intake.blur_ns) or not self._logging:
                continue
            if reading.domain not in self._logs:
                yield self._open_log(reading.domain)
            row = self._logs[reading.domain].at(timeline.latest_ns or reading.time_ns)
            if row is not None:
                yield row

    def periods(self) -> list[float | None]:
        """How often each measured domain renews its value, in seconds; None where that is not known yet."""
        measured = (
            name for name, domain in self.domains.items() if domain.provenance is not Provenance.MODELLED
        )
        return [self.intakes[name].paced_seconds for name in measured]

    def bill(self, names: Iterable[str], start_ns: int) -> None:
        """Bill domains from ``start_ns`` on; those that have given no reading yet join when they do."""
        for name in names:
            if name not in self.billed_from_ns and self.timelines[name].points:
                self.ledger.join(self.domains[name], self.timelines[name], start_ns)
                self.billed_from_ns[name] = start_ns
                if self.domains[name].provenance is Provenance.COUNTER:
                    self._sharings[name] = Sharing(self.timelines[name])

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

    def close(self) -> None:
        """Log no further reading: what is read from now on only tells what was spent before the window's end."""
        self._logging = False

    def finish(self, end_ns: int) -> Iterator[SampleRow]:
        """Close the window: every domain reaches to its end; yields each domain's last row."""
        for name, log in self._logs.items():
            self.timelines[name].bridge_to(end_ns)
            row = log.at(end_ns, always=True)
            if row is not None:
                yield row

    def prune(self, before_ns: int) -> None:
        """Forget change points that are billed."""
        for name, timeline in self.timelines.items():
            timeline.prune(before_ns)
            timeline.hidden_watts = self.intakes[name].hidden_watts
            timeline.is_sampled = self.intakes[name].is_sampled is True
        self._shortest_ns = min(
            (self.intakes[name].shortest_step_ns for name in self.billed_from_ns), default=math.inf
        )

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

    def joules(self) -> dict[str, float]:
        """Energy since the window's start of every domain that gave any, in joules, as in the log of samples."""
        return {name: log.joules for name, log in self._logs.items()}
