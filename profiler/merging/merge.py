"""Merging: from the directories of a job's processes to the tables and ``run.json`` of one run."""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from profiler.errors import RunForeignError
from profiler.merging import alignment, clocks, deduplication, devices, launcher, metrics, resume
from profiler.merging.aggregation import RankSums
from profiler.merging.discovery import Outline, Record, check_one_job, device_of, find_records, source_size
from profiler.recording.device_selection import UNUSED_GPUS
from profiler.records import Status
from profiler.storage import unfinished, validation
from profiler.storage.reader import StoredRun, Tables, by_domain
from profiler.storage.schema import (
    CONVOLUTIONAL,
    LAUNCHED_RANKS,
    MERGED,
    MISSING_RANKS,
    NONFINITE_ENDS,
    RANKS,
    RESUMED,
    TOTALS,
    UNRECORDED_PROCESSES,
)
from profiler.work import SECTION as WORK
from profiler.work import merged_work

_LEAST_ROWS_AHEAD = 2_000_000
"""Rows of steps from which another thread reads. The end of a training, which starts no thread, merges fewer."""
_OF_ONE_PROCESS = (LAUNCHED_RANKS, MISSING_RANKS, UNRECORDED_PROCESSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One attempt of a job, merged over its ranks.

    Attributes:
        outlines: Its processes.
        statuses: Their statuses.
        tables: Its merged tables.
        domains: Entries of its devices in ``run.json``.
        joules: Energies of each process.
        hosts: Clocks of its hosts.
        counted_twice: Domains that several processes counted.
        doubts: Warnings about rows.
    """

    outlines: tuple[Outline, ...]
    statuses: tuple[str, ...]
    tables: Tables
    domains: list[dict[str, Any]]
    joules: list[dict[str, float]]
    hosts: tuple[clocks.HostClock, ...]
    counted_twice: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def number(self) -> int:
        """Its number: 0 for the first attempt of the job."""
        return self.outlines[0].record.attempt

    @property
    def resumed_step(self) -> int | None:
        """The step that it resumed from; None if it is unknown."""
        found = [one.record.meta.get(RESUMED, {}).get("step") for one in self.outlines]
        return next((int(step) for step in found if step is not None), None)


def merge(directories: Sequence[Path], *, partial: bool = False, force: bool = False) -> StoredRun:
    """Merge the records of a job's processes in memory.

    Args:
        directories: Run directories of jobs, or of single processes of one.
        partial: In a damaged file, read the rows before the damage instead of raising.
        force: Merge records that are not of one job, too.

    Raises:
        RunError: There is nothing to merge, or a file that cannot be read.
        UsageError: The records are not of one job, unless ``force``.
    """
    records = find_records(directories, force=force)
    if not records:
        raise RunForeignError(directories[0], "it holds no record of a process.")
    found = launcher.read_launchers(directories, partial=partial)
    attempts = [
        _merge_ranks(list(group), found if not attempt else (), partial=partial, force=force)
        for attempt, group in groupby(records, key=lambda r: r.attempt)
    ]
    tables, notes = _chained(attempts)
    meta = _meta(records, attempts, notes, [outline.record for outline, _ in found])
    return StoredRun(directories[0], meta, partial=partial, tables=tables)


def _merge_ranks(
    records: Sequence[Record], launched_by: Sequence[launcher.Stored], *, partial: bool, force: bool
) -> _Attempt:
    outlines = [record.outline(partial=partial) for record in records]
    hosts = clocks.host_clocks(outlines, partial=partial)
    started = clocks.starts([*records, *(outline.record for outline, _ in launched_by)], hosts)
    starts, others = _split([start - min(started) for start in started], len(records))
    if not force:
        check_one_job(outlines, starts)
    kept = deduplication.kept_from(deduplication.claims_of(outlines, starts))
    total = RankSums(blocks=alignment.common_ends(one.ends for one in outlines))
    logs: list[devices.Log] = []
    doubts: list[str] = []
    values = metrics.Values()
    count = sum(len(one.record.billed) for one in outlines)
    ranks = zip(outlines, starts, _read_ahead(outlines, partial=partial), strict=True)
    for owner, (one, start, stored) in enumerate(ranks):
        contested = kept.get(owner, {})
        doubts += _doubts(one.record, stored, partial=partial)
        own = {name: since - start for name, since in contested.items()}
        tables = deduplication.without_contested(stored, one.record, own)
        total.add(tables, start, start + one.window_seconds)
        logs += _logs(stored, one, start, contested, count)
        values.add(tables.metrics, start)
    for parent in launcher.placed(launched_by, others, outlines, starts):
        for number, (start, end) in enumerate(parent.parts):
            if end > start:
                total.add_around(parent.spans(start, end), parent.start, end, is_before=number == 0)
                logs += _logs_of_launcher(parent, start, end, count)
        values.add(parent.tables.metrics, parent.start)
    steps, spans = total.frames()
    logs = _comparable(logs)
    domains, samples = devices.combine(logs, total.end_seconds)
    return _Attempt(
        outlines=tuple(outlines),
        statuses=_statuses(records, [outline.record for outline, _ in launched_by]),
        tables=Tables(steps=steps, spans=spans, samples=samples, metrics=values.table(steps, spans)),
        domains=domains,
        joules=devices.energy_by_rank(outlines, logs),
        hosts=tuple(hosts.values()),
        # The ranks that a recording process launched count what they share side by side.
        counted_twice=()
        if launched_by
        else tuple(sorted({name for contested in kept.values() for name in contested})),
        doubts=tuple(doubts),
    )


def _read_ahead(outlines: Sequence[Outline], *, partial: bool) -> Iterator[Tables]:
    """Yield the tables of each rank. Those of a large job are read by another thread while the last ones are added."""
    if sum(len(one.ends) for one in outlines) < _LEAST_ROWS_AHEAD:
        yield from (one.record.tables(partial=partial) for one in outlines)
        return
    with ThreadPoolExecutor(1) as reader:
        ahead: deque[Future[Tables]] = deque()
        for one in outlines:
            ahead.append(reader.submit(one.record.tables, partial=partial))
            if len(ahead) > 1:
                yield ahead.popleft().result()
        yield from (found.result() for found in ahead)


def _statuses(records: Sequence[Record], launched_by: Sequence[Record]) -> tuple[str, ...]:
    found = [StoredRun(record.path, record.meta).status.value for record in records]
    if launched_by and all(record.totals for record in launched_by):  # no rank outlives its launcher
        found = [Status.INTERRUPTED.value if one == Status.RUNNING.value else one for one in found]
    return tuple(found)


def _split(values: Sequence[float], count: int) -> tuple[Sequence[float], Sequence[float]]:
    return values[:count], values[count:]


def _doubts(record: Record, tables: Tables, *, partial: bool) -> tuple[str, ...]:
    rows = validation.Rows(tables.steps, tables.spans)
    return validation.rank_doubts(record.path, record.meta, rows, partial=partial)


def _logs(
    tables: Tables, one: Outline, start: float, contested: Mapping[str, float], count: int
) -> list[devices.Log]:
    samples, last = by_domain(tables.samples), dict[str, float]()
    if not one.record.totals:
        sampled = unfinished.sampled_joules(samples, one.window_seconds)
        counted = [str(domain["name"]) for domain in one.record.billed]
        last = unfinished.counted_joules(counted, tables.steps, tables.spans, samples, sampled)
    found = [
        devices.log_of(
            samples.get(str(domain["name"])), one.record, domain, device_of(one.record, domain), start=start,
            kept_from=contested.get(str(domain["name"]), -math.inf), until=start + one.window_seconds, logs=count,
            last=last.get(str(domain["name"])),
        )
        for domain in (*one.record.billed, *one.record.node_meters)
    ]  # fmt: skip
    return [log for log in found if log is not None]


def _logs_of_launcher(parent: launcher.Launcher, start: float, end: float, count: int) -> list[devices.Log]:
    samples = by_domain(parent.tables.samples)
    found = [
        devices.log_of(
            samples.get(str(domain["name"])), parent.record, domain, device_of(parent.record, domain),
            start=parent.start, kept_from=start, until=end, logs=count,
        )
        for domain in parent.domains
    ]  # fmt: skip
    return [log for log in found if log is not None]


def _comparable(logs: Sequence[devices.Log]) -> list[devices.Log]:
    """Return the logs without meters of the node that cannot be compared with the total.

    Those are meters that some hosts lack, and meters that several processes of a host logged at the same time.
    """
    hosts = {log.record.host for log in logs}
    meters: dict[str, dict[str, list[devices.Log]]] = defaultdict(lambda: defaultdict(list))
    for log in logs:
        meters[str(log.domain["name"])][log.record.host].append(log)
    usable = {
        name
        for name, by_host in meters.items()
        if by_host.keys() == hosts and not any(map(_overlap, by_host.values()))
    }
    return [log for log in logs if log.domain.get("billed") or log.domain["name"] in usable]


def _overlap(logs: Sequence[devices.Log]) -> bool:
    ordered = sorted(logs, key=lambda log: float(log.seconds[0]))
    return any(
        before.seconds[-1] - after.seconds[0] > deduplication.TOLERANCE_SECONDS
        for before, after in pairwise(ordered)
    )


def _chained(attempts: Sequence[_Attempt]) -> tuple[Tables, list[str]]:
    """Append each attempt to the one before it, at the step of its checkpoint."""
    tables, notes = attempts[0].tables, []
    base = attempts[0].resumed_step or 0
    for attempt in attempts[1:]:
        step = attempt.resumed_step
        if step is None:
            notes.append(
                f"attempt {attempt.number} did not record the step it resumed from: all earlier steps count as "
                "repeated. Save prof.state_dict() in the checkpoint and pass it to prof.load_state_dict()."
            )
        tables = resume.append(tables, attempt.tables, max((step or 0) - base, 0))
    return tables, notes


def _meta(
    records: Sequence[Record],
    attempts: Sequence[_Attempt],
    notes: Sequence[str],
    launched_by: Sequence[Record],
) -> dict[str, Any]:
    """Return the ``run.json`` of the merged run.

    A launcher's holds what the user gave to the profiler, and that of the first rank what the training showed.
    """
    everyone = [*launched_by, *records]
    first = {**records[0].meta, **everyone[0].meta}
    if any(
        record.meta.get(CONVOLUTIONAL) for record in records
    ):  # a rank may hold other layers than the first
        first[CONVOLUTIONAL] = True
    statuses = [StoredRun(record.path, record.meta).status.value for record in launched_by]
    domains = {entry["name"]: entry for attempt in attempts for entry in attempt.domains}
    return {
        **{key: value for key, value in first.items() if key not in _OF_ONE_PROCESS},
        "status": _overall([*statuses, *attempts[-1].statuses]).value,
        "world_size": max(int(record.meta.get("world_size", 1)) for record in records),
        "domains": list(domains.values()),
        "missing": sorted({str(name) for record in records for name in record.meta.get("missing", ())}),
        "warnings": [*notes, *_warnings(records, attempts, launched_by)],
        **_unrecorded(everyone, attempts),
        "overhead": _overhead(records),
        **_work(records, attempts),
        TOTALS: _totals(everyone),
        RANKS: [entry for attempt in attempts for entry in _ranks(attempt)],
        MERGED: {
            "clocks": [asdict(clock) for clock in {c.host: c for one in attempts for c in one.hosts}.values()],
            "sources": {record.path.name: source_size(record.path) for record in records},
        },
    }  # fmt: skip


def _unrecorded(records: Sequence[Record], attempts: Sequence[_Attempt]) -> dict[str, int]:
    """Return the numbers of ranks and processes without a record, where there are any."""
    counts = {
        MISSING_RANKS: max(len(_absent_ranks(attempt)) for attempt in attempts),
        UNRECORDED_PROCESSES: sum(int(record.meta.get(UNRECORDED_PROCESSES, 0)) for record in records),
    }
    return {key: count for key, count in counts.items() if count}


def _ranks(attempt: _Attempt) -> list[dict[str, Any]]:
    return [
        {
            "rank": one.record.rank, "attempt": one.record.attempt, "host": one.record.host, "status": status,
            "window_seconds": one.window_seconds, "steps": int(one.ends[-1]) if len(one.ends) else 0, **joules,
            "directory": one.record.path.name,
        }
        for one, status, joules in zip(attempt.outlines, attempt.statuses, attempt.joules, strict=True)
    ]  # fmt: skip


def _overall(statuses: Sequence[str]) -> Status:
    """Return the status of a job: it is running as long as its first process is."""
    if statuses[0] == Status.RUNNING.value:
        return Status.RUNNING
    if Status.FAILED.value in statuses:
        return Status.FAILED
    return Status.COMPLETED if set(statuses) == {Status.COMPLETED.value} else Status.INTERRUPTED


def _overhead(records: Sequence[Record]) -> dict[str, float]:
    """Return the mean cost of the profiler per process."""
    costs = [record.meta.get("overhead", {}) for record in records]
    names = dict.fromkeys(name for cost in costs for name in cost)
    return {name: sum(float(cost.get(name) or 0.0) for cost in costs) / len(costs) for name in names}


def _work(records: Sequence[Record], attempts: Sequence[_Attempt]) -> dict[str, Any]:
    sections = [record.meta[WORK] for record in records if record.meta.get(WORK)]
    return {WORK: merged_work(sections, attempts=len(attempts))} if sections else {}


def _totals(records: Sequence[Record]) -> dict[str, Any] | None:
    edges = [float(record.totals.get("edge_joules") or 0.0) for record in records]
    if not all(record.totals for record in records):
        return None
    # Rank 0 of the last attempt logs for all: ranks that log their own values disagree.
    first = [one.totals for one in records if one.rank == 0]
    last = first[-1] if first else {}
    broken = {NONFINITE_ENDS: last[NONFINITE_ENDS]} if NONFINITE_ENDS in last else {}
    return {"edge_joules": math.hypot(*edges), "metrics": last.get("metrics", {}), **broken}


def _warnings(
    records: Sequence[Record], attempts: Sequence[_Attempt], launched_by: Sequence[Record]
) -> list[str]:
    """Return each warning once, with its ranks where not all have it, after those about the merge itself."""
    found: list[str] = []
    for attempt in attempts:
        found += [*_absent(attempt), *attempt.doubts]
    twice = sorted({name for attempt in attempts for name in attempt.counted_twice})
    if twice:
        found.append(f"several processes counted {', '.join(twice)}; it is counted once here")
    lines = [str(line) for record in launched_by for line in record.meta.get("warnings", ())]
    # Of the devices of a launcher, those that its ranks counted are kept.
    common = dict.fromkeys(line for line in lines if line != UNUSED_GPUS)
    found += common
    counts = Counter(str(line) for record in records for line in record.meta.get("warnings", ()))
    for line, count in counts.items():
        ranks = [record.rank for record in records if line in record.meta.get("warnings", ())]
        if line not in common:
            found.append(line if count == len(records) else f"{_named(ranks)}: {line}")
    return found


def _absent_ranks(attempt: _Attempt) -> list[int]:
    world = max(int(one.record.meta.get("world_size", 1)) for one in attempt.outlines)
    here = {one.record.rank for one in attempt.outlines}
    return [rank for rank in range(world) if rank not in here]


def _absent(attempt: _Attempt) -> list[str]:
    absent = _absent_ranks(attempt)
    found = []
    if absent:
        found.append(
            f"{_named(absent)} of attempt {attempt.number} left no record here: totals are incomplete. If other hosts "
            "have them, copy those directories here and merge them all with energy-profiler merge"
        )
    dead = [
        one.record.rank
        for one, status in zip(attempt.outlines, attempt.statuses, strict=True)
        if status != Status.RUNNING.value and not one.record.totals
    ]
    if dead:
        found.append(
            f"{_named(dead)} of attempt {attempt.number} ended without totals: up to a second of it is missing"
        )
    return found


def _named(ranks: Sequence[int]) -> str:
    """Return ``rank 3``, ``ranks 1, 2`` or ``ranks 0-7, 9``."""
    runs: list[list[int]] = []
    for rank in sorted(set(ranks)):
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"rank{'s' if len(set(ranks)) > 1 else ''} {', '.join(texts)}"
