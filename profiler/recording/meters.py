"""Every sampled domain's timeline and log of samples, and the ledger of those that are billed."""

from collections.abc import Iterable, Iterator, Sequence

from profiler.recording.attribution import Ledger
from profiler.recording.samples import SampleLog
from profiler.recording.timeline import Timeline
from profiler.records import Domain, Reading
from profiler.rundir.schema import SampleRow


class Meters:
    """The domains of a run. Timelines run from the first reading, before the window's start.

    Attributes:
        ledger: The billed domains.
    """

    def __init__(self, domains: Sequence[Domain]) -> None:
        self.domains = {domain.name: domain for domain in domains}
        self.timelines = {domain.name: Timeline() for domain in domains}
        self.ledger = Ledger()
        self._logs: dict[str, SampleLog] = {}
        self._start_ns = 0
        self._logging = False
        self.billed_from_ns: dict[str, int] = {}

    def have_moved(self) -> bool:
        """Whether every domain has been seen to change, so that a window can begin at a known energy."""
        return all(timeline.points > 1 for timeline in self.timelines.values())

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
            if timeline is None or not timeline.add(reading) or not self._logging:
                continue
            if reading.domain not in self._logs:
                yield self._open_log(reading.domain)
            row = self._logs[reading.domain].at(reading.time_ns)
            if row is not None:
                yield row

    def bill(self, names: Iterable[str], start_ns: int) -> None:
        """Bill domains from ``start_ns`` on; those that have given no reading yet join when they do."""
        for name in names:
            if name not in self.billed_from_ns and self.timelines[name].points:
                self.ledger.join(self.domains[name], self.timelines[name], start_ns)
                self.billed_from_ns[name] = start_ns

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
        for timeline in self.timelines.values():
            timeline.prune(before_ns)

    def joules(self) -> dict[str, float]:
        """Energy since the window's start of every domain that gave any, in joules, as in the log of samples."""
        return {name: log.joules for name, log in self._logs.items()}
