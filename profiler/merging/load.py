"""Opening a run directory of any kind: of one process, of a job, or of a resumed run with its history."""

from pathlib import Path
from typing import Any

from profiler.errors import RunError
from profiler.merging.discovery import children, is_launcher, source_size
from profiler.records import Status
from profiler.storage.reader import StoredRun
from profiler.storage.run_file import read_run_file
from profiler.storage.schema import MERGED, MISSING_RANKS, RANKS, RESUMED, RUN_FILE


def load(directory: Path, *, partial: bool, seen: tuple[Path, ...] = ()) -> StoredRun:
    """Open a run.

    Args:
        directory: The run directory.
        partial: In a damaged file, read the rows before the damage instead of raising.
        seen: Runs that have this one in their history: none of them can be part of its own.

    Raises:
        RunError: As :func:`profiler.load_run` does.
    """
    run = _without_history(directory, partial=partial)
    is_rank = run.meta.get("world_size", 1) > 1 and MERGED not in run.meta
    if is_rank or not run.meta.get(RESUMED):
        return run
    from profiler.merging.resume import resumed_directory, with_history

    place = resumed_directory(run)
    if place is not None and place.resolve() in (*seen, directory.resolve()):
        place = None
    earlier = load(place, partial=True, seen=(*seen, directory.resolve())) if place else None
    return with_history(run, earlier)


def _without_history(directory: Path, *, partial: bool) -> StoredRun:
    """Open the run of a directory; records that have grown since they were merged are merged again."""
    processes = children(directory)
    if not processes:
        return StoredRun(directory, read_run_file(directory), partial=partial)
    if (directory / RUN_FILE).exists():
        meta = read_run_file(directory)
        if MERGED not in meta and not meta.get(MISSING_RANKS) and not is_launcher(meta):
            return StoredRun(
                directory, meta, partial=partial
            )  # of a process whose children have runs of their own
        if not _is_running(meta) and _sources(meta) == {path.name: source_size(path) for path in processes}:
            return StoredRun(directory, meta, partial=partial)
    # Most runs are of one process, and are opened without importing this.
    from profiler.merging.merge import merge

    return merge([directory], partial=partial, force=True)


def _is_running(meta: dict[str, Any]) -> bool:
    """Return true if a process had no totals when it was merged: it may have ended since, or been killed."""
    return any(entry.get("status") == Status.RUNNING.value for entry in meta.get(RANKS, ()))


def _sources(meta: dict[str, Any]) -> dict[str, int]:
    return dict(meta.get(MERGED, {}).get("sources", {}))


def resume_point(directory: Path) -> dict[str, Any]:
    """Return the section of ``run.json`` of a run that resumes the one at ``directory`` from its end.

    Raises:
        RunError: It cannot be read.
    """
    run = load(directory, partial=True)
    if not len(run.steps) and not len(run.spans):
        raise RunError(directory, "there is nothing in it to resume.")
    steps = int(run.steps["step"].iloc[-1]) if len(run.steps) else 0
    return {"run": str(directory.absolute()), "step": steps, "joules": run.total_joules}


def given_name(directory: Path) -> str | None:
    """Return the name that the user gave to a run; None where it has that of its directory, or cannot be read."""
    try:
        name = str(read_run_file(directory).get("name") or "")
    except (RunError, OSError):
        return None
    return name if name != directory.absolute().name else None
