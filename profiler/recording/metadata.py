"""Contents of ``run.json``. No command line, no environment, no secrets."""

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from profiler._compat import process_namespace, process_start
from profiler._version import __version__
from profiler.distributed.rank import Identity, host_id, process_group
from profiler.records import Refusal, Status, Summary
from profiler.sensors.base import Sensor
from profiler.sensors.host import describe_host
from profiler.storage.schema import (
    ALTERNATING_STEPS,
    CONVOLUTIONAL,
    INFERRED_STEPS,
    JOB,
    LAUNCHED_RANKS,
    LIBRARIES,
    MISSING_RANKS,
    NONFINITE_ENDS,
    OVERLAPPING_PHASES,
    PROCESS,
    ROWS_LOST,
    SCHEMA_VERSION,
    TOTALS,
    UNRECORDED_PROCESSES,
)
from profiler.units import NANOSECONDS_PER_SECOND
from profiler.work import SECTION as WORK

_REPORTED = ("torch", "nvidia-ml-py", "psutil", "codecarbon")


def versions() -> dict[str, str]:
    """Return the versions of the packages that the numbers depend on; absent where not installed."""
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


def head(
    *, name: str, started: datetime, identity: Identity, refusals: Sequence[Refusal], job: str = ""
) -> dict[str, Any]:
    """Return the part that does not change; ``job`` is the identifier of a job of several processes."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        **start_time(started),
        "rank": identity.rank,
        "world_size": identity.world_size,
        "attempt": identity.attempt,
        "host": host_id(os.environ),
        "pid": os.getpid(),
        **_process(),
        **({JOB: job} if job else {}),
        "versions": versions(),
        "refusals": [asdict(refusal) for refusal in refusals],
    }


def _process() -> dict[str, Any]:
    """Return the section by which a reader on this host sees that the process has ended; empty where it cannot."""
    namespace, start = process_namespace(), process_start(os.getpid())
    return {} if namespace is None or start is None else {PROCESS: {"namespace": namespace, "start": start}}


def hardware(sensors: Sequence[Sensor]) -> dict[str, Any]:
    """Return the boards, the processor, the memory and the driver; absent where unknown."""
    boards: dict[str, str] = {}
    driver = ""
    for sensor in sensors:
        known = getattr(sensor, "hardware", {})
        boards |= known.get("boards", {})
        driver = driver or known.get("driver", "")
    import psutil

    found = {
        "boards": boards,
        "processor": describe_host(Path("/"), os.environ).cpu_model,
        "memory_bytes": int(psutil.virtual_memory().total),
        "driver": driver,
    }
    return {name: value for name, value in found.items() if value}


_BATCH_JOBS = {
    "SLURM_JOB_ID": "slurm_job_id",
    "SLURM_ARRAY_JOB_ID": "slurm_array_job_id",
    "SLURM_ARRAY_TASK_ID": "slurm_array_task_id",
    "SLURM_JOB_NAME": "slurm_job_name",
    "SLURM_JOB_PARTITION": "slurm_partition",
    "SLURM_JOB_ACCOUNT": "slurm_account",
    "SLURM_CLUSTER_NAME": "slurm_cluster",
    "PBS_JOBID": "pbs_job_id",
    "LSB_JOBID": "lsf_job_id",
    "JOB_COMPLETION_INDEX": "kubernetes_completion_index",
}
"""Keys of the section ``batch_job`` by environment variable."""


def batch_job(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the identifiers that a batch system gave this job; in a Kubernetes pod also the pod's name."""
    found = {key: environ[name] for name, key in _BATCH_JOBS.items() if environ.get(name)}
    if "KUBERNETES_SERVICE_HOST" in environ and environ.get("HOSTNAME"):
        found["kubernetes_pod"] = environ["HOSTNAME"]
    return found


def start_time(started: datetime) -> dict[str, Any]:
    """Return the wall-clock time of the start."""
    return {
        "started_at": started.isoformat(timespec="milliseconds"),
        "started_unix_seconds": started.timestamp(),
    }


def clock(start_ns: int) -> dict[str, float]:
    """Return the window's start on the host's monotonic clock, which its processes share, and on the wall clock."""
    before, wall, after = time.monotonic_ns(), time.time(), time.monotonic_ns()
    since = ((before + after) / 2 - start_ns) / NANOSECONDS_PER_SECOND
    return {"monotonic_seconds": start_ns / NANOSECONDS_PER_SECOND, "unix_seconds": wall - since}


def totals(
    summary: Summary, metrics: Mapping[str, float], nonfinite_ends: Mapping[str, int]
) -> dict[str, Any]:
    """Return the totals of a finished run.

    Args:
        summary: The run.
        metrics: Last level of each metric.
        nonfinite_ends: Number of values that are not finite after it, of the metrics that have any.
    """
    names = ("window_seconds", "steps", "step_joules", "span_joules", "modelled_joules", "edge_joules")
    joules = {one.domain.name: one.joules for one in summary.metered if one.domain.billed}
    return {
        **{name: getattr(summary, name) for name in names},
        "domain_joules": joules,
        "metrics": dict(metrics),
        **({NONFINITE_ENDS: dict(nonfinite_ends)} if nonfinite_ends else {}),
    }


def body(
    *, status: Status, domains: list[dict[str, Any]], missing: Sequence[str], warnings: Sequence[str],
    totals: Mapping[str, Any] | None, overhead: Mapping[str, Any], rows_lost: Mapping[str, int],
    alternating_steps: int, work: Mapping[str, Any], libraries: Sequence[str] = (), convolutional: bool = False,
    overlapping_phases: Sequence[str] = (), inferred_steps: int = 0, missing_ranks: int = 0,
    unrecorded_processes: int = 0, launched_ranks: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Return the part that changes during the run. Only a finished run has ``totals``."""
    counts = {
        ALTERNATING_STEPS: alternating_steps,
        INFERRED_STEPS: inferred_steps,
        LAUNCHED_RANKS: launched_ranks,
        MISSING_RANKS: missing_ranks,
        UNRECORDED_PROCESSES: unrecorded_processes,
    }
    return {
        "status": status.value,
        "domains": domains,
        "missing": list(missing),
        "warnings": list(warnings),
        "overhead": dict(overhead),
        "process_group": process_group() is not None,
        TOTALS: None if totals is None else dict(totals),
        **({ROWS_LOST: dict(rows_lost)} if rows_lost else {}),
        **{key: count for key, count in counts.items() if count},
        **({LIBRARIES: list(libraries)} if libraries else {}),
        **({CONVOLUTIONAL: True} if convolutional else {}),
        **({OVERLAPPING_PHASES: list(overlapping_phases)} if overlapping_phases else {}),
        **({WORK: dict(work)} if work else {}),
    }
