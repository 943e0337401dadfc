"""A process's place in its job, from the environment that launchers set."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """This process's rank among ``world_size``, and how often the job was restarted before (``attempt``)."""

    rank: int = 0
    world_size: int = 1
    attempt: int = 0

    @property
    def speaks(self) -> bool:
        """Whether this process writes for people: one of a job does."""
        return self.rank == 0


def identify(environ: Mapping[str, str]) -> Identity:
    """Read ``RANK`` and ``WORLD_SIZE`` (torchrun), else Slurm's; one process when neither is set."""
    rank = _number(environ, "RANK", "SLURM_PROCID")
    world = _number(environ, "WORLD_SIZE", "SLURM_NTASKS")
    if rank is None or world is None or not 0 <= rank < world:
        return Identity()
    return Identity(rank=rank, world_size=world, attempt=_number(environ, "TORCHELASTIC_RESTART_COUNT") or 0)


def _number(environ: Mapping[str, str], *names: str) -> int | None:
    found = next((environ[name] for name in names if name in environ), "")
    return int(found) if found.isdecimal() else None
