"""Totals of a run, accumulated from its rows."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from profiler.storage.schema import Columns, SpanRow

    _Arrays = Mapping[str, npt.NDArray[Any]]

_TIMES = ("start_seconds", "end_seconds")
_JOULES = ("total_joules", "modelled_joules")
_TRAINING = "training"
_MOST_INT64 = 9e18


class Remainder(NamedTuple):
    """The part of the totals in ``run.json`` that no row holds; joules are NaN where nothing is metered."""

    seconds: float
    steps: int
    step_joules: float
    span_joules: float
    modelled_joules: float


@dataclass(slots=True, kw_only=True)
class Totals:
    """Running totals of a run, fed with its rows in the order of time, live or from its directory.

    Energies are whole microjoules and times whole nanoseconds. Training lasts from the start of the first step to the
    end of the last and includes the spans between them.
    """

    steps: int = 0
    step_microjoules: int = 0
    span_microjoules: int = 0
    modelled_microjoules: int = 0
    step_ns: int = 0
    setup_microjoules: int = 0
    setup_ns: int = 0
    training_microjoules: int = 0
    training_ns: int = 0
    window_ns: int = 0
    trainings: set[int] = field(default_factory=set)

    def add_steps(self, rows: "Columns") -> None:
        """Add rows of steps without spans between them."""
        starts, ends, joules, modelled = (
            rows[name] for name in ("start_seconds", "end_seconds", "total_joules", "modelled_joules")
        )
        self._add_steps(
            count=sum(rows["step_count"]), start_ns=starts[0], end_ns=ends[-1], step_ns=sum(ends) - sum(starts),
            microjoules=0 if None in joules else sum(joules),
            modelled=0 if None in modelled else sum(modelled),
        )  # fmt: skip
        self.trainings.update(index for index in set(rows[_TRAINING]) if index is not None)

    def add_span(self, row: "SpanRow") -> None:
        """Add a span."""
        self._add_spans(row.end_seconds, row.total_joules or 0, row.modelled_joules or 0)

    def _add_steps(
        self, *, count: int, start_ns: int, end_ns: int, step_ns: int, microjoules: int, modelled: int
    ) -> None:
        if not self.steps:
            self.setup_ns, self.setup_microjoules = start_ns, self.span_microjoules
        self.steps += count
        self.step_ns += step_ns
        self.step_microjoules += microjoules
        self.modelled_microjoules += modelled
        self.window_ns = max(self.window_ns, end_ns)
        self.training_ns = end_ns - self.setup_ns
        self.training_microjoules = self.step_microjoules + self.span_microjoules - self.setup_microjoules

    def _add_spans(self, end_ns: int, microjoules: int, modelled: int) -> None:
        self.span_microjoules += microjoules
        self.modelled_microjoules += modelled
        self.window_ns = max(self.window_ns, end_ns)

    @classmethod
    def of_tables(cls, steps: "pd.DataFrame", spans: "pd.DataFrame") -> "Totals":
        """Accumulate whole tables: the spans before the training, those within it, the steps, the spans after it."""
        found = cls()
        # Arrays, because selecting rows of a data frame takes longer than everything else here.
        rows, pieces = _arrays(steps, *_TIMES, "step_count", *_JOULES), _arrays(spans, *_TIMES, *_JOULES)
        if not len(steps):
            found._add_span_rows(pieces)
            return found
        before = pieces["start_seconds"] < rows["start_seconds"][0]
        within = ~before & (pieces["end_seconds"] <= rows["end_seconds"][-1])
        found._add_span_rows(_chosen(pieces, before))
        found._add_step_rows(_chosen(rows, slice(1)))
        found._add_span_rows(_chosen(pieces, within))
        found._add_step_rows(_chosen(rows, slice(1, None)))
        found._add_span_rows(_chosen(pieces, ~before & ~within))
        if _TRAINING in steps:
            found.trainings.update(steps[_TRAINING].dropna().unique().astype(int).tolist())
        return found

    def _add_step_rows(self, rows: "_Arrays") -> None:
        starts, ends = (rows[name] for name in _TIMES)
        if not len(starts):
            return
        self._add_steps(
            count=int(rows["step_count"].sum()), start_ns=_whole_ns(starts[0]), end_ns=_whole_ns(ends[-1]),
            step_ns=_whole_ns((ends - starts).sum()),
            microjoules=_exact_sum(rows["total_joules"]), modelled=_exact_sum(rows["modelled_joules"]),
        )  # fmt: skip

    def _add_span_rows(self, rows: "_Arrays") -> None:
        if len(rows["end_seconds"]):
            self._add_spans(
                _whole_ns(rows["end_seconds"].max()), _exact_sum(rows["total_joules"]),
                _exact_sum(rows["modelled_joules"]),
            )  # fmt: skip

    def add_remainder(self, rest: Remainder) -> None:
        """Add what ``run.json`` counts and no row holds; its time is divided in proportion to its joules."""
        joules = rest.step_joules + rest.span_joules
        share = rest.step_joules / joules if joules > 0 else float(rest.steps > 0)
        steps_ns, start_ns = _whole_ns(share * rest.seconds), self.window_ns
        modelled = round(rest.modelled_joules * MICROJOULES_PER_JOULE) if joules > 0 else 0
        in_steps = round(share * modelled)
        if rest.steps:
            self._add_steps(
                count=rest.steps, start_ns=start_ns, end_ns=start_ns + steps_ns, step_ns=steps_ns,
                microjoules=_microjoules(rest.step_joules), modelled=in_steps,
            )  # fmt: skip
        self._add_spans(
            start_ns + _whole_ns(rest.seconds), _microjoules(rest.span_joules),
            modelled - (in_steps if rest.steps else 0),
        )  # fmt: skip

    def as_summary_fields(self, *, metered: bool) -> dict[str, Any]:
        """Return the fields of a summary that these totals decide; joules are None where nothing is metered."""
        joules = {
            f"{name}_joules": getattr(self, f"{name}_microjoules") / MICROJOULES_PER_JOULE
            if metered
            else None
            for name in ("step", "training", "span", "modelled")
        }
        # Rounded as in the rows, so that the block at exit and a later report show the same digits.
        seconds = {
            f"{name}_seconds": round(getattr(self, f"{name}_ns") / NANOSECONDS_PER_SECOND, 6)
            for name in ("window", "step", "training")
        }
        return {"steps": self.steps, **joules, **seconds, "trainings": max(len(self.trainings), 1)}


def whole_microjoules(*columns: "pd.Series[float]") -> int:
    """Sum joules written in whole microjoules, exactly; missing values add nothing."""
    return sum(_exact_sum(column.to_numpy(dtype=float)) for column in columns)


def _arrays(table: "pd.DataFrame", *names: str) -> "_Arrays":
    return {name: table[name].to_numpy(dtype=float) for name in names}


def _chosen(rows: "_Arrays", which: "slice | npt.NDArray[np.bool_]") -> "_Arrays":
    return {name: column[which] for name, column in rows.items()}


def _exact_sum(joules: "npt.NDArray[Any]") -> int:
    import numpy as np

    values = np.round(joules[~np.isnan(joules)] * MICROJOULES_PER_JOULE)
    fits = float(np.abs(values).sum()) < _MOST_INT64
    return int(values.astype(np.int64).sum()) if fits else sum(map(int, values))


def _microjoules(joules: float) -> int:
    return 0 if joules != joules else round(joules * MICROJOULES_PER_JOULE)  # noqa: PLR0124 - NaN: not metered


def _whole_ns(seconds: float) -> int:
    return round(float(seconds) * NANOSECONDS_PER_SECOND)
