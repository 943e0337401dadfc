"""Direction of a metric by its name, and choice of the headline metric."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.errors import UsageError

LOSS = "loss"
GOALS = ("min", "max")

_FALLING = frozenset(
    (
        "loss",
        "error",
        "err",
        "perplexity",
        "ppl",
        "mse",
        "mae",
        "rmse",
        "nll",
        "bpc",
        "bpb",
        "wer",
        "cer",
        "fid",
    )
)
_RISING = frozenset(
    (
        "acc",
        "accuracy",
        "f1",
        "bleu",
        "rouge",
        "reward",
        "return",
        "auc",
        "auroc",
        "iou",
        "precision",
        "recall",
        "map",
    )
)
_UNBOUNDED = frozenset(("reward", "return"))
_VALIDATION = frozenset(("val", "valid", "validation", "eval", "evaluation", "test"))
_WORD = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+\d*")
_PERCENT = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The metric at the top of a report.

    Attributes:
        name: Its name.
        goal: ``min``, ``max``, or None where the direction is unknown.
        note: One sentence that explains the choice; empty where it is evident.
    """

    name: str
    goal: str | None
    note: str = ""


def words_of(name: str) -> set[str]:
    """Return the words of a metric's name in lower case: ``valAcc1`` has ``val`` and ``acc``."""
    words = {word.lower() for word in _WORD.findall(name)}
    return words | {word.rstrip("0123456789") for word in words}


def is_validation(name: str) -> bool:
    """Return True if a metric's name shows that it is measured on held-out data."""
    return bool(words_of(name) & _VALIDATION)


def goal_of(name: str) -> str | None:
    """Return the direction in which a metric improves; None where its name does not show it."""
    words = words_of(name)
    falls, rises = bool(words & _FALLING), bool(words & _RISING)
    return None if falls == rises else "min" if falls else "max"


def best_of(name: str, highest: float) -> float | None:
    """Return the best possible value of a metric that rises: 1, or 100 for percent; None where it has none."""
    if words_of(name) & _UNBOUNDED or highest > _PERCENT:
        return None
    return 1.0 if highest <= 1.0 else _PERCENT


def headline(names: Sequence[str], metric: str | None = None, goal: str | None = None) -> Headline:
    """Choose the headline metric of a run.

    Args:
        names: Names of the logged metrics.
        metric: The metric that the user asks for.
        goal: ``min`` or ``max``, where the user states it.

    Raises:
        UsageError: There is no such metric, or the goal is neither ``min`` nor ``max``.
    """
    if goal is not None and goal not in GOALS:
        raise UsageError(f"goal must be 'min' or 'max', not {goal!r}.")
    if metric is not None:
        if metric not in (LOSS, *names):
            known = ", ".join([LOSS, *names])
            raise UsageError(f"this run has no metric {metric!r}; it has: {known}.")
        return Headline(name=metric, goal=goal or goal_of(metric))
    candidates = [name for name in names if is_validation(name)]
    if len(candidates) == 1:
        found = goal or goal_of(candidates[0])
        if found is not None:
            return Headline(name=candidates[0], goal=found)
        note = f"The direction of {candidates[0]} is unknown: select it with --metric and --goal min or max."
        return Headline(name=LOSS, goal="min", note=note)
    if candidates:
        note = f"{len(candidates)} logged metrics look like validation metrics: select one with --metric."
        return Headline(name=LOSS, goal="min", note=note)
    return Headline(name=LOSS, goal=goal or "min")
