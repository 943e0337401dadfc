"""Who the others waited for: joules by rank and node, and those spent waiting.

Under data parallelism the ranks meet inside the backward pass, where gradients are added up: whoever comes first
waits there for whoever comes last. A rank's backward pass is thus as long as its own work and its wait, and what it is
longer than the shortest one of the same block is taken as waiting. That assumes equal work, so that it sees ranks that
were late with their data or their forward pass, not those with slower backward passes; and it sees nothing where
kernels run behind the host's back and the host does not wait for them.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from profiler.merging.devices import Log
from profiler.merging.discovery import Outline

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]


def waiting_seconds(backwards: "Sequence[npt.NDArray[np.floating[Any]]]") -> "Array":
    """Each rank's seconds in backward passes beyond the shortest of each block.

    Args:
        backwards: Seconds in backward passes, by rank and block; NaN where there is none.
    """
    import numpy as np

    if len(backwards) < 2:  # noqa: PLR2004 - nobody to wait for
        return np.zeros(len(backwards))
    matrix = np.vstack(backwards)
    filled = np.where(np.isnan(matrix), np.inf, matrix)
    least = filled.min(axis=0)
    least[~np.isfinite(least)] = 0.0
    beyond: Array = np.nansum(matrix - least, axis=1, dtype=np.float64)
    return beyond


def ranks_table(
    outlines: Sequence[Outline], logs: Sequence[Log], waiting: Sequence[float], statuses: Sequence[str]
) -> list[dict[str, Any]]:
    """One entry a process. What the processes of a host share is split equally between those of the attempt.

    Args:
        outlines: The processes.
        logs: What was counted, each device once.
        waiting: Seconds that each waited.
        statuses: How each ended.
    """
    own, shared = _joules(logs)
    at_host: dict[tuple[str, int], int] = defaultdict(int)
    for outline in outlines:
        at_host[_node(outline)] += 1
    found = []
    for index, outline in enumerate(outlines):
        record = outline.record
        mine = own.get((record.rank, record.attempt), 0.0)
        part = shared.get(_node(outline), 0.0) / at_host[_node(outline)]
        seconds = waiting[index]
        window = outline.window_seconds
        found.append({
            "rank": record.rank, "attempt": record.attempt, "host": record.host, "status": statuses[index],
            "window_seconds": window, "steps": int(outline.ends[-1]) if len(outline.ends) else 0,
            "own_joules": mine, "shared_joules": part, "joules": mine + part, "waiting_seconds": seconds,
            "waiting_joules": (mine + part) * seconds / window if window else 0.0,
            "directory": record.path.name, "has_tables": record.has_tables,
        })  # fmt: skip
    return found


def _node(outline: Outline) -> tuple[str, int]:
    return outline.record.host, outline.record.attempt


def _joules(logs: Sequence[Log]) -> tuple[dict[tuple[int, int], float], dict[tuple[str, int], float]]:
    """Joules of each rank's own devices, and of what each host's ranks share; each by attempt too."""
    own: dict[tuple[int, int], float] = defaultdict(float)
    shared: dict[tuple[str, int], float] = defaultdict(float)
    for log in logs:
        if str(log.domain["name"]).startswith("gpu:"):
            own[log.record.rank, log.record.attempt] += log.total
        else:
            shared[log.record.host, log.record.attempt] += log.total
    return own, shared
