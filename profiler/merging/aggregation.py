"""Aggregation of the ranks of one attempt: steps by common blocks, spans by their place and kind.

Each column is combined by the rule that the schema gives for it. A block ends when its last rank ended it, and a span
is as long as its mean over ranks, so that rows tile the window as in the record of one process.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from profiler.merging.alignment import block_of, is_aligned, known, sums
from profiler.storage.reader import Tables
from profiler.storage.schema import SPANS, STEPS
from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Array = npt.NDArray[np.float64]

_SUMMED = STEPS.where(unit="J", over_steps="sum", over_ranks="sum")
_AVERAGED = STEPS.where(unit="s", over_steps="sum", over_ranks="mean")
_LARGEST = STEPS.where(type="int", over_steps="sum", over_ranks="max")
_LAST = STEPS.where(type="int", over_steps="last", over_ranks="max")
_FIRST = STEPS.where(type="float", over_ranks="first")
_ZEROS = ("end_seconds", "loss", "losses", "variance", *_SUMMED, *_AVERAGED, *_LARGEST, *_LAST,
          *(f"ranks with {name}" for name in _AVERAGED))  # fmt: skip


@dataclass(slots=True, kw_only=True)
class SpanSums:
    """The spans of one kind before one block, over ranks; joules are whole microjoules."""

    first_seconds: float
    seconds: float = 0.0
    joules: float = 0.0
    modelled: float = 0.0
    variance: float = 0.0
    is_metered: bool = False
    overlapping: int = 0


@dataclass(slots=True, kw_only=True)
class RankSums:
    """Running sums over ranks, by block.

    Attributes:
        blocks: The last step of each block.
        ranks: How many ranks were added.
        end_seconds: End of the last window.
        spans: The spans before each block, by its index and their kind.
        columns: By name; joules are whole microjoules.
        metered: By column of joules, true where any rank has a number.
        phases: The user's phase of a block, by its index.
    """

    blocks: "npt.NDArray[np.int64]"
    ranks: int = 0
    end_seconds: float = 0.0
    spans: dict[tuple[int, str], SpanSums] = field(default_factory=dict)
    columns: "dict[str, Array]" = field(default_factory=dict)
    metered: "dict[str, npt.NDArray[np.bool_]]" = field(default_factory=dict)
    phases: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import numpy as np

        count = len(self.blocks)
        self.columns = {name: np.zeros(count) for name in _ZEROS}
        self.columns |= {name: np.full(count, np.nan) for name in _FIRST}
        self.metered = {name: np.zeros(count, dtype=bool) for name in _SUMMED}

    def add(self, tables: Tables, start: float, end: float) -> None:
        """Add a rank whose window lies from ``start`` to ``end``, in seconds of the merged window."""
        steps = tables.steps
        at = block_of(steps["step"].to_numpy(), self.blocks)
        self.ranks += 1
        self.end_seconds = max(self.end_seconds, end)
        self._add_spans(tables, at, start)
        self._add_times(steps, at, start)
        self._add_losses(steps, at)
        self._add_joules(steps, at)

    def _add_times(self, steps: "pd.DataFrame", at: "npt.NDArray[np.int64]", start: float) -> None:

        columns, count = self.columns, len(self.blocks)
        ends = steps["end_seconds"].to_numpy() + start
        # A step of the job ends when its slowest rank ends it.
        _take_largest(columns["end_seconds"], ends, at)
        for name in _AVERAGED:
            values = steps[name].to_numpy()
            columns[name] += sums(values, at, count)
            columns[f"ranks with {name}"] += known(values, at, count)
        named = (steps["phase"] != "").to_numpy()
        if named.any():
            for index, phase in zip(at[named].tolist(), steps["phase"][named].tolist(), strict=True):
                self.phases.setdefault(index, phase)

    def _add_losses(self, steps: "pd.DataFrame", at: "npt.NDArray[np.int64]") -> None:
        import numpy as np

        columns, count = self.columns, len(self.blocks)
        loss, nonfinite = steps["loss"].to_numpy(), steps["nonfinite_count"].to_numpy().astype(float)
        # The loss of a row is the mean of its finite losses, so each row weighs as many losses as it has.
        weights = np.where(
            np.isfinite(loss), np.maximum(steps["step_count"].to_numpy() - nonfinite, 1.0), 0.0
        )
        columns["loss"] += sums(np.where(weights > 0, loss, 0.0) * weights, at, count)
        columns["losses"] += sums(weights, at, count)
        for name in _LARGEST:
            of_rank = sums(steps[name].to_numpy().astype(float), at, count)
            columns[name] = np.maximum(columns[name], of_rank)
        for name in _LAST:
            _take_largest(columns[name], steps[name].to_numpy(), at)
        for name in _FIRST:
            last = np.full(count, np.nan)
            last[at] = steps[name].to_numpy()
            columns[name] = np.where(np.isnan(columns[name]), last, columns[name])

    def _add_joules(self, steps: "pd.DataFrame", at: "npt.NDArray[np.int64]") -> None:
        import numpy as np

        count = len(self.blocks)
        for name in _SUMMED:
            values = steps[name].to_numpy()
            self.metered[name] |= known(values, at, count)
            # Whole microjoules are exact in a float, so the sum does not depend on the order of the ranks.
            self.columns[name] += sums(np.round(values * MICROJOULES_PER_JOULE), at, count)
        self.columns["variance"] += sums(steps["uncertainty_joules"].to_numpy() ** 2, at, count)

    def _add_spans(self, tables: Tables, at: "npt.NDArray[np.int64]", start: float) -> None:
        import numpy as np

        spans, steps = tables.spans, tables.steps
        following = np.searchsorted(
            steps["start_seconds"].to_numpy(), spans["start_seconds"].to_numpy() - 1e-9
        )
        places = np.append(at, len(self.blocks))[following] if len(spans) else following
        for place, row in zip(places.tolist(), _records(spans), strict=True):
            self._add_span(place, row, start)

    def add_around(self, spans: "pd.DataFrame", start: float, end: float, *, is_before: bool) -> None:
        """Add spans of a process without steps before the first or after the last block, once all ranks were added.

        Args:
            spans: The spans.
            start: Start of the process's window, in seconds of the merged window.
            end: End of its window.
            is_before: Whether they are before the first block.
        """
        self.end_seconds = max(self.end_seconds, end)
        for row in _records(spans):
            # The length of a span is divided by the number of ranks later.
            self._add_span(0 if is_before else len(self.blocks), row, start, weight=self.ranks)

    def _add_span(self, place: int, row: dict[Any, Any], start: float, *, weight: int = 1) -> None:
        one = self.spans.setdefault(
            (place, str(row["kind"])), SpanSums(first_seconds=row["start_seconds"] + start)
        )
        one.first_seconds = min(one.first_seconds, row["start_seconds"] + start)
        one.seconds += (row["end_seconds"] - row["start_seconds"]) * weight
        one.overlapping = max(one.overlapping, row["overlapping"])
        if row["total_joules"] == row["total_joules"]:
            one.is_metered = True
            one.joules += round(row["total_joules"] * MICROJOULES_PER_JOULE)
            one.modelled += round(_known(row["modelled_joules"]) * MICROJOULES_PER_JOULE)
            one.variance += _known(row["uncertainty_joules"]) ** 2

    def frames(self) -> "tuple[pd.DataFrame, pd.DataFrame]":
        """Return the tables of steps and spans."""
        layout = _Layout(self)
        return layout.steps(), layout.spans()


class _Layout:
    """Blocks and spans one after the other on the merged window, in whole nanoseconds."""

    def __init__(self, total: RankSums) -> None:
        import numpy as np

        self._sums = total
        count = len(total.blocks)
        self._groups: dict[int, list[tuple[str, SpanSums]]] = defaultdict(list)
        for (place, kind), one in sorted(total.spans.items(), key=lambda item: item[1].first_seconds):
            self._groups[min(place, count)].append((kind, one))
        ends = np.maximum.accumulate(np.append(total.columns["end_seconds"], total.end_seconds))
        if not self._groups.get(count) and count:
            ends[count - 1] = ends[count]
        self._edges = np.round(np.append(0.0, ends) * NANOSECONDS_PER_SECOND).astype(np.int64)
        self._starts = self._edges[:-1].copy()
        self._placed = {place: self._place(place, group) for place, group in self._groups.items()}
        self._cumulate()

    def _place(self, place: int, group: list[tuple[str, SpanSums]]) -> list[int]:
        """Return the ends of the spans before a block; those after the last block fill the window."""
        import numpy as np

        start, end = int(self._edges[place]), int(self._edges[place + 1])
        lengths = np.array([one.seconds for _, one in group]) / self._sums.ranks * NANOSECONDS_PER_SECOND
        whole = float(lengths.sum())
        is_last = place == len(self._sums.blocks)
        # Ranks overlap differently, so the means of their spans may be longer than the gap: then they are shortened.
        scale = (end - start) / whole if whole and (is_last or whole > end - start) else 1.0
        ends = (start + np.round(np.cumsum(lengths) * scale).astype(np.int64)).tolist()
        if is_last:
            ends[-1] = end
        self._starts[place] = ends[-1]
        return [int(moment) for moment in ends]

    def _cumulate(self) -> None:
        """Add joules up in the order of the rows."""
        import numpy as np

        count = len(self._sums.blocks)
        steps = np.append(self._sums.columns["total_joules"], 0.0)
        spans = np.zeros(count + 1)
        for place, group in self._groups.items():
            spans[place] = sum(one.joules for _, one in group)
        self._before = np.cumsum(steps + spans) - steps - spans
        self._cumulative = np.cumsum(steps + spans)[:count]

    def steps(self) -> "pd.DataFrame":
        import numpy as np
        import pandas as pd

        columns, blocks, metered = self._sums.columns, self._sums.blocks, self._sums.metered
        count, total = len(blocks), metered["total_joules"]
        found: dict[str, Any] = {
            "step": blocks, "step_count": np.diff(blocks, prepend=0),
            "start_seconds": self._starts[:count] / NANOSECONDS_PER_SECOND,
            "end_seconds": self._edges[1 : count + 1] / NANOSECONDS_PER_SECOND,
            "loss": np.where(columns["losses"] > 0, columns["loss"] / np.maximum(columns["losses"], 1.0), np.nan),
        }  # fmt: skip
        found |= {name: columns[name].astype(np.int64) for name in (*_LARGEST, *_LAST)}
        found |= {name: columns[name] for name in _FIRST}
        for name in _SUMMED:
            found[name] = np.where(metered[name], columns[name] / MICROJOULES_PER_JOULE, np.nan)
        seen = np.maximum.accumulate(total | (self._before[:count] > 0)) if count else total
        found["cumulative_joules"] = np.where(seen, self._cumulative / MICROJOULES_PER_JOULE, np.nan)
        found["uncertainty_joules"] = np.where(total, np.sqrt(columns["variance"]), np.nan)
        for name in _AVERAGED:
            ranks = columns[f"ranks with {name}"]
            found[name] = np.where(ranks > 0, columns[name] / np.maximum(ranks, 1.0), np.nan)
        found["phase"] = [self._sums.phases.get(index, "") for index in range(count)]
        return pd.DataFrame({name: found[name] for name in STEPS.columns})

    def spans(self) -> "pd.DataFrame":
        import pandas as pd

        rows = [row for place in sorted(self._groups) for row in self._spans_before(place)]
        return pd.DataFrame(rows, columns=list(SPANS.columns)).astype(
            dict.fromkeys(SPANS.where(type="float"), "float64")
        )

    def _spans_before(self, place: int) -> list[dict[str, Any]]:
        rows, start, spent = [], int(self._edges[place]), float(self._before[place])
        for (kind, one), end in zip(self._groups[place], self._placed[place], strict=True):
            spent += one.joules
            is_metered = one.is_metered
            rows.append({
                "start_seconds": start / NANOSECONDS_PER_SECOND, "end_seconds": end / NANOSECONDS_PER_SECOND,
                "kind": kind, "total_joules": one.joules / MICROJOULES_PER_JOULE if is_metered else None,
                "modelled_joules": one.modelled / MICROJOULES_PER_JOULE if is_metered else None,
                "cumulative_joules": spent / MICROJOULES_PER_JOULE if is_metered or spent else None,
                "uncertainty_joules": one.variance**0.5 if is_metered else None, "overlapping": one.overlapping,
            })  # fmt: skip
            start = end
        return rows


def _take_largest(largest: "Array", values: "Array", at: "npt.NDArray[np.int64]") -> None:
    """Replace the largest values so far by larger ones, by index."""
    import numpy as np

    if is_aligned(at, len(largest)):
        np.maximum(largest, values, out=largest)
    else:
        np.maximum.at(largest, at, values)


def _records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of a table as mappings, in a fraction of the time of `pandas.DataFrame.to_dict`."""
    columns = (table[name].tolist() for name in table.columns)
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def _known(value: float) -> float:
    return 0.0 if value != value else value  # noqa: PLR0124 - NaN
