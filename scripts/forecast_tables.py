"""Scores as tables, next to the reference."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from forecast_anchors import REFERENCE
from forecast_scores import ALL_PREFIXES, LATER, MISS_PENALTY, PREFIXES

from profiler.records import CurveState, Verdict
from profiler.reporting.records import Action, Confidence

SMALLEST = 0.02
"""Errors are compared as ratios down to this many percent."""
FACTOR_TWO = math.log(2.0)
BINS = np.linspace(0.0, 1.0, 6)
"""Edges of the reliability bins."""
RESAMPLES = 2000
"""Bootstrap samples of sets for the interval of a frequency."""
FEWEST_SETS = 3
"""Fewer sets do not show how much they differ."""


def by_group(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per prefix and group."""
    return scores.groupby(["prefix", "group"]).agg(
        runs=("error", "size"),
        improving=("state", lambda s: (s == CurveState.IMPROVING.value).sum()),
        median=("error", lambda e: 100.0 * e.median()),
        p90=("error", lambda e: 100.0 * e.quantile(0.9)),
        factor=("factor", lambda f: f.quantile(0.5, interpolation="higher")),
        unreachable=("verdict", lambda v: (v == Verdict.UNREACHABLE.value).sum()),
        coverage=("covered", lambda c: 100.0 * c.mean()),
        score=("interval_score", lambda s: 100.0 * s.mean()),
    )


def header(*names: str) -> Iterator[str]:
    """Yield the first two lines of a table."""
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * len(names)


def group_table(scores: pd.DataFrame) -> Iterator[str]:
    """Yield a table of groups, with their ratio to the reference where there is one."""
    yield from header("fitted on", "set", "runs", "improving", "median error %", "90th pct", "x joules", "unreachable",
                      "covered %", "interval score %", "error / ref", "score / ref")  # fmt: skip
    for (prefix, group), row in by_group(scores).iterrows():
        known = REFERENCE.get(group, {}).get(prefix)
        ratios = (row["median"] / known[0], row["score"] / known[1]) if known else None
        compared = " | ".join(f"{r:.2f}" for r in ratios) if ratios else " | "
        yield (
            f"| {prefix} | {group} | {row.runs:.0f} | {row.improving:.0f} | {row['median']:.2f} | {row.p90:.2f} | "
            f"{math.exp(row.factor) if row.factor < 700.0 else math.inf:.2f} | {row.unreachable:.0f} | "
            f"{row.coverage:.0f} | {row['score']:.2f} | {compared} |"
        )


def means_table(scores: pd.DataFrame) -> Iterator[str]:
    """Yield means over sets, and geometric means over sets of the ratio to the reference."""
    table = by_group(scores)
    yield from header("fitted on", "sets", "median error %", "covered %", "interval score %", "error / ref",
                      "score / ref", "unreachable")  # fmt: skip
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
            f"{rows['score'].mean():.2f} | {ratios} | {rows.unreachable.sum():.0f} |"
        )


def usefulness_table(scores: pd.DataFrame) -> Iterator[str]:
    """Yield the usefulness of forecasts of the end level, which every run reached; means over sets."""
    yield from header("fitted on", "called reachable %", "undetermined %", "upper end infinite %",
                      "median high / low", "median within x2 %", "simple fit within x2 %", "error %",
                      "simple fit error %", "last value error %")  # fmt: skip
    for prefix in PREFIXES:
        rows = scores[scores.prefix == prefix]
        spread = rows.spread.quantile(0.5, interpolation="higher")
        yield (
            f"| {prefix} | {_share(rows, rows.verdict == Verdict.REACHABLE.value)} | "
            f"{_share(rows, rows.verdict == Verdict.UNDETERMINED.value)} | {_share(rows, np.isinf(rows.spread))} | "
            f"{math.exp(spread) if spread < 700.0 else math.inf:.1f} | {_share(rows, rows.factor <= FACTOR_TWO)} | "
            f"{_share(rows, rows.simple_factor <= FACTOR_TWO)} | {_error(rows, 'error')} | "
            f"{_error(rows, 'simple_miss')} | {_error(rows, 'last_miss')} |"
        )


def _share(rows: pd.DataFrame, chosen: pd.Series) -> str:
    return f"{100.0 * chosen.groupby(rows.group).mean().mean():.0f}"


def _error(rows: pd.DataFrame, column: str) -> str:
    return f"{100.0 * rows[column].abs().groupby(rows.group).median().mean():.2f}"


