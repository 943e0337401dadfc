"""A job whose processes share a CPU, on a scripted clock in one process, with real pipelines, locks and records."""

import heapq
import itertools
import math
from dataclasses import dataclass
from datetime import UTC, datetime

from profiler.distributed.leader_election import Election
from profiler.distributed.rank import Identity
from profiler.merging.merge import merge
from profiler.recording import metadata
from profiler.records import Domain, Provenance, Reading, Status
from profiler.storage.writer import RunWriter
from profiler.torch_hooks.events import Kind, StepEvent
from profiler.units import NANOSECONDS_PER_SECOND as SECOND
from tests.support.pipelines import build_pipeline

CPU_WATTS = 100.0
_ORIGIN = 1_000 * SECOND
_POLL_SECONDS = 0.02
_DRAIN_SECONDS = 0.5
_STEP_SECONDS = 0.05
_RETRY_SECONDS = 0.005


def gpu_watts(rank):
    """Return the power of a rank's own GPU."""
    return 50.0 + rank


@dataclass(frozen=True, kw_only=True)
class Times:
    """Times of one process in seconds: of its window, of the end of its sampling, of its last rows, of its record.

    A process that waits for another one writes its last rows later. At ``killed`` it ends without another action.
    """

    start: float
    end: float
    stopped: float
    finished: float
    closed: float
    killed: float = math.inf


class ScriptedRank:
    """One process of the job."""

    def __init__(self, job, rank, world, times):
        self.rank, self.times = rank, times
        self.is_finished = False
        domains = [
            Domain(name=name, source="scripted", provenance=Provenance.COUNTER)
            for name in ("cpu:package-0", "gpu:0")
        ]
        self._watts = dict(zip(("cpu:package-0", "gpu:0"), (CPU_WATTS, gpu_watts(rank)), strict=True))
        self.writer = RunWriter(job / f"rank-{rank:05d}-attempt-0", lambda _: None)
        self._election = Election(job / "lock", domains)
        self.pipeline, self._inbox, *_ = build_pipeline(
            domains, self.writer, devices=("cpu",), election=self._election
        )
        began = datetime.fromtimestamp(1.7e9, UTC)
        identity = Identity(rank=rank, world_size=world)
        self._head = metadata.head(name="job", started=began, identity=identity, refusals=())

    def actions(self):
        """Return what the process does, as pairs of a time in seconds and a callable of the time in nanoseconds."""
        times = self.times
        polls = [
            times.start + _POLL_SECONDS * k for k in range(round((times.end - times.start) / _POLL_SECONDS))
        ]
        drains = {round((times.start + _DRAIN_SECONDS * k) / _POLL_SECONDS) for k in range(1, 20)}
        return [
            (times.start - 0.01, self._poll),
            (times.start, self._begin),
            *((at, self._drain if round(at / _POLL_SECONDS) in drains else self._poll) for at in polls[1:]),
            (times.stopped, self._stop),
            (times.finished, self._finish),
            (times.closed, self._close),
        ]  # fmt: skip

    def kill(self):
        """Release the locks, as the kernel does; nothing else happens."""
        for lock in self._election._locks.values():
            lock.release()

    def _poll(self, now_ns):
        self.pipeline.add(
            Reading(domain=name, time_ns=now_ns, energy_joules=watts * now_ns / SECOND, power_watts=watts)
            for name, watts in self._watts.items()
        )

    def _begin(self, now_ns):
        self.writer.open(self._meta(Status.RUNNING))
        self.pipeline.begin(now_ns)
        self._head["clock"] = {"monotonic_seconds": now_ns / SECOND, "unix_seconds": 1.7e9 + now_ns / SECOND}

    def _drain(self, now_ns):
        self._poll(now_ns)
        self._train(now_ns)
        self.pipeline.drain(now_ns)
        self.writer.write_meta(self._meta(Status.RUNNING))  # the counted domains are known now

    def _train(self, now_ns):
        done = self.pipeline.count_steps()
        ends = range(self.pipeline.start_ns, now_ns, round(_STEP_SECONDS * SECOND))
        for end in ends[done + 1 :]:
            self._inbox.events.append(StepEvent(Kind.OPEN, end, 1.0, (), 1, end - 10, 5, 5, 0.1, None))

    @property
    def _end_ns(self):
        return _ORIGIN + round(self.times.end * SECOND)

    def _stop(self, _now_ns):
        self._train(self._end_ns)
        self.pipeline.meters.close(self._end_ns)
        self.pipeline.meters.announce_end(self._end_ns)

    def _finish(self, now_ns):
        self._poll(now_ns)
        if self.pipeline.awaits_leader(self._end_ns):
            return True
        self.pipeline.finish(self._end_ns)
        self.is_finished = True
        return False

    def _close(self, _now_ns):
        if not self.is_finished:
            return True
        self.writer.write_meta(self._meta(Status.COMPLETED))
        self.writer.close()
        return False

    def _meta(self, status):
        totals = self.pipeline.totals.as_summary_fields(metered=True)
        joules = {m.domain.name: m.log.joules for m in self.pipeline.meters.counted if m.log is not None}
        return self._head | metadata.body(
            status=status, domains=self.pipeline.meters.as_dicts(), missing=[], warnings=[], overhead={}, rows_lost={},
            totals=None if status is Status.RUNNING
            else {**totals, "edge_joules": 0.0, "domain_joules": joules, "metrics": {}},
            alternating_steps=0, work={},
        )  # fmt: skip


def record_job(job, times):
    """Record a job below the directory ``job``, one process for each of ``times``; return the merged run."""
    ranks = [ScriptedRank(job, rank, len(times), one) for rank, one in enumerate(times)]
    order = itertools.count()
    events = [(at, next(order), rank, action) for rank in ranks for at, action in rank.actions()]
    events += [(rank.times.killed, next(order), rank, None) for rank in ranks if rank.times.killed < math.inf]
    heapq.heapify(events)
    while events:
        at, _, rank, action = heapq.heappop(events)
        if action is None:
            rank.kill()
        elif at < rank.times.killed and action(_ORIGIN + round(at * SECOND)):
            heapq.heappush(events, (at + _RETRY_SECONDS, next(order), rank, action))
    return merge([job], force=True)
