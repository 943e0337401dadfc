"""What a run did, in order: its rows of steps and what lies between them, as formats with a timeline take it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiler.run import Run

TRAINING = "training"
"""What steps without a phase of the user's are part of."""
_PARTS = ("data", "forward", "backward", "optimizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A row of steps, or a span.

    Attributes:
        name: ``step 12``, ``steps 8 to 15``, or the span's kind.
        group: The user's phase or ``training``; the kind of a span.
        is_step: Whether it is a row of steps.
        start_seconds: Since the window's start.
        end_seconds: Since the window's start.
        joules: What it took; None where that was not measured.
        parts: Seconds of each part of a step that was timed.
        facts: What else is known of it.
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
    """Every row of steps and every span, by time."""
    return sorted((*_steps(run), *_spans(run)), key=lambda tile: (tile.start_seconds, tile.end_seconds))


def _steps(run: "Run") -> Iterator[Tile]:
    for row in _rows(run.steps):
        last, count = int(row["step"]), int(row["step_count"])
        yield Tile(
            name=f"step {last}" if count == 1 else f"steps {last - count + 1} to {last}",
            group=str(row["phase"]) or TRAINING,
            is_step=True,
            parts={part: row[key] for part in _PARTS if _known(row[key := f"{part}_seconds"])},
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
