"""A process's place in its job, from the process group or from the environment that launchers set."""

import hashlib
import os
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
HOST_ID = "ENERGY_PROFILER_HOST_ID"
"""Set this to tell hosts apart that share a boot id, such as network namespaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """This process among the others of its job.

    Attributes:
        rank: Its rank.
        world_size: How many processes there are.
        attempt: How often the launcher restarted the job before.
        local_world_size: How many of them run on this host; None where nobody said.
        job: What all of them call the job, the same on every host; empty where nobody said.
        is_elastic: Whether the launcher starts dead processes again.
    """

    rank: int = 0
    world_size: int = 1
    attempt: int = 0
    local_world_size: int | None = None
    job: str = ""
    is_elastic: bool = False

    @property
    def speaks(self) -> bool:
        """Whether this process writes for people: one of a job does."""
        return self.rank == 0

    @property
    def may_span_hosts(self) -> bool:
        """Whether others may run on other hosts."""
        return self.has_company and self.local_world_size != self.world_size

    @property
    def has_company(self) -> bool:
        """Whether it is one of several."""
        return self.world_size > 1


def identify(environ: Mapping[str, str], group: tuple[int, int] | None = None) -> Identity:
    """Find this process's place.

    Args:
        environ: ``RANK`` and ``WORLD_SIZE`` (torchrun), else those of a Slurm job step, are looked at.
        group: Rank and world size of the process group, where there is one already: it is believed first.
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
    """Rank and world size of torch's default process group; None where there is none. Communicates nothing."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()


def host_id(environ: Mapping[str, str]) -> str:
    """A short hash that tells this host from others: of its boot id, so that its clock is known to be one."""
    given = environ.get(HOST_ID)
    if given:
        return _short_hash(given)
    try:
        boot = _BOOT_ID.read_text(encoding="ascii")
    except OSError:  # not Linux: the network card's number, which is not a clock's, tells hosts apart
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
    """What every process of the job is told alike. It may be told again to a later job."""
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
    """What the processes of this user's job call the ``ordinal``-th run of it, as a file's name."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return _short_hash(f"{user} {identity.job} {ordinal}")
