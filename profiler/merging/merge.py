"""All of it: from the directories of a job's processes to the tables and ``run.json`` of one run."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.errors import RunForeignError
from profiler.merging import alignment, clocks, deduplication, devices, metrics, resume, stragglers
from profiler.merging.aggregation import Sums, without
from profiler.merging.discovery import Outline, Record, find
from profiler.merging.tables import column_of, outline, tables_of
from profiler.records import Status
from profiler.storage import validation
from profiler.storage.reader import StoredRun, Tables
from profiler.storage.schema import RESUMED
from profiler.storage.tiling import Rows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

_ALL = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A run put together.

    Attributes:
        meta: What its ``run.json`` says.
        tables: Its tables.
    """

    meta: dict[str, Any]
    tables: Tables


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One attempt of a job, merged over its ranks."""

    outlines: tuple[Outline, ...]
    statuses: tuple[str, ...]
    tables: Tables
    domains: list[dict[str, Any]]
    logs: tuple[devices.Log, ...]
    waiting: tuple[float, ...]
    hosts: tuple[clocks.HostClock, ...]
    start_unix: float
    twice: tuple[str, ...]
    doubts: tuple[str, ...]


def merge(directories: Sequence[Path], *, partial: bool = False) -> Merged:
    """Merge what the processes of a job recorded.

    Args:
        directories: Run directories of jobs, or of single processes of one.
        partial: Where a file is damaged, read what stands before the damage.

    Raises:
        RunError: There is nothing to merge, or a file that cannot be read.
        UsageError: Records of different runs.
    """
    records = find(directories)
    if not any(record.has_tables for record in records):
        raise RunForeignError(directories[0], "there is no process's record in it.")
    attempts = [
        _merge_ranks(list(group), partial=partial) for _, group in groupby(records, key=lambda r: r.attempt)
    ]
    tables, notes = _chained(attempts)
    return Merged(meta=_meta(records, attempts, notes), tables=tables)


def _merge_ranks(records: Sequence[Record], *, partial: bool) -> _Attempt:
    outlines = [outline(record, partial=partial) for record in records]
    hosts = clocks.host_clocks([one for one in outlines if one.record.has_tables] or outlines)
    begun = clocks.starts(records, hosts)
    zero = min(begun)
    starts = [start - zero for start in begun]
    kept = deduplication.kept_from(deduplication.claims(outlines, starts))
    total = Sums(blocks=alignment.common_ends(one.ends for one in outlines), expected=len(outlines))
    logs: list[devices.Log] = []
    doubts: list[str] = []
    values = metrics.Values()
    count = sum(len(one.record.billed) for one in outlines)
    for owner, (one, start) in enumerate(zip(outlines, starts, strict=True)):
        contested = {name: since for (index, name), since in kept.items() if index == owner}
        found = tables_of(one.record, total.blocks, partial=partial)
        doubts += _doubts(one.record, found, partial=partial)
        tables = _counted_once(found, one, start, contested)
        total.add(tables, start, start + one.window_seconds)
        logs += _logs(tables, one, start, contested, count)
        values.add(tables.metrics, start)
    steps, spans = total.frames()
    domains, samples = devices.combine(logs, total.end_seconds)
    waited = stragglers.waiting_seconds(total.backwards)
    return _Attempt(
        outlines=tuple(outlines),
        statuses=tuple(_status(record) for record in records),
        tables=Tables(steps=steps, spans=spans, samples=samples, metrics=values.table(steps, spans)),
        domains=domains,
        logs=tuple(logs),
        waiting=tuple(waited.tolist()),
        hosts=tuple(hosts.values()),
        start_unix=zero,
        twice=tuple(sorted({name for _, name in kept})),
        doubts=tuple(doubts),
    )


def _doubts(record: Record, tables: Tables, *, partial: bool) -> tuple[str, ...]:
    rows = Rows(tables.steps, tables.spans)
    return validation.doubts(record.path, record.meta, rows, partial=partial) if record.has_tables else ()


def _counted_once(tables: Tables, one: Outline, start: float, contested: Mapping[str, float]) -> Tables:
    """Take off a rank's rows what another rank counts."""
    for name, since in contested.items():
        domain = next(entry for entry in one.record.billed if entry["name"] == name)
        column = column_of(name)
        is_alone = sum(column_of(entry["name"]) == column for entry in one.record.billed) == 1
        steps, spans = (
            deduplication.taken_off(
                tables.samples, name, frame["start_seconds"].to_numpy(), frame["end_seconds"].to_numpy(),
                since - start,
            )
            for frame in (tables.steps, tables.spans)
        )  # fmt: skip
        if is_alone:  # then the row itself says what the device took
            before = tables.steps["end_seconds"].to_numpy() <= since - start
            steps[before] = tables.steps[column].to_numpy()[before]
        tables = without(tables, column, steps, spans, modelled=domain["provenance"] == "modelled")
    return tables


def _logs(
    tables: Tables, one: Outline, start: float, contested: Mapping[str, float], count: int
) -> list[devices.Log]:
    found = [
        devices.log_of(
            tables.samples, one.record, domain, deduplication.device_of(one.record, domain), start=start,
            kept_from=contested.get(str(domain["name"]), -_ALL), until=start + one.window_seconds, logs=count,
        )
        for domain in one.record.billed
    ]  # fmt: skip
    return [log for log in found if log is not None]


