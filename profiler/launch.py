"""What a recording needs at its start: torch, the sensors of this machine, a directory of its own."""

import os
import secrets
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.errors import MissingDependencyError
from profiler.options import Options
from profiler.ranks.identity import identify
from profiler.rundir.schema import RUN_FILE, TABLES, StepRow

if TYPE_CHECKING:
    from profiler.recording.session import Session
    from profiler.sensors.base import Found

_PARENT = "energy_runs"


def import_torch() -> None:
    """Import torch, which the hooks then find among the loaded modules.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import torch  # noqa: F401 - the hooks find it among the loaded modules
    except ImportError:
        raise MissingDependencyError(
            "torch", needed_for="Recording a training run", install='pip install "energy-profiler[torch]"'
        ) from None


def open_session(
    options: Options, *, observe: Callable[[StepRow], None], say: Callable[[str], None]
) -> "Session":
    """Make a recording that is ready to start. torch must have been imported.

    Args:
        options: What the user says of the run.
        observe: Called, on the sampler's thread, with each finished row of steps.
        say: Called with each warning once.
    """
    from profiler.hooks.dispatcher import dispatcher
    from profiler.recording.session import Session

    identity = identify(os.environ)
    path = _free(Path(options.run_dir or _new_path(identity.rank, identity.world_size)))
    return Session(
        path=path,
        name=options.name or path.name,
        declared=options.declared(),
        found=_found(options),
        owns_sensors=options.sensors is None,
        hooks=dispatcher(),
        identity=identity,
        period_seconds=options.sample_period_seconds,
        observe=observe,
        say=say,
    )


def _found(options: Options) -> "Found":
    from profiler.sensors import discover
    from profiler.sensors.base import Found

    if options.sensors is None:
        return discover(environ=os.environ, cuda_uuids=_cuda_uuids())
    return Found(sensors=tuple(options.sensors))


def _cuda_uuids() -> list[str] | None:
    """The UUIDs of the process's GPUs in torch's own order, where CUDA is initialised and so can say."""
    cuda = sys.modules["torch"].cuda
    if not cuda.is_initialized():
        return None
    found = [getattr(cuda.get_device_properties(index), "uuid", None) for index in range(cuda.device_count())]
    return None if None in found else [f"GPU-{uuid}" for uuid in found]


def _new_path(rank: int, world_size: int) -> Path:
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    suffix = f"-rank-{rank:05d}" if world_size > 1 else ""
    return Path(_PARENT) / f"{stamp}-{secrets.token_hex(3)}{suffix}"


def _free(path: Path) -> Path:
    """``path``, or the first of ``path-2``, ``path-3``, ... in which none of a run's files exists already."""
    number = 2
    free = path
    while any((free / name).exists() for name in (RUN_FILE, *(table.filename for table in TABLES))):
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free
