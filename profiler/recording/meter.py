"""Meters of the sampled domains, with their logs of samples and the ledger of those that count."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from profiler.distributed.leader_election import Election, SoleProcess
from profiler.recording.counter_monitor import CounterMonitor
from profiler.recording.interpolation import StepInterpolator
from profiler.recording.ledger import Ledger
from profiler.recording.segmentation import Tile
from profiler.recording.timeline import Timeline
from profiler.records import NO_STATE, BoardState, Domain, Metered, Provenance, Reading
from profiler.storage.schema import SampleRow
from profiler.uncertainty import BUFFERED_FACTOR, DRIFT_FACTOR
from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

_KEPT_NS = 600 * NANOSECONDS_PER_SECOND
_MODELLED_SECONDS = 0.4
"""Polling interval of estimated domains: more than the mean load over a quarter of a second adds nothing."""
_EVERY_CHANGE_NS = 600 * NANOSECONDS_PER_SECOND
_THINNED_NS = NANOSECONDS_PER_SECOND
_END_OF_TIME_NS = 1 << 62


class SampleLog:
    """Log of one domain's change points: all of them for ten minutes, then about one per second.

    Energies are cumulative, so omitting rows loses nothing.

    Args:
        domain: The domain.
        timeline: Its energy.
        start_ns: Time from which its energy counts.
        window_ns: Start of the window, from which times count.

    Attributes:
        joules: Energy in the last row.
    """

    def __init__(self, domain: Domain, timeline: Timeline, start_ns: int, *, window_ns: int) -> None:
        self._domain = domain
        self._timeline = timeline
        self._window_ns = window_ns
        self._start_ns = start_ns
        self._zero: float | None = None
        self._last = (start_ns, 0)
        self.joules = 0.0

    def first(self) -> SampleRow:
        """Return the row from which energies count."""
        return self._row(*self._last, None)

    def at(self, time_ns: int, state: BoardState = NO_STATE, *, always: bool = False) -> SampleRow | None:
        """Return the row for a change point at ``time_ns``; None if it is not new or thinned out.

        Args:
            time_ns: The time.
            state: State of the device, if it was read since the previous row.
            always: Whether to return a row that would be thinned out.
        """
        since = time_ns - self._last[0]
        thinned = time_ns - self._window_ns > _EVERY_CHANGE_NS and since < _THINNED_NS
        if since <= 0 or (thinned and not always):
            return None
        if self._zero is None:
            # The energy at the start lies between two readings, of which the second has only now arrived.
            self._zero = self._timeline.joules_at(self._start_ns)
        energy = round((self._timeline.joules_at(time_ns) - self._zero) * MICROJOULES_PER_JOULE)
        watts = (energy - self._last[1]) / MICROJOULES_PER_JOULE / (since / NANOSECONDS_PER_SECOND)
        self._last = (time_ns, energy)
        self.joules = energy / MICROJOULES_PER_JOULE
        return self._row(time_ns, energy, watts, state)

    def _row(self, time_ns: int, energy: int, watts: float | None, state: BoardState = NO_STATE) -> SampleRow:
        return SampleRow(
            time_seconds=time_ns - self._window_ns,
            domain=self._domain.name,
            power_watts=watts,
            energy_joules=energy,
            provenance=self._domain.provenance.value,
            limit_watts=state.limit_watts,
            sm_mhz=state.sm_mhz,
            throttle=state.throttle,
        )


class Meter:
    """Energy of one sampled domain, from the first reading, which is before the window's start.

    Attributes:
        domain: The domain.
        monitor: Monitor of its readings.
        timeline: Its energy.
        log: Its log of samples; None while it is not logged.
        counted_from_ns: Time from which its energy counts in totals; None while it does not.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.monitor = CounterMonitor(domain)
        self.timeline = Timeline(
            self.monitor.traits, drift_factor=BUFFERED_FACTOR if domain.buffered_seconds else DRIFT_FACTOR
        )
        self.log: SampleLog | None = None
        self.counted_from_ns: int | None = None
        self._state = NO_STATE
        self._throttled: tuple[Mapping[str, float], Mapping[str, float]] | None = None
        self._interpolator = (
            StepInterpolator(self.timeline) if domain.provenance is Provenance.COUNTER else None
        )

    def add(self, reading: Reading) -> bool:
        """Add a reading. Return whether the energy has moved."""
        if reading.state is not None:
            self._add_state(reading.state)
        changed_ns = self.monitor.add(reading)
        return self.timeline.add(reading, changed_ns, self.monitor.blur_ns)

    def _add_state(self, state: BoardState) -> None:
        """Keep a state for the next row of the log, and the time spent throttled."""
        self._state = state
        first = state.throttled_seconds if self._throttled is None else self._throttled[0]
        self._throttled = first, state.throttled_seconds

    @property
    def throttled_seconds(self) -> dict[str, float] | None:
        """Time at a reduced clock by cause since the first reading; None where the device does not count it."""
        if self._throttled is None or not self._throttled[0]:
            return None
        first, last = self._throttled
        # A counter that restarted has counted at least its present value.
        return {
            cause: last[cause] - (first[cause] if first[cause] <= last[cause] else 0.0)
            for cause in first
            if cause in last
        }

    @property
    def has_moved(self) -> bool:
        """True if the energy has been seen to change, so that a window can begin at a known energy."""
        return self.timeline.points > 1 and self.monitor.has_begun

    @property
    def polling_period_seconds(self) -> float | None:
        """Update interval to poll for, in seconds; None until it is known."""
        is_modelled = self.domain.provenance is Provenance.MODELLED
        return _MODELLED_SECONDS if is_modelled else self.monitor.polling_period_seconds

    def open_log(self, start_ns: int, window_ns: int) -> SampleRow:
        """Begin the log at ``start_ns``, or at the first change point if that is later. Return its first row."""
        first = max(start_ns, self.timeline.first_ns or start_ns)
        self.log = SampleLog(self.domain, self.timeline, first, window_ns=window_ns)
        return self.log.first()

    def sample(self, time_ns: int, *, always: bool = False) -> SampleRow | None:
        """Return the log's row for a change point; None if it is thinned out or nothing is logged."""
        if self.log is None:
            return None
        row = self.log.at(time_ns, self._state, always=always)
        if row is not None:
            self._state = NO_STATE
        return row

    def interpolate(self, tile: Tile, following: Sequence[Tile]) -> None:
        """Fix the counter's energy at the end of a tile that it has passed, and monitor the tile if it is a step."""
        if tile.end_ns - tile.start_ns < self.monitor.shortest_step_ns:
            return
        if self._interpolator is not None:
            self._interpolator.interpolate(tile, following)
        if tile.step is not None:
            self.monitor.add_step(tile.start_ns, tile.end_ns)

    def describe(self, start_ns: int) -> Domain:
        """Return the domain with the observed properties of its sensor."""
        latest_ns = self.timeline.latest_ns or 0
        seconds = (latest_ns - start_ns) / NANOSECONDS_PER_SECOND
        drift = self.timeline.drift_at(latest_ns)
        described = self.monitor.describe(math.sqrt(drift / seconds) if seconds > 0 else 0.0)
        return replace(described, billed=self.counted_from_ns is not None)

    def as_dict(self, start_ns: int) -> dict[str, Any]:
        """Return the domain's entry in ``run.json``."""
        since = None if self.counted_from_ns is None else self.counted_from_ns - start_ns
        return {
            **asdict(self.describe(start_ns)),
            "provenance": self.domain.provenance.value,
            "notes": list(self.domain.notes),
            "billed": since is not None,
            "billed_from_seconds": None if since is None else since / NANOSECONDS_PER_SECOND,
            "bridged_seconds": self.timeline.bridged_seconds,
            "bridged_joules": self.timeline.bridged_joules,
            "resets": self.timeline.resets,
            "throttled_seconds": self.throttled_seconds,
        }


