"""Scores as tables, next to the reference."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from forecast_anchors import REFERENCE
from forecast_scores import PREFIXES

SMALLEST = 0.02
"""Errors are compared as ratios down to this many percent."""


def by_group(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a prefix and group."""
    return scores.groupby(["prefix", "group"]).agg(
        runs=("error", "size"),
        refused=("refused", "sum"),
        median=("error", lambda e: 100.0 * e.median()),
        p90=("error", lambda e: 100.0 * e.quantile(0.9)),
        factor=("factor", lambda f: f.quantile(0.5, interpolation="higher")),
        unreachable=("called_unreachable", "sum"),
        coverage=("covered", lambda c: 100.0 * c.mean()),
        score=("interval_score", lambda s: 100.0 * s.mean()),
    )


def _header(*names: str) -> Iterator[str]:
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * len(names)


def group_table(scores: pd.DataFrame) -> Iterator[str]:
    """A table of groups, with their ratio to the reference where there is one."""
    yield from _header("fitted on", "set", "runs", "refused", "median error %", "90th pct", "x joules", "unreachable",
                       "covered %", "interval score %", "error / ref", "score / ref")  # fmt: skip
    for (prefix, group), row in by_group(scores).iterrows():
        known = REFERENCE.get(group, {}).get(prefix)
        ratios = (row["median"] / known[0], row["score"] / known[1]) if known else None
        compared = " | ".join(f"{r:.2f}" for r in ratios) if ratios else " | "
        yield (
            f"| {prefix} | {group} | {row.runs:.0f} | {row.refused:.0f} | {row['median']:.2f} | {row.p90:.2f} | "
            f"{math.exp(row.factor):.2f} | {row.unreachable:.0f} | {row.coverage:.0f} | {row['score']:.2f} | "
            f"{compared} |"
        )


def means_table(scores: pd.DataFrame) -> Iterator[str]:
    """Means over sets, and geometric means over sets of the ratio to the reference."""
    table = by_group(scores)
    yield from _header("fitted on", "sets", "median error %", "covered %", "interval score %", "error / ref",
                       "score / ref", "unreachable", "refused")  # fmt: skip
    for prefix in PREFIXES:
        rows = table.loc[prefix]
        known = [g for g in rows.index if prefix in REFERENCE.get(g, {})]
        error, points = (
            [math.log(max(rows.loc[g, c], SMALLEST) / max(REFERENCE[g][prefix][k], SMALLEST)) for g in known]
            for k, c in enumerate(("median", "score"))
        )
        ratios = " | ".join(f"{math.exp(np.mean(part)):.3f}" if part else "" for part in (error, points))
        yield (
            f"| {prefix} | {len(rows)} | {rows['median'].mean():.2f} | {rows.coverage.mean():.0f} | "
            f"{rows['score'].mean():.2f} | {ratios} | {rows.unreachable.sum():.0f} | {rows.refused.sum():.0f} |"
        )
