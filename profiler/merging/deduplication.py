"""Deduplication: each device is counted once, whichever processes counted it.

While recording, one process per host counts what its processes share, so claims follow each other. Where processes
could not agree (separate containers, no lock), claims overlap: the earlier one is kept, and of the later one the part
after it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.merging.discovery import Outline, Record, device_of
from profiler.records import Provenance
from profiler.storage.reader import Tables
from profiler.storage.schema import CATEGORIES, category_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Array = npt.NDArray[np.float64]

TOLERANCE_SECONDS = 0.002
"""Claims may overlap by this much: a process's last row ends where the first row of the next process begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One process counted one device from ``start`` to ``end``, in seconds of the common axis."""

    owner: int
    domain: str
    device: str
    start: float
    end: float


def claims_of(outlines: Sequence[Outline], starts: Sequence[float]) -> list[Claim]:
    """Return the claims of all processes; owners are indices of ``outlines``.

    A process that took a device over from one that had ended later than itself counted nothing of it.
    """
    claims = [
        Claim(
            owner=owner,
            domain=str(domain["name"]),
            device=device_of(outline.record, domain),
            start=start + float(domain.get("billed_from_seconds") or 0.0),
            end=start + outline.window_seconds,
        )
        for owner, (outline, start) in enumerate(zip(outlines, starts, strict=True))
        for domain in outline.record.billed
    ]
    return [claim for claim in claims if claim.end > claim.start]


def kept_from(claims: Iterable[Claim]) -> dict[int, dict[str, float]]:
    """Return from when on each contested claim is kept, by owner and domain; infinity where none of it is."""
    by_device: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_device[claim.device].append(claim)
    kept: dict[int, dict[str, float]] = defaultdict(dict)
    for contenders in by_device.values():
        cursor = float("-inf")
        for claim in sorted(contenders, key=lambda c: (c.start, c.owner)):
            if cursor - claim.start > TOLERANCE_SECONDS:
                kept[claim.owner][claim.domain] = cursor if claim.end > cursor else float("inf")
            cursor = max(cursor, claim.end)
    return kept


def without_contested(tables: Tables, record: Record, kept: Mapping[str, float]) -> Tables:
    """Subtract from a rank's rows the joules that another rank counts.

    Args:
        tables: The rank's tables.
        record: Its record.
        kept: From when on it counts each contested domain, in seconds of its own window.
    """
    import numpy as np

    for name, since in kept.items():
        domain = next(entry for entry in record.billed if entry["name"] == name)
        column = CATEGORIES[category_of(name)]
        steps, spans = (
            _counted_before(tables.samples, name, frame, since) for frame in (tables.steps, tables.spans)
        )
        is_alone = sum(CATEGORIES[category_of(entry["name"])] == column for entry in record.billed) == 1
        if is_alone:  # then the column holds this device's joules alone, more exactly than its samples
            before = tables.steps["end_seconds"].to_numpy() <= since
            # Empty cells are of steps before this process counted the device: they have other energy to keep.
            steps[before] = np.nan_to_num(tables.steps[column].to_numpy()[before])
        is_modelled = domain["provenance"] == Provenance.MODELLED
        tables = _subtracted(tables, column, steps, spans, is_modelled=is_modelled)
    return tables


def _counted_before(samples: "pd.DataFrame", domain: str, rows: "pd.DataFrame", since: float) -> "Array":
    """Return the joules of a domain in each row before ``since``, on straight lines between samples."""
    import numpy as np

    start, end = rows["start_seconds"].to_numpy(), rows["end_seconds"].to_numpy()
    log = samples[samples["domain"] == domain]
    if log.empty:
        return np.zeros(len(start))
    seconds, joules = log["time_seconds"].to_numpy(), log["energy_joules"].to_numpy()
    cut = min(since, 1e18)
    low, high = (np.interp(np.minimum(moment, cut), seconds, joules) for moment in (start, end))
    found: Array = high - low
    return found


def _subtracted(
    tables: Tables, column: str, step_joules: "Array", span_joules: "Array", *, is_modelled: bool
) -> Tables:
    import numpy as np

    steps, spans = tables.steps.copy(), tables.spans.copy()
    off = np.minimum(step_joules, np.nan_to_num(steps[column].to_numpy()))
    totals = ("total_joules", *(("modelled_joules",) if is_modelled else ()))
    for name in (column, *totals):
        steps[name] = np.maximum(steps[name].to_numpy() - off, 0.0)
    for name in totals:
        spans[name] = np.maximum(spans[name].to_numpy() - span_joules, 0.0)
    return Tables(steps=steps, spans=spans, samples=tables.samples, metrics=tables.metrics)
