"""Records of processes that launched the ranks of their run, such as scripts with ``torch.multiprocessing.spawn``.

A launcher trains nothing itself. Of its record, the parts before its first rank began and after its last rank ended are
kept, because the ranks measure the time between. Its devices are theirs; of accelerators, only those that a rank
counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler.merging.discovery import Outline, Record, device_of, find_launchers
from profiler.records import Provenance, kind_of
from profiler.storage.reader import Tables
from profiler.units import MICROJOULES_PER_JOULE

if TYPE_CHECKING:
    import pandas as pd

_KINDS = {"setup": "teardown"}
"""Kinds of a launcher's spans after its ranks: it saw no step, so that all of its time is setup to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """A launcher on the time axis of a merged run, in seconds.

    Attributes:
        record: Its record.
        tables: Its tables.
        domains: The domains that count.
        start: Start of its window.
        end: End of its window.
        ranks_start: Start of the first window of its ranks.
        ranks_end: End of the last window of its ranks.
    """

    record: Record
    tables: Tables
    domains: tuple[Mapping[str, Any], ...]
    start: float
    end: float
    ranks_start: float
    ranks_end: float

    @property
    def parts(self) -> tuple[tuple[float, float], ...]:
        """Start and end of the parts that are kept: before and after its ranks."""
        return (
            (self.start, min(self.ranks_start, self.end)),
            (max(self.ranks_end, self.start), max(self.ranks_end, self.end)),
        )

    def spans(self, start: float, end: float) -> "pd.DataFrame":
        """Return its spans between two moments, with the joules of the counted domains, in its own seconds."""
        import numpy as np

        low, high = start - self.start, end - self.start
        spans = self.tables.spans
        spans = spans[(spans["end_seconds"] > low) & (spans["start_seconds"] < high)].copy()
        whole = spans["total_joules"].to_numpy()
        spans["start_seconds"] = np.maximum(spans["start_seconds"], low)
        spans["end_seconds"] = np.minimum(spans["end_seconds"], high)
        spans["total_joules"], spans["modelled_joules"] = self._joules(spans)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.nan_to_num(np.clip(spans["total_joules"].to_numpy() / whole, 0.0, 1.0))
        spans["uncertainty_joules"] *= np.sqrt(share)
        if low > 0:
            spans["kind"] = spans["kind"].replace(_KINDS)
        return spans

    def _joules(self, spans: "pd.DataFrame") -> "tuple[Any, Any]":
        """Return the joules of the counted domains in each span, and their estimated part; NaN without a domain."""
        import numpy as np

        samples = self.tables.samples
        total, modelled = np.full(len(spans), np.nan), np.full(len(spans), np.nan)
        for domain in self.domains:
            log = samples[samples["domain"] == domain["name"]]
            if log.empty:
                continue
            seconds, joules = log["time_seconds"].to_numpy(), log["energy_joules"].to_numpy()
            found = np.interp(spans["end_seconds"], seconds, joules) - np.interp(
                spans["start_seconds"], seconds, joules
            )
            found = np.round(found * MICROJOULES_PER_JOULE) / MICROJOULES_PER_JOULE
            total = np.nan_to_num(total) + found
            modelled = np.nan_to_num(modelled) + found * (domain["provenance"] == Provenance.MODELLED)
        return total, modelled


Stored = tuple[Outline, Tables]


def read_launchers(directories: Iterable[Path], *, partial: bool) -> list[Stored]:
    """Return the records of the launchers of runs, with their tables."""
    return [
        (one.outline(partial=partial), one.tables(partial=partial)) for one in find_launchers(directories)
    ]


def placed(
    found: Sequence[Stored], starts: Sequence[float],
    ranks: Sequence[Outline], rank_starts: Sequence[float],
) -> list[Launcher]:  # fmt: skip
    """Place launchers between their ranks.

    Args:
        found: The launchers.
        starts: Start of each launcher's window on the merged one.
        ranks: The ranks of the run.
        rank_starts: Start of each rank's window on the merged one.
    """
    counted = {device_of(one.record, domain) for one in ranks for domain in one.record.billed}
    return [
        Launcher(
            record=outline.record,
            tables=tables,
            domains=tuple(
                domain
                for domain in outline.record.billed
                if not kind_of(str(domain["name"])).is_accelerator
                or device_of(outline.record, domain) in counted
            ),
            start=start,
            end=start + outline.window_seconds,
            ranks_start=min(
                (
                    at
                    for at, one in zip(rank_starts, ranks, strict=True)
                    if one.record.host == outline.record.host
                ),
                default=start + outline.window_seconds,
            ),
            ranks_end=max(
                (
                    at + one.window_seconds
                    for at, one in zip(rank_starts, ranks, strict=True)
                    if one.record.host == outline.record.host
                ),
                default=start + outline.window_seconds,
            ),
        )
        for (outline, tables), start in zip(found, starts, strict=True)
    ]
