"""Timeline of steps, spans, power and loss in the Trace Event Format of Perfetto and chrome://tracing."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from profiler._version import __version__
from profiler.export.timeline import Tile, tiles_of

if TYPE_CHECKING:
    import pandas as pd

    from profiler.run import Run

_MICROSECONDS = 1e6
_EVENTS_AT_ONCE = 10_000
_STEPS, _SPANS = 1, 2
_THREADS = {_STEPS: "steps", _SPANS: "outside steps"}

Event = dict[str, Any]


def export(runs: "Sequence[Run]") -> bytes:
    """Return the file of one run."""
    (run,) = runs
    content = {
        "displayTimeUnit": "ms",
        "otherData": {
            "exporter": f"energy-profiler {__version__}",
            "started_at": str(run.meta.get("started_at", "")),
        },
        "traceEvents": [],
    }
    before, after = _json(content).rsplit("[]", 1)
    return f"{before}[{','.join(_batches(_events(run)))}]{after}\n".encode()


def _json(content: object) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def _batches(events: Iterator[Event]) -> Iterator[str]:
    """Yield the JSON of some events at a time: as objects, all of them would take ten times the memory of the file."""
    while batch := list(islice(events, _EVENTS_AT_ONCE)):
        yield _json(batch)[1:-1]


def _events(run: "Run") -> Iterator[Event]:
    pid = int(run.meta.get("rank") or 0)
    yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": str(run.meta.get("name", ""))}}
    for tid, name in _THREADS.items():
        yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}
    for tile in tiles_of(run):
        yield _complete(tile, pid)
        if "loss" in tile.facts:
            yield _counter("loss", tile.end_seconds, {"loss": tile.facts["loss"]}, pid)
    for domain, rows in run.samples_by_domain.items():
        yield from _meter(domain, rows, pid)


def _complete(tile: Tile, pid: int) -> Event:
    start = round(tile.start_seconds * _MICROSECONDS)
    known = {f"{part}_seconds": seconds for part, seconds in tile.parts.items()}
    return {
        "ph": "X",
        "pid": pid,
        "tid": _STEPS if tile.is_step else _SPANS,
        "name": tile.name,
        "cat": tile.group,
        "ts": start,
        "dur": round(tile.end_seconds * _MICROSECONDS) - start,
        "args": {**({} if tile.joules is None else {"joules": tile.joules}), **tile.facts, **known},
    }


def _counter(name: str, seconds: float, values: dict[str, float], pid: int) -> Event:
    return {"ph": "C", "pid": pid, "name": name, "ts": round(seconds * _MICROSECONDS), "args": values}


def _meter(domain: str, rows: "pd.DataFrame", pid: int) -> Iterator[Event]:
    """Yield the energy of a domain at each reading and its mean power until the next one."""
    times, joules = rows["time_seconds"].tolist(), rows["energy_joules"].tolist()
    for index, (time, energy) in enumerate(zip(times, joules, strict=True)):
        yield _counter(f"energy {domain}", time, {"joules": energy}, pid)
        if index + 1 < len(times) and times[index + 1] > time:
            watts = (joules[index + 1] - energy) / (times[index + 1] - time)
            yield _counter(f"power {domain}", time, {"watts": round(watts, 3)}, pid)