def _status(record: Record) -> str:
    return StoredRun(record.path, record.meta).status.value


def _chained(attempts: Sequence[_Attempt]) -> tuple[Tables, list[str]]:
    """Put attempts behind each other where their checkpoints say."""
    tables, notes = attempts[0].tables, []
    base = _resumed_step(attempts[0]) or 0
    for attempt in attempts[1:]:
        step = _resumed_step(attempt)
        number = attempt.outlines[0].record.attempt
        if step is None:
            notes.append(
                f"attempt {number} did not say which step it went on from: its steps count as done again from the "
                "first. Save prof.state_dict() in the checkpoint and hand it to prof.load_state_dict()."
            )
        tables = resume.after(tables, attempt.tables, max((step or 0) - base, 0))
    return tables, notes


def _resumed_step(attempt: _Attempt) -> int | None:
    found = [one.record.meta.get(RESUMED, {}).get("step") for one in attempt.outlines]
    return next((int(step) for step in found if step is not None), None)


def _meta(records: Sequence[Record], attempts: Sequence[_Attempt], notes: Sequence[str]) -> dict[str, Any]:
    """What ``run.json`` says of the whole, from what the processes' own say."""
    speaker = records[0].meta
    table = [
        entry
        for one in attempts
        for entry in stragglers.ranks_table(one.outlines, one.logs, one.waiting, one.statuses)
    ]
    domains = {entry["name"]: entry for attempt in attempts for entry in attempt.domains}
    return {
        **speaker,
        "status": _overall(attempts[-1].statuses).value,
        "world_size": max(int(record.meta.get("world_size", 1)) for record in records),
        "domains": list(domains.values()),
        "missing": sorted({str(name) for record in records for name in record.meta.get("missing", ())}),
        "warnings": [*notes, *_warnings(records, attempts)],
        "overhead": _overhead(records),
        "totals": _totals(records),
        "ranks": table,
        "merged": {
            "clocks": [asdict(clock) for clock in {c.host: c for one in attempts for c in one.hosts}.values()],
            "sources": {record.path.name: source_size(record.path) for record in records},
        },
    }  # fmt: skip


def source_size(path: Path) -> int:
    """Bytes of a process's files: what tells a record that has grown since."""
    return sum(file.stat().st_size for file in path.iterdir() if file.suffix in (".csv", ".json"))


def _overall(statuses: Sequence[str]) -> Status:
    """How the job stands: it goes on as long as its first process does; who says nothing then was interrupted."""
    if statuses[0] == Status.RUNNING.value:
        return Status.RUNNING
    if Status.FAILED.value in statuses:
        return Status.FAILED
    return Status.COMPLETED if set(statuses) == {Status.COMPLETED.value} else Status.INTERRUPTED


def _overhead(records: Sequence[Record]) -> dict[str, float]:
    """The mean of what the profiler cost each process."""
    costs = [record.meta.get("overhead", {}) for record in records]
    names = dict.fromkeys(name for cost in costs for name in cost)
    return {name: sum(float(cost.get(name) or 0.0) for cost in costs) / len(costs) for name in names}


def _totals(records: Sequence[Record]) -> dict[str, Any] | None:
    edges = [float(record.totals.get("edge_joules") or 0.0) for record in records]
    return {"edge_joules": math.hypot(*edges)} if all(record.totals for record in records) else None


def _warnings(records: Sequence[Record], attempts: Sequence[_Attempt]) -> list[str]:
    """What processes warned of, once, with who said it where not all did; and what merging found."""
    found: list[str] = []
    for attempt in attempts:
        found += [*_absent(attempt), *attempt.doubts]
    twice = sorted({name for attempt in attempts for name in attempt.twice})
    if twice:
        found.append(f"several processes counted {', '.join(twice)}; it is counted once here")
    spread = [record.rank for record in records if not record.has_tables]
    if spread:
        found.append(
            f"of {_named(spread)} only the totals are here; they are spread evenly over the steps. For the rest, copy "
            "those directories here and run energy-profiler merge on them all."
        )
    said = Counter(str(line) for record in records for line in record.meta.get("warnings", ()))
    for line, times in said.items():
        ranks = [record.rank for record in records if line in record.meta.get("warnings", ())]
        found.append(line if times == len(records) else f"{_named(ranks)}: {line}")
    return found


def _absent(attempt: _Attempt) -> list[str]:
    world = max(int(one.record.meta.get("world_size", 1)) for one in attempt.outlines)
    here = {one.record.rank for one in attempt.outlines}
    absent = [rank for rank in range(world) if rank not in here]
    number = attempt.outlines[0].record.attempt
    found = (
        [f"{_named(absent)} of attempt {number} left no record here: totals are incomplete"] if absent else []
    )
    dead = [
        one.record.rank
        for one, status in zip(attempt.outlines, attempt.statuses, strict=True)
        if status != Status.RUNNING.value and not one.record.totals
    ]
    if dead:
        found.append(
            f"{_named(dead)} of attempt {number} ended without an end mark: up to a second of it is missing"
        )
    return found


def _named(ranks: Sequence[int]) -> str:
    """``rank 3``, ``ranks 1, 2`` or ``ranks 0-7, 9``."""
    runs: list[list[int]] = []
    for rank in sorted(set(ranks)):
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"rank{'s' if len(set(ranks)) > 1 else ''} {', '.join(texts)}"
