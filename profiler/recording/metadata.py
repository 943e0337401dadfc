"""``run.json``: what a run directory says of itself. No command line, no environment, no secrets."""

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from profiler._version import __version__
from profiler.distributed.rank import Identity, host_id, process_group
from profiler.recording.meter import Meters
from profiler.records import Domain, Refusal, Status, Summary
from profiler.storage.schema import ROWS_LOST, SCHEMA_VERSION, TOTALS
from profiler.units import NANOSECONDS_PER_SECOND

_REPORTED = ("torch", "nvidia-ml-py", "psutil", "codecarbon")


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on; what is not installed is absent."""
    found = {"energy-profiler": __version__, "python": platform.python_version(), "system": platform.system()}
    for package in _REPORTED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = str(torch.__version__)
    return found


def head(*, name: str, started: datetime, identity: Identity, refusals: Sequence[Refusal]) -> dict[str, Any]:
    """The part that does not change."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "started_at": started.isoformat(timespec="milliseconds"),
        "started_unix_seconds": started.timestamp(),
        "rank": identity.rank,
        "world_size": identity.world_size,
        "attempt": identity.attempt,
        "host": host_id(os.environ),
        "versions": versions(),
        "refusals": [asdict(refusal) for refusal in refusals],
    }


def clock(start_ns: int) -> dict[str, float]:
    """The window's start on the host's monotonic clock, which its processes share, and on the wall's."""
    before, wall, after = time.monotonic_ns(), time.time(), time.monotonic_ns()
    since = ((before + after) / 2 - start_ns) / NANOSECONDS_PER_SECOND
    return {"monotonic_seconds": start_ns / NANOSECONDS_PER_SECOND, "unix_seconds": wall - since}


def domains(meters: Meters, start_ns: int) -> list[dict[str, Any]]:
    """Every sampled domain, with what is known of it by now."""
    return [_domain(meters, domain, start_ns) for domain in meters.domains.values()]


def _domain(meters: Meters, domain: Domain, start_ns: int) -> dict[str, Any]:
    timeline = meters.timelines[domain.name]
    billed_from = meters.billed_from_ns.get(domain.name)
    since = None if billed_from is None else (billed_from - start_ns) / NANOSECONDS_PER_SECOND
    return {
        **asdict(meters.described(domain.name)),
        "provenance": domain.provenance.value,
        "notes": list(domain.notes),
        "billed": billed_from is not None,
        "billed_from_seconds": since,
        "bridged_seconds": timeline.bridged_seconds,
        "bridged_joules": timeline.bridged_joules,
        "resets": timeline.resets,
    }


def totals(summary: Summary) -> dict[str, Any]:
    """What a run came to: its end mark."""
    names = ("window_seconds", "steps", "step_joules", "span_joules", "modelled_joules", "edge_joules")
    joules = {one.domain.name: one.joules for one in summary.metered if one.domain.billed}
    return {**{name: getattr(summary, name) for name in names}, "domain_joules": joules}


def body(
    *, status: Status, listed: list[dict[str, Any]], missing: Sequence[str], warnings: Sequence[str],
    totals: Mapping[str, Any] | None, overhead: Mapping[str, Any], rows_lost: Mapping[str, int],
) -> dict[str, Any]:  # fmt: skip
    """The part that changes while the run goes on. ``totals`` stands only at the end: it is the end mark."""
    return {
        "status": status.value,
        "domains": listed,
        "missing": list(missing),
        "warnings": list(warnings),
        "overhead": dict(overhead),
        "process_group": process_group() is not None,
        TOTALS: None if totals is None else dict(totals),
        **({ROWS_LOST: dict(rows_lost)} if rows_lost else {}),
    }
