"""What a recording needs at its start: torch, the sensors of this machine, a directory of its own."""

import os
import sys
from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler._compat import make_anew
from profiler.config import Options
from profiler.distributed.layout import find_place
from profiler.distributed.rank import identify, process_group
from profiler.errors import MissingDependencyError
from profiler.records import Progress
from profiler.storage.schema import RESUMED, RUN_FILE, STEPS, TABLES, StepRow

if TYPE_CHECKING:
    from profiler.recording.session import Session
    from profiler.sensors.base import Found

_PARENT = "energy_runs"
_NAMES = (RUN_FILE, *(table.filename for table in TABLES))


def require_torch() -> None:
    """Check that torch is installed, and leave the moment of its import to the training.

    Raises:
        MissingDependencyError: It is not installed.
    """
    if sys.modules.get("torch") is None and ("torch" in sys.modules or find_spec("torch") is None):
        raise MissingDependencyError(
            "torch", needed_for="Recording a training run", install='pip install "energy-profiler[torch]"'
        )


def open_session(
    options: Options,
    *,
    observe: Callable[[StepRow], None],
    advance: Callable[[Progress], None],
    say: Callable[[str], None],
) -> "Session":
    """Make a recording that is ready to start.

    Args:
        options: What the user says of the run.
        observe: Called, on the sampler's thread, with each finished row of steps.
        advance: Called, there too, with where the run stands.
        say: Called with each warning once.
    """
    from profiler.recording.session import Session
    from profiler.torch_hooks.manager import dispatcher

    declared, found = {**options.declared(), **_resumed(options)}, _found(options)
    identity = identify(os.environ, process_group())
    new_path = _new_path if identity.has_company else _claimed_path
    place = find_place(identity, lambda: new_path(options), os.environ)
    return Session(
        place=place,
        name=options.name or place.run_path.name,
        declared=declared,
        found=found,
        owns_sensors=options.sensors is None,
        hooks=dispatcher(),
        period_seconds=options.sample_period_seconds,
        times_loading=options.time_data_loading,
        observe=observe,
        advance=advance,
        say=say,
    )


def _resumed(options: Options) -> dict[str, Any]:
    """Return the section of ``run.json`` that names the run to be continued; empty where none is."""
    if options.resume is None:
        return {}
    from profiler.merging.load import resume_point

    return {RESUMED: resume_point(Path(options.resume))}


def _found(options: Options) -> "Found":
    from profiler.recording.device_selection import cuda_uuids
    from profiler.sensors import discover
    from profiler.sensors.base import Found

    if options.sensors is None:
        return discover(environ=os.environ, cuda_uuids=cuda_uuids())
    return Found(sensors=tuple(options.sensors))


def _new_path(options: Options) -> Path:
    """A directory that no run has yet, wherever the training goes while it is recorded."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return _free(Path(options.run_dir or Path(_PARENT) / f"{stamp}-{os.urandom(3).hex()}").absolute())


def _claimed_path(options: Options) -> Path:
    """Such a directory, and a file of this run in it: a process that looks at the same moment takes another one."""
    while not make_anew((path := _new_path(options)) / STEPS.filename):
        pass
    return path


def _free(path: Path) -> Path:
    """``path``, or the first of ``path-2``, ``path-3``, ... in which none of a run's files exists already."""
    number = 2
    free = path
    while any(os.path.lexists(free / name) for name in _NAMES) or any(free.glob("rank-*-attempt-*")):
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free
