"""Comparison of runs: the energy of each at equal losses, and the extrapolated frontier of the cheapest."""

import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from profiler.analysis.curve import fit_metric, learning_rate_trace
from profiler.errors import ForecastRefusedError
from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.records import Interval
from profiler.reporting import text
from profiler.reporting.json import REPORT_VERSION, plain
from profiler.units import format_joules

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit, Frontier
    from profiler.forecasting.frontier import Envelope, Milestone, Stretch
    from profiler.storage.reader import StoredRun

WIDTH = 80
_LEVELS = (0.4, 0.7, 1.0)
"""Positions of the compared losses, from the highest common one (0) to the lowest (1)."""
_DIGITS = 3
_SHORTEST = 0.02
"""Part of the envelope's log range below which a stretch is not listed."""
_AHEAD = (2.0, 5.0, HORIZON_LIMIT)
_NAME = 22
_COLUMN = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One run.

    Attributes:
        name: Its name, or its directory's where names repeat.
        path: Its directory.
        joules: Its total energy; None without measured energy.
        last_loss: End of its smoothed curve; None when it is excluded.
        refused: Reason for its exclusion; empty for a compared run.
    """

    name: str
    path: str
    joules: float | None
    last_loss: float | None
    refused: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """The lowest loss expected for an amount of energy."""

    joules: float
    loss: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that renderers need. ``run`` and ``cheapest`` are indices of ``runs``; joules count from a run's start.

    Attributes:
        runs: The runs in the order given.
        milestones: Losses that at least two of them reached, and the energy of each.
        cheapest: The parts of the lower envelope, each with its cheapest run.
        ahead: The extrapolated envelope; empty where it is refused.
        floor: The loss that it approaches; None where it is refused.
        refused: Reason for the missing extrapolation.
        notes: Caveats of the extrapolation.
    """

    runs: tuple[Line, ...]
    milestones: "tuple[Milestone, ...]"
    cheapest: "tuple[Stretch, ...]"
    ahead: tuple[Ahead, ...]
    floor: Interval | None
    refused: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Curve:
    """The loss curve of a stored run, fitted on demand."""

    run: "StoredRun"

    def fit(self) -> "CurveFit":
        return fit_metric(self.run, learning_rate_trace(self.run))


def compare(runs: "Sequence[StoredRun]") -> Comparison:
    """Compare recorded runs of one task.

    Raises:
        ForecastRefusedError: Fewer than two of them have a curve, or no two reached the same loss.
    """
    from profiler.forecasting.frontier import trace

    envelope = trace([_Curve(run) for run in runs])
    known = Comparison(
        runs=_lines(runs, envelope),
        milestones=tuple(envelope.milestone(loss) for loss in _losses(*envelope.common)),
        cheapest=envelope.stretches,
        ahead=(),
        floor=None,
        refused="",
        notes=(),
    )
    return _extrapolated(known, envelope)


def _extrapolated(known: Comparison, envelope: "Envelope") -> Comparison:
    from profiler.forecasting.frontier import extrapolate

    try:
        frontier = extrapolate(envelope)
    except ForecastRefusedError as error:
        return replace(known, refused=str(error))
    return replace(known, ahead=_ahead(frontier), floor=frontier.fit.floor, notes=frontier.notes)


def _ahead(frontier: "Frontier") -> tuple[Ahead, ...]:
    amounts = [times * frontier.fit.joules for times in _AHEAD]
    return tuple(Ahead(joules=joules, loss=frontier.loss_at(joules)) for joules in amounts)


def _lines(runs: "Sequence[StoredRun]", envelope: "Envelope") -> tuple[Line, ...]:
    names = [str(run.meta.get("name", "")) for run in runs]
    return tuple(
        Line(
            name=name if names.count(name) == 1 else run.path.name,
            path=str(run.path),
            joules=run.total_joules,
            last_loss=None if fit is None else fit.level,
            refused=refused,
        )
        for name, run, fit, refused in zip(names, runs, envelope.fits, envelope.refused, strict=True)
    )


def _losses(high: float, low: float) -> Iterator[float]:
    """Yield short numbers from the highest to the lowest common loss, none below it."""
    for way in _LEVELS:
        loss = high * (low / high) ** way
        short = float(f"{loss:.{_DIGITS - 1}e}")
        yield short if short >= low else float(f"{loss * (1 + 10.0 ** (1 - _DIGITS) / 2):.{_DIGITS - 1}e}")


def render_json(comparison: Comparison) -> str:
    """Render as JSON; infinite joules are null. Ends with a newline."""
    return (
        json.dumps({"report_version": REPORT_VERSION, **plain(comparison)}, indent=1, allow_nan=False) + "\n"
    )


def render_text(comparison: Comparison) -> str:
    """Render as plain text, 80 columns wide; ends with a newline."""
    return "\n".join(line[:WIDTH].rstrip() for line in _text(comparison)) + "\n"


def _text(comparison: Comparison) -> Iterator[str]:
    heads = [f"to {text.level(milestone.loss)}" for milestone in comparison.milestones]
    yield _row("run", "joules", "last loss", *heads)
    for index, line in enumerate(comparison.runs):
        prices = [_price(milestone, index) for milestone in comparison.milestones]
        joules = "-" if line.joules is None else format_joules(line.joules)
        yield _row(line.name, joules, "-" if line.last_loss is None else text.level(line.last_loss), *prices)
    yield "* the cheapest run to that loss"
    for line in comparison.runs:
        if line.refused:
            yield from textwrap.wrap(
                f"! {text.one_line(line.name)}: {line.refused}", WIDTH, subsequent_indent="  "
            )
    yield ""
    yield from _ways(comparison)
    yield ""
    yield from _frontier(comparison)


def _row(name: str, joules: str, last_loss: str, *prices: str) -> str:
    return f"{text.shortened(name, _NAME):<{_NAME}}{joules:>9}{last_loss:>10}" + "".join(
        f"{price:>{_COLUMN}}" for price in prices
    )


def _price(milestone: "Milestone", index: int) -> str:
    joules = milestone.joules[index]
    if joules is None:
        return "-"
    if joules == math.inf:
        return "not reached"
    bound = "< " if milestone.at_most[index] else ""
    return f"{bound}{format_joules(joules)}{' *' if milestone.cheapest == index else '  '}"


def _ways(comparison: Comparison) -> Iterator[str]:
    yield "the cheapest run by loss:"
    least = _SHORTEST * math.log(comparison.cheapest[-1].end_joules / comparison.cheapest[0].start_joules)
    for stretch in comparison.cheapest:
        if math.log(stretch.end_joules / stretch.start_joules) < least:
            continue
        losses = f"{text.level(stretch.first_loss)} -> {text.level(stretch.last_loss)}"
        joules = f"{format_joules(stretch.start_joules)} to {format_joules(stretch.end_joules)}"
        yield f"  {losses:<20}{joules:<24}{text.one_line(comparison.runs[stretch.run].name)}"


def _frontier(comparison: Comparison) -> Iterator[str]:
    if comparison.floor is None:
        yield from textwrap.wrap(f"no frontier: {comparison.refused}", WIDTH, subsequent_indent="  ")
        return
    yield f"projection of the cheapest [90 %], floor {text.levels(comparison.floor)}:"
    for ahead in comparison.ahead:
        yield f"  {format_joules(ahead.joules):<10}loss {text.levels(ahead.loss)}"
    for note in comparison.notes:
        yield from textwrap.wrap(f"projection: {note}", WIDTH, subsequent_indent="  ")
