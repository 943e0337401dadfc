"""Rank detection: from the process group, or from the environment variables that launchers set."""

import hashlib
import os
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
HOST_ID = "ENERGY_PROFILER_HOST_ID"
"""Environment variable that distinguishes hosts that share a boot id, such as network namespaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Rank of this process in its job.

    Attributes:
        rank: Its rank.
        world_size: Number of processes of the job.
        attempt: Number of restarts of the job by the launcher.
        local_world_size: Number of its processes on this host; None if unknown.
        job: Name of the job, the same on every host; empty if unknown.
        is_elastic: True if the launcher restarts dead processes.
    """

    rank: int = 0
    world_size: int = 1
    attempt: int = 0
    local_world_size: int | None = None
    job: str = ""
    is_elastic: bool = False

    @property
    def is_main(self) -> bool:
        """True for rank 0, the one process of a job that prints."""
        return self.rank == 0

    @property
    def may_span_hosts(self) -> bool:
        """True if other processes may run on other hosts."""
        return self.is_distributed and self.local_world_size != self.world_size

    @property
    def is_distributed(self) -> bool:
        """True if the job has several processes."""
        return self.world_size > 1


def detect_rank(environ: Mapping[str, str], group: tuple[int, int] | None = None) -> Identity:
    """Return the rank of this process.

    Args:
        environ: Environment variables: ``RANK`` and ``WORLD_SIZE`` (torchrun), else those of a Slurm job step.
        group: Rank and world size of the process group, if there is one already; it takes precedence.
    """
    rank, world = group or (
        _number(environ, "RANK", "SLURM_PROCID"),
        _number(environ, "WORLD_SIZE", "SLURM_STEP_NUM_TASKS"),
    )
    if rank is None or world is None or not 0 <= rank < world:
        return Identity()
    return Identity(
        rank=rank,
        world_size=world,
        attempt=_number(environ, "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT") or 0,
        local_world_size=_local_world_size(environ, world),
        job=_job(environ),
        is_elastic="TORCHELASTIC_RESTART_COUNT" in environ,
    )


def process_group() -> tuple[int, int] | None:
    """Return rank and world size of torch's default process group, if there is one. Involves no communication."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()


def host_id(environ: Mapping[str, str]) -> str:
    """Return a short hash of the host's boot id: processes with the same hash share a monotonic clock."""
    given = environ.get(HOST_ID)
    if given:
        return _short_hash(given)
    try:
        boot = _BOOT_ID.read_text(encoding="ascii")
    except OSError:  # not Linux: the hardware address, which differs between hosts but not between boots
        boot = str(uuid.getnode())
    return _short_hash(boot)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()[:12]


def _local_world_size(environ: Mapping[str, str], world: int) -> int | None:
    local = _number(environ, "LOCAL_WORLD_SIZE")
    nodes = _number(environ, "SLURM_STEP_NUM_NODES")
    if local is None and nodes is not None:
        return world if nodes == 1 else max(world // nodes, 1)
    return local


def _job(environ: Mapping[str, str]) -> str:
    """Return a name that all processes of the job derive alike. A later job may have the same one."""
    elastic = environ.get("TORCHELASTIC_RUN_ID", "none")
    if elastic != "none":
        return f"torchelastic {elastic}"
    if "SLURM_STEP_ID" in environ:
        return f"slurm {environ.get('SLURM_JOB_ID', '')}.{environ['SLURM_STEP_ID']}"
    return f"master {environ.get('MASTER_ADDR', '')}:{environ.get('MASTER_PORT', '')}"


def _number(environ: Mapping[str, str], *names: str) -> int | None:
    found = next((environ[name] for name in names if name in environ), "")
    return int(found) if found.isdecimal() else None


def run_key(identity: Identity, ordinal: int) -> str:
    """Return the key of the ``ordinal``-th run of this user's job, usable as a file name."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return _short_hash(f"{user} {identity.job} {ordinal}")
