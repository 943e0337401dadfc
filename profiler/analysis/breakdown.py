"""Breakdown of the energy: steps by user phase, spans outside the steps by kind."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from profiler.storage.totals import Remainder

TRAINING = "training steps"
"""Name for steps outside any user phase."""
UNWRITTEN = "unwritten"
"""Name for steps and spans without a row, as after a full disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the window. All parts add up to the window and to the total joules.

    Attributes:
        name: ``training steps``, a user phase, or the kind of a span.
        in_steps: Whether it consists of steps.
        seconds: Its duration.
        joules: Its energy, in joules; None when nothing is metered.
        share: Its part of the total; None when the total is zero or unknown.
    """

    name: str
    in_steps: bool
    seconds: float
    joules: float | None
    share: float | None


def parts_of(
    steps: "pd.DataFrame", spans: "pd.DataFrame", unrecorded: "Remainder | None" = None
) -> tuple[Part, ...]:
    """Split the window into parts: steps before spans, each by decreasing energy.

    Args:
        steps: Rows of steps.
        spans: Rows of spans.
        unrecorded: The part of the totals that is in no row.
    """
    groups = [*_grouped(steps, "phase", in_steps=True), *_grouped(spans, "kind", in_steps=False)]
    if unrecorded is not None:
        joules = round(unrecorded.step_joules + unrecorded.span_joules, 6)
        groups.append((UNWRITTEN, False, unrecorded.seconds, None if math.isnan(joules) else joules))
    total = sum(joules for *_, joules in groups if joules is not None)
    parts = (
        Part(
            name=name,
            in_steps=in_steps,
            seconds=seconds,
            joules=joules,
            share=joules / total if total > 0.0 and joules is not None else None,
        )
        for name, in_steps, seconds, joules in groups
    )
    return tuple(sorted(parts, key=lambda part: (not part.in_steps, -(part.joules or 0.0), -part.seconds)))


def _grouped(
    rows: "pd.DataFrame", column: str, *, in_steps: bool
) -> Iterator[tuple[str, bool, float, float | None]]:
    for name, group in rows.groupby(column, sort=False):
        seconds = float((group["end_seconds"] - group["start_seconds"]).sum())
        metered = group["total_joules"].notna().any()
        joules = round(float(group["total_joules"].sum()), 6) if metered else None
        yield str(name) or TRAINING, in_steps, seconds, joules
