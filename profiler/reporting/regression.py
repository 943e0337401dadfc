"""Comparison of a new run with a base for continuous integration, as text, Markdown or JSON."""

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from profiler.analysis.regression import LEVEL, STEP, Regression
from profiler.reporting import text
from profiler.units import format_joules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from profiler.reporting.records import Report

FORMATS = (".txt", ".md", ".json")
_UNLIKELY = 0.05
_HEAD = ("", "base", "new")


@dataclass(frozen=True, slots=True)
class RegressionReport:
    """A regression with the reports of both runs, which are built without a forecast."""

    regression: Regression
    base: "Report"
    new: "Report"


def render_regression(report: RegressionReport, extension: str) -> str:
    """Render in one of `FORMATS`; ends with a newline."""
    if extension == ".json":
        return json.dumps(_content(report), indent=1) + "\n"
    lines = _markdown(report) if extension == ".md" else _text(report)
    return "\n".join(lines) + "\n"


def _text(report: RegressionReport) -> "Iterator[str]":
    yield _verdict(report)
    yield ""
    rows = [_HEAD, *_rows(report)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
    yield _holds(report.regression)


def _markdown(report: RegressionReport) -> "Iterator[str]":
    yield f"**{_title(report.regression)}** {_sentence(report)}"
    yield ""
    yield f"| {' | '.join(_HEAD)} |"
    yield "|---|---|---|"
    for row in _rows(report):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""
    yield _holds(report.regression)


def _verdict(report: RegressionReport) -> str:
    return f"{_title(report.regression)} {_sentence(report)}"


def _title(regression: Regression) -> str:
    if regression.is_regression:
        return "Energy regression."
    return "No energy regression." if regression.p_above <= _UNLIKELY else "Undecided."


def _sentence(report: RegressionReport) -> str:
    regression, limit = report.regression, report.regression.limit - 1.0
    new, base = (text.shortened(one.summary.name, 30) for one in (report.new, report.base))
    chance = text.percent(regression.p_above)
    return (
        f"{new} uses {_change(regression)} {_noun(regression)} than {base}{_interval(regression)}. "
        f"P(over {100 * limit:g} % more) = {chance}."
    )


def _noun(regression: Regression) -> str:
    if regression.of == LEVEL:
        return f"energy to the loss {regression.level:g}"
    return "energy per step" if regression.of == STEP else "energy"


def _change(regression: Regression) -> str:
    """Format a change to a tenth of a percent."""
    ratio = regression.ratio
    least = "over " if math.isinf(ratio.high) else ""
    return f"{least}{_percent(ratio.median)} {'more' if ratio.median >= 1.0 else 'less'}"


def _interval(regression: Regression) -> str:
    low, high = regression.ratio.low, regression.ratio.high
    return "" if math.isinf(high) else f" (90 % interval {_signed(low)} to {_signed(high)})"


def _percent(ratio: float) -> str:
    return f"{abs(100 * (ratio - 1.0)):.1f} %"


def _signed(ratio: float) -> str:
    return f"{100 * (ratio - 1.0):+.1f} %"


def _rows(report: RegressionReport) -> "Iterator[tuple[str, ...]]":
    regression, both = report.regression, (report.base, report.new)
    least = "over " if regression.new.is_least else ""
    yield (
        _noun(regression),
        format_joules(regression.base.joules),
        f"{least}{format_joules(regression.new.joules)}",
    )
    yield "run", *(text.shortened(one.summary.name, 30) for one in both)
    yield "total energy", *(text.energy(one.energy) for one in both)
    yield "steps", *(f"{one.summary.steps:,}" for one in both)
    yield "time per step", *(_time(one) for one in both)
    yield "measured share", *(text.measured(one.measured_share) for one in both)


def _time(report: "Report") -> str:
    return text.ABSENT if report.step_seconds is None else text.seconds(report.step_seconds)


def _holds(regression: Regression) -> str:
    """State what the probability covers."""
    if regression.spread is None:
        return (
            "The probability holds for these two runs: chance differences between runs are not part of it. Give "
            "--repeat or --seed-spread to include them."
        )
    share = f"{100 * regression.spread:.2g} %"
    if regression.repeats:
        return f"The probability includes a spread of {share} between runs, estimated from {regression.repeats} bases."
    return f"The probability includes the given spread of {share} between runs."


def _content(report: RegressionReport) -> dict[str, Any]:
    regression = report.regression
    content = asdict(regression)
    content["ratio"]["high"] = None if math.isinf(regression.ratio.high) else regression.ratio.high
    return {
        "is_regression": regression.is_regression,
        **content,
        "runs": [_run(one) for one in (report.base, report.new)],
        "text": _verdict(report),
        "holds": _holds(regression),
    }


def _run(report: "Report") -> dict[str, Any]:
    summary = report.summary
    return {
        "name": summary.name,
        "path": summary.path,
        "status": summary.status.value,
        "steps": summary.steps,
        "joules": summary.total_joules,
        "step_joules": report.step_joules,
        "step_seconds": report.step_seconds,
        "measured_share": report.measured_share,
    }