class Meters:
    """The meters of a run.

    Args:
        domains: The sampled domains.
        election: Domains that this process counts; the others are neither logged nor counted here.

    Attributes:
        ledger: The accounts of the counted domains.
        counted: The meters whose energy counts in totals.
        shortest_ns: Shortest tile that :meth:`interpolate` uses.
    """

    def __init__(self, domains: Sequence[Domain], election: Election | SoleProcess | None = None) -> None:
        self._election = election or SoleProcess()
        self._meters = {domain.name: Meter(domain) for domain in domains}
        self.ledger = Ledger()
        self.counted: list[Meter] = []
        self.shortest_ns = math.inf
        self._start_ns = 0
        self._end_ns = _END_OF_TIME_NS
        self._log_until_ns = -1

    def __iter__(self) -> Iterator[Meter]:
        return iter(self._meters.values())

    def __getitem__(self, name: str) -> Meter:
        return self._meters[name]

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The sampled domains."""
        return tuple(meter.domain for meter in self)

    def have_moved(self) -> bool:
        """Return whether every domain has been seen to change."""
        return all(meter.has_moved for meter in self)

    def begin(self, start_ns: int) -> Iterator[SampleRow]:
        """Open the window. Yield the first row of each domain."""
        self._start_ns, self._log_until_ns = start_ns, _END_OF_TIME_NS
        self._election.try_lead()
        self._election.mark_counted(start_ns)
        for name, meter in self._meters.items():
            if meter.timeline.points and self._election.counts(name):
                yield self._open_log(meter)

    def _open_log(self, meter: Meter) -> SampleRow:
        since = self._election.counted_since(meter.domain.name) or self._start_ns
        return meter.open_log(max(self._start_ns, since), self._start_ns)

    def add(self, readings: Iterable[Reading]) -> Iterator[SampleRow]:
        """Add readings. Yield the rows for the log of samples."""
        for reading in readings:
            meter = self._meters.get(reading.domain)
            if meter is None or not math.isfinite(reading.energy_joules or 0.0):
                continue
            if not meter.add(reading) or reading.time_ns > self._log_until_ns:
                continue
            if meter.log is None:
                if not self._election.counts(reading.domain):
                    continue
                yield self._open_log(meter)
            row = meter.sample(meter.timeline.latest_ns or reading.time_ns)
            if row is not None:
                yield row

    def polling_periods(self) -> list[float | None]:
        """Return the update interval of each domain in seconds; None where it is not known yet."""
        return [meter.polling_period_seconds for meter in self]

    def count(self, names: Iterable[str], start_ns: int) -> Iterator[SampleRow]:
        """Count domains from ``start_ns`` on, or from where another process stopped counting them.

        Yield their first samples, because rows with their energy follow.

        Those without a reading join when they have one. Those that another process counted beyond the end of this
        window are not counted.
        """
        for name in names:
            meter = self._meters[name]
            if meter.counted_from_ns is not None or not meter.timeline.points:
                continue
            since = self._election.counted_since(name)
            if since is not None and since < self._end_ns:
                meter.counted_from_ns = self._counted_from_ns(name, since, start_ns)
                self.ledger.join(meter.domain, meter.timeline, meter.counted_from_ns)
                self.counted.append(meter)
                if meter.log is None:
                    yield self._open_log(meter)
                    row = meter.sample(min(meter.timeline.latest_ns or 0, self._log_until_ns))
                    if row is not None:
                        yield row

    def _counted_from_ns(self, name: str, since: int, start_ns: int) -> int:
        """Return the time from which to count a domain that other processes counted up to ``since`` (0: none did).

        Domains that a host shares work for the run from its start, a GPU from its first use.
        """
        if since > self._start_ns:
            return since
        is_shared = not self._meters[name].domain.kind.is_accelerator
        return self._start_ns if since and is_shared else start_ns

    def interpolate(self, tile: Tile, following: Sequence[Tile]) -> None:
        """Fix the energy of each counted domain at the end of a tile that all of them have passed."""
        for meter in self.counted:
            meter.interpolate(tile, following)

    def settled_ns(self, now_ns: int) -> int:
        """Return the time up to which all counted domains are known. A domain that does not move is bridged to now."""
        settled = now_ns
        for timeline in self.ledger.timelines:
            if timeline.is_stale(now_ns):
                timeline.bridge_to(now_ns)
            settled = min(settled, timeline.latest_ns or now_ns)
        return settled

    def have_settled(self, end_ns: int) -> bool:
        """Return whether every domain has been seen to change since ``end_ns``."""
        return all((meter.timeline.latest_ns or end_ns) >= end_ns for meter in self)

    def close(self, end_ns: int) -> None:
        """Log no reading after ``end_ns``; later readings only show the energy used before it."""
        self._end_ns = self._log_until_ns = end_ns

    def awaits_leader(self, names: Iterable[str], end_ns: int) -> bool:
        """Return whether another process that ended before ``end_ns`` still writes the rows of one of these domains."""
        return any(
            self._election.awaits_leader(name, end_ns)
            for name in names
            if self._meters[name].counted_from_ns is None
        )

    def follow(self, names: Iterable[str], end_ns: int) -> None:
        """Count such domains from the end of that process although its rows are not written yet."""
        for name in names:
            if self._meters[name].counted_from_ns is None and self._election.awaits_leader(name, end_ns):
                self._election.follow(name)

    def announce_end(self, end_ns: int) -> None:
        """Announce to the other processes of this host that this one counts nothing after ``end_ns``."""
        self._election.announce_end(end_ns)

    def resign(self, end_ns: int) -> None:
        """Pass what the processes of this host share to another one, which counts it from ``end_ns`` on."""
        self._election.resign(end_ns)

    def release(self) -> None:
        """Pass it on from the time up to which rows are written."""
        self._election.close()

    def finish(self, end_ns: int) -> Iterator[SampleRow]:
        """Extend every domain to the end of the window. Yield the last row of each."""
        for meter in self:
            if meter.log is not None:
                meter.timeline.bridge_to(end_ns)
                row = meter.sample(end_ns, always=True)
                if row is not None:
                    yield row

    def prune(self, before_ns: int) -> None:
        """Drop change points that are in rows, and update what is known of the sensors."""
        for name, meter in self._meters.items():
            meter.timeline.prune(before_ns if meter.log is not None else self._needed_ns(name, before_ns))
            meter.monitor.refresh()
        self.shortest_ns = min((meter.monitor.shortest_step_ns for meter in self.counted), default=math.inf)

    def _needed_ns(self, name: str, before_ns: int) -> int:
        """Return the time from which a domain is kept that another process counts, in case that process ends."""
        kept = max(self._election.counted_ns(name), before_ns - _KEPT_NS)
        return min(kept, before_ns)

    def publish_counted(self, until_ns: int) -> None:
        """Publish to the other processes of this host that everything is written up to ``until_ns``."""
        self._election.mark_counted(until_ns)

    def recent_watts(self) -> Mapping[str, float]:
        """Return the present power of each counted domain."""
        return {name: self._meters[name].timeline.recent_watts() for name in self.ledger.domains}

    def counted_joules(self) -> Mapping[str, float]:
        """Return the energy of each counted domain since the window's start."""
        return {meter.domain.name: meter.log.joules for meter in self.counted if meter.log is not None}

    def latest_ns(self, now_ns: int) -> int:
        """Return the last moment by which all counted domains were read, at most ``now_ns``."""
        seen = [timeline.latest_ns for timeline in self.ledger.timelines if timeline.latest_ns is not None]
        return min([*seen, now_ns])

    @property
    def unconfirmed_variance(self) -> float:
        """Variance, in square joules, of counted energy that the counters have not shown yet."""
        return sum(meter.timeline.unconfirmed_sigma**2 for meter in self.counted)

    def gap_energy(self) -> tuple[float, float, float]:
        """Return the joules of the counted domains in all, in gaps between readings, and estimated in such gaps."""
        total = gaps = estimated = 0.0
        for meter in self.counted:
            total += meter.log.joules if meter.log is not None else 0.0
            gaps += meter.timeline.gap_joules
            if meter.domain.provenance is Provenance.INTEGRATED:
                estimated += meter.timeline.gap_joules
        return total, gaps, estimated

    def findings(self) -> Iterator[str]:
        """Yield warnings about the measured domains' joules."""
        for meter in self:
            if meter.domain.provenance is not Provenance.MODELLED:
                yield from meter.monitor.findings()

    def metered(self) -> tuple[Metered, ...]:
        """Return the energy of every logged domain since the window's start, as in the log of samples."""
        return tuple(
            Metered(
                domain=meter.describe(self._start_ns),
                joules=meter.log.joules,
                bridged_seconds=meter.timeline.bridged_seconds,
            )
            for meter in self
            if meter.log is not None
        )

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the entry of each domain in ``run.json``."""
        return [meter.as_dict(self._start_ns) for meter in self]
