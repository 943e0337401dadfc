"""Opening a run directory, whatever it holds: one process's run, a job's, and what came before it."""

from pathlib import Path
from typing import Any

from profiler.errors import RunError
from profiler.merging.discovery import children
from profiler.merging.history import place_of, with_history
from profiler.merging.merge import merge, source_size
from profiler.records import Status
from profiler.storage.reader import StoredRun, read_meta
from profiler.storage.schema import RESUMED, RUN_FILE


def load(directory: Path, *, partial: bool, seen: tuple[Path, ...] = ()) -> StoredRun:
    """Open a run.

    Args:
        directory: The run directory.
        partial: Where a file is damaged, read what stands before the damage.
        seen: Runs that this one comes before: none of them can be its history.

    Raises:
        RunError: As :func:`profiler.load_run` does.
    """
    run = _own(directory, partial=partial)
    is_part = run.meta.get("world_size", 1) > 1 and "merged" not in run.meta
    if is_part or not run.meta.get(RESUMED):
        return run
    place = place_of(run)
    if place is not None and place.resolve() in (*seen, directory.resolve()):
        place = None
    earlier = load(place, partial=True, seen=(*seen, directory.resolve())) if place else None
    whole = with_history(run, earlier)
    return StoredRun(directory, whole.meta, partial=partial, tables=whole.tables)


def _own(directory: Path, *, partial: bool) -> StoredRun:
    """Open what a directory itself holds; records that have grown since they were merged are merged again."""
    processes = children(directory)
    if not processes:
        return StoredRun(directory, read_meta(directory), partial=partial)
    if (directory / RUN_FILE).exists():
        meta = read_meta(directory)
        if not _goes_on(meta) and _sources(meta) == {path.name: source_size(path) for path in processes}:
            return StoredRun(directory, meta, partial=partial)
    merged = merge([directory], partial=partial)
    return StoredRun(directory, merged.meta, partial=partial, tables=merged.tables)


def _goes_on(meta: dict[str, Any]) -> bool:
    """Whether a process had no end mark yet: by now it may have one, or have been silent for too long."""
    return any(entry.get("status") == Status.RUNNING.value for entry in meta.get("ranks", ()))


def _sources(meta: dict[str, Any]) -> dict[str, int]:
    return dict(meta.get("merged", {}).get("sources", {}))


def resume_point(directory: Path) -> dict[str, Any]:
    """What a run must keep of the one at ``directory`` that it resumes at its end.

    Raises:
        RunError: It cannot be read.
    """
    run = load(directory, partial=True)
    if not len(run.steps) and not len(run.spans):
        raise RunError(directory, "there is nothing in it to resume.")
    steps = int(run.steps["step"].iloc[-1]) if len(run.steps) else 0
    return {"run": str(directory.absolute()), "step": steps, "joules": run.total_joules}
