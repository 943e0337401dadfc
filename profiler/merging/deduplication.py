"""Counting each device once: who counted what and when, and what is taken off where two counted the same.

While recording, one process a host counts what its processes share, so that claims follow each other. Where processes
could not agree (separate containers, no lock), two claims overlap: the earlier is kept, and of the later what lies
behind it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profiler.merging.discovery import Outline, Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Array = npt.NDArray[np.float64]

_TOLERANCE_SECONDS = 0.002
"""Claims may overlap by this much: a process's last row ends where the next one's first begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One process counted one device from ``start`` to ``end``, in seconds of the common axis."""

    owner: int
    domain: str
    device: str
    start: float
    end: float


def device_of(record: Record, domain: Mapping[str, Any]) -> str:
    """What tells a device from all others: a GPU's own number, or its host and name."""
    name = str(domain["name"])
    if name.startswith("gpu:"):
        return str(domain.get("device") or f"{record.host}/{record.rank}/{name}")
    return f"{record.host or record.path}/{name}"


def claims(outlines: Sequence[Outline], starts: Sequence[float]) -> list[Claim]:
    """Who counted what; owners are indices of ``outlines``."""
    return [
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


def kept_from(made: Iterable[Claim]) -> dict[tuple[int, str], float]:
    """From when on each contested claim is kept, by owner and domain; infinity where it is dropped altogether."""
    by_device: dict[str, list[Claim]] = defaultdict(list)
    for claim in made:
        by_device[claim.device].append(claim)
    kept: dict[tuple[int, str], float] = {}
    for contenders in by_device.values():
        cursor = float("-inf")
        for claim in sorted(contenders, key=lambda c: (c.start, c.owner)):
            if cursor - claim.start > _TOLERANCE_SECONDS:
                kept[claim.owner, claim.domain] = cursor if claim.end > cursor else float("inf")
            cursor = max(cursor, claim.end)
    return kept


def spent(samples: "pd.DataFrame", domain: str, moments: "Array") -> "Array":
    """Cumulative joules of a domain at moments of its own process's window, on straight lines between samples."""
    import numpy as np

    rows = samples[samples["domain"] == domain]
    if rows.empty:
        return np.zeros(len(moments))
    joules: Array = np.interp(moments, rows["time_seconds"].to_numpy(), rows["energy_joules"].to_numpy())
    return joules


def taken_off(samples: "pd.DataFrame", domain: str, start: "Array", end: "Array", kept: float) -> "Array":
    """Joules of a domain in each of some rows that somebody else counts: what was spent before ``kept``."""
    import numpy as np

    cut = np.full(len(start), min(kept, 1e18))
    low = spent(samples, domain, np.minimum(start, cut))
    return spent(samples, domain, np.minimum(end, cut)) - low