def coverage_table(scores: pd.DataFrame) -> Iterator[str]:
    """Yield the coverage of the 90 % interval of the level at the end, by prefix."""
    yield from header("fitted on", "sets", "runs", "covered %, mean of sets", "covered %, all runs", "end above it %",
                      "end below it %", "least covered set", "covered % there")  # fmt: skip
    for prefix in (p for p in ALL_PREFIXES if (scores.prefix == p).any()):
        rows = scores[scores.prefix == prefix]
        sets = rows.groupby("group").covered.mean()
        yield (
            f"| {prefix} | {len(sets)} | {len(rows)} | {100.0 * sets.mean():.0f} | {100.0 * rows.covered.mean():.0f} | "
            f"{100.0 * (rows.side > 0).mean():.0f} | {100.0 * (rows.side < 0).mean():.0f} | {sets.idxmin()} | "
            f"{100.0 * sets.min():.0f} |"
        )


def anchors_table(scores: pd.DataFrame) -> Iterator[str]:
    """Yield interval scores and reachable shares beside those of the simple fit and of the last value.

    Their intervals are quantiles of their own errors on all other sets, at the coverage of the forecasts.
    """
    yield from header("fitted on", "covered %", "interval score %", "simple fit: covered %", "interval score %",
                      "last value: covered %", "interval score %", "called reachable %",
                      "simple fit reaches it %")  # fmt: skip
    for prefix in PREFIXES:
        rows = scores[scores.prefix == prefix]
        coverage = rows.groupby("group").covered.mean().mean()
        own = 100.0 * rows.groupby("group").interval_score.mean().mean()
        simple, last = (_calibrated(rows, column, coverage) for column in ("simple_miss", "last_miss"))
        reachable = rows.verdict == Verdict.REACHABLE.value
        yield (
            f"| {prefix} | {100.0 * coverage:.0f} | {own:.2f} | {simple[0]:.0f} | {simple[1]:.2f} | {last[0]:.0f} | "
            f"{last[1]:.2f} | {_share(rows, reachable)} | {_share(rows, rows.simple_reachable)} |"
        )


def _calibrated(rows: pd.DataFrame, column: str, coverage: float) -> tuple[float, float]:
    """Return coverage and interval score, in percent, of intervals from the errors on all other sets."""
    covered, scores = [], []
    for group, own in rows.groupby("group"):
        others = rows[rows.group != group]
        weight = 1.0 / others.groupby("group")[column].transform("size")
        low, high = (_quantile(others[column], weight, p) for p in (0.5 - coverage / 2, 0.5 + coverage / 2))
        # The interval of the measured level, relative to it, is the miss less the usual miss.
        bottom, top = own[column] - high, own[column] - low
        covered.append(((bottom <= 0.0) & (top >= 0.0)).mean())
        missed = bottom.clip(lower=0.0) + (-top).clip(lower=0.0)
        scores.append((top - bottom + MISS_PENALTY * missed).mean())
    return 100.0 * float(np.mean(covered)), 100.0 * float(np.mean(scores))


def _quantile(values: pd.Series, weight: pd.Series, probability: float) -> float:
    order = np.argsort(values.to_numpy())
    share = np.cumsum(weight.to_numpy()[order])
    return float(
        values.to_numpy()[order][np.searchsorted(share, probability * share[-1]).clip(max=order.size - 1)]
    )


def states_table(scores: pd.DataFrame) -> Iterator[str]:
    """Yield the number of prefixes in each state; every run went on to improve."""
    yield from header("fitted on", *(state.value for state in CurveState))
    for prefix in PREFIXES:
        counts = scores[scores.prefix == prefix].state.value_counts()
        yield f"| {prefix} | " + " | ".join(str(counts.get(state.value, 0)) for state in CurveState) + " |"


def outcomes_table(scores: pd.DataFrame) -> Iterator[str]:
    """Yield the states of prefixes, and how far the level fell after them."""
    known = scores[scores.lowered.notna()]
    yield from header("state", "prefixes", "5 % lower later", "1 to 5 %", "up to 1 %", "not lower")
    for state in CurveState:
        lowered = known[known.state == state.value].lowered
        counts = np.histogram(lowered, [-math.inf, 0.0, 0.01, 0.05, math.inf])[0][::-1]
        yield f"| {state.value} | {len(lowered)} | " + " | ".join(str(count) for count in counts) + " |"


