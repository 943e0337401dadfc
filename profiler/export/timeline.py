"""Steps and spans of a run in order of time, for formats that draw a timeline."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profiler.storage.schema import PHASES

if TYPE_CHECKING:
    from profiler.run import Run

TRAINING = "training"
"""Group of the steps outside the user's phases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Row of steps, or span.

    Attributes:
        name: ``step 12``, ``steps 8 to 15``, or the span's kind.
        group: The user's phase or ``training``; the kind of a span.
        is_step: Whether it is a row of steps.
        start_seconds: Seconds since the start of the window.
        end_seconds: Seconds since the start of the window.
        joules: Counted energy; None where it was not measured.
        parts: Seconds per timed part of a step.
        facts: Finite loss and learning rate, where recorded.
    """

    name: str
    group: str
    is_step: bool
    start_seconds: float
    end_seconds: float
    joules: float | None
    parts: Mapping[str, float]
    facts: Mapping[str, float]


def tiles_of(run: "Run") -> list[Tile]:
    """Return every row of steps and every span in order of time."""
    return sorted((*_steps(run), *_spans(run)), key=lambda tile: (tile.start_seconds, tile.end_seconds))


def _steps(run: "Run") -> Iterator[Tile]:
    for row in _rows(run.steps):
        last, count = int(row["step"]), int(row["step_count"])
        yield Tile(
            name=f"step {last}" if count == 1 else f"steps {last - count + 1} to {last}",
            group=str(row["phase"]) or TRAINING,
            is_step=True,
            parts={part: row[column] for part, column in PHASES.items() if _known(row[column])},
            facts={key: row[key] for key in ("loss", "learning_rate") if _known(row[key])},
            **_common(row),
        )


def _spans(run: "Run") -> Iterator[Tile]:
    for row in _rows(run.spans):
        kind = str(row["kind"])
        yield Tile(name=kind, group=kind, is_step=False, parts={}, facts={}, **_common(row))


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    names = list(table.columns)
    for values in table.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))


def _common(row: Mapping[str, Any]) -> dict[str, Any]:
    joules = row["total_joules"]
    return {
        "start_seconds": float(row["start_seconds"]),
        "end_seconds": float(row["end_seconds"]),
        "joules": float(joules) if _known(joules) else None,
    }


def _known(value: float) -> bool:
    return math.isfinite(value)