def stability_table(scores: pd.DataFrame) -> Iterator[str]:
    """Yield how often an interval excludes the median of a later or an earlier fit, of joules and of the end level."""
    yield from header("fitted on", "and again on", "fits", "earlier interval excludes the later median: joules %",
                      "level %", "later interval excludes the earlier median: joules %",
                      "of them given as a point", "joules, points only %", "level %")  # fmt: skip
    for prefix, laters in LATER.items():
        rows = scores[scores.prefix == prefix]
        for k, later in enumerate(laters):
            held, held_level, joules, points, levels = (
                [kept[k] for kept in column if kept[k] is not None]
                for column in (
                    rows.held,
                    rows.held_level,
                    rows.stable,
                    rows[rows.reachable].stable,
                    rows.stable_level,
                )
            )
            yield (
                f"| {prefix} | {later} | {len(joules)} | {_lost(held)} | {_lost(held_level)} | {_lost(joules)} | "
                f"{len(points)} | {_lost(points)} | {_lost(levels)} |"
            )


def _lost(kept: list[bool]) -> str:
    return f"{100.0 * (1.0 - np.mean(kept)):.1f}" if kept else ""


def confidence_table(answers: pd.DataFrame) -> Iterator[str]:
    """Yield the hit rates of each word of confidence."""
    yield from header("confidence", "forecasts", "sets", "twice the energy recorded", "within 2 % there",
                      "within 5 % there", "within 2 % at the end", "within 5 % at the end",
                      "fewest points")  # fmt: skip
    for word in Confidence:
        rows = answers[answers.confidence == word.value]
        twice = rows.twice.dropna()
        shares = [
            f"{100.0 * (errors <= limit).mean():.0f} %" if len(errors) else ""
            for errors in (twice, rows.end)
            for limit in (0.02, 0.05)
        ]
        yield (
            f"| {word.value} | {len(rows)} | {rows.group.nunique()} | {len(twice)} | "
            + " | ".join(shares)
            + f" | {rows.points.min() if len(rows) else ''} |"
        )


def advice_table(answers: pd.DataFrame) -> Iterator[str]:
    """Yield how often each advice was given, and was right where four times the energy is recorded."""
    yield from header("advice", "forecasts", "four times the energy recorded", "5 % better by then", "right")
    for action in Action:
        rows = answers[answers.action == action.value]
        known = rows[rows.better.notna()]
        better = known.better.astype(float).mean() if len(known) else math.nan
        right = {Action.GO_ON: better, Action.ANNEAL: better, Action.STOP: 1.0 - better}.get(action, math.nan)
        cells = ("" if math.isnan(share) else f"{100.0 * share:.0f} %" for share in (better, right))
        if len(rows):
            yield f"| {action.value} | {len(rows)} | {len(known)} | " + " | ".join(cells) + " |"


def chances_table(chances: pd.DataFrame) -> Iterator[str]:
    """Yield the reliability and the Brier score of the probability of reaching a target within a multiple.

    The runs of a set reach a target together, so the uncertainty of a frequency is that between sets.
    """
    yield from header("within", "cases", "Brier", "Brier of the base rate", *(
        f"{low:.0%} to {high:.0%}" for low, high in itertools.pairwise(BINS)))  # fmt: skip
    for ratio, rows in chances.groupby("ratio"):
        base = rows.reached.mean()
        brier = ((rows.p - rows.reached) ** 2).mean()
        cells = []
        for low, high in itertools.pairwise(BINS):
            part = rows[(rows.p >= low) & ((rows.p < high) | (high == BINS[-1]))]
            cells.append(_reliability(part) if len(part) else "")
        yield (
            f"| {ratio:g}x | {len(rows)} | {brier:.3f} | {base * (1.0 - base):.3f} | "
            + " | ".join(cells)
            + " |"
        )


def _reliability(part: pd.DataFrame) -> str:
    """Describe the cases of a bin: forecast and frequency, its interval, and the numbers of cases and of sets."""
    reached = part.groupby("group").reached.agg(["sum", "size"]).to_numpy(dtype=float)
    sets = len(reached)
    interval = ""
    if sets >= FEWEST_SETS:
        drawn = np.random.default_rng(0).multinomial(sets, np.full(sets, 1.0 / sets), size=RESAMPLES)
        hits, cases = (drawn @ reached).T
        low, high = np.quantile(hits / cases, [0.05, 0.95])
        interval = f" [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{part.p.mean():.0%} -> {part.reached.mean():.0%}{interval} ({len(part)} of {sets})"
