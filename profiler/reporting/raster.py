"""The curve of the headline's metric as a PNG or PDF file, drawn with matplotlib where it is installed."""

import io
from math import isfinite
from typing import TYPE_CHECKING, Any

from profiler.errors import MissingDependencyError
from profiler.reporting import svg, text
from profiler.reporting.renderer import Rendered, RenderOptions

if TYPE_CHECKING:
    from profiler.reporting.records import Chart, Outlook, Report

_INCHES = 100.0
"""Pixels of the SVG per inch."""
_DOTS_PER_INCH = 200
_BLUE, _ORANGE, _GREY = "#1f6fd6", "#ea580c", "#566172"


def render(report: "Report", options: RenderOptions) -> Rendered:
    """Render the curve; a run with fewer than two values of the metric has an empty figure.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "matplotlib", needed_for=f"A {options.extension} figure", install="pip install matplotlib"
        ) from None
    figure = Figure(figsize=(svg.WIDTH / _INCHES, svg.HEIGHT / _INCHES), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel("energy since the start")
    axes.set_ylabel(_literal(report.metric))
    axes.grid(visible=True, color="#e3e7ec")
    chart = report.details.headline.chart
    if chart is None:
        axes.text(0.5, 0.5, "no curve: fewer than two values", ha="center", transform=axes.transAxes)
    else:
        _draw(axes, chart, report.outlook)
    out = io.BytesIO()
    # Without the date, equal reports have equal files.
    metadata = {"CreationDate": None} if options.extension == ".pdf" else None
    figure.savefig(out, format=options.extension.removeprefix("."), dpi=_DOTS_PER_INCH, metadata=metadata)
    return Rendered(content=out.getvalue())


def _draw(axes: Any, chart: "Chart", outlook: "Outlook | None") -> None:
    x, y = svg.axes_of(chart, outlook)
    axes.set_xscale("log")
    axes.set_yscale("log" if y.is_log else "linear")
    axes.plot(chart.seen.x, chart.seen.y, ".", color=_GREY, markersize=3, label="recorded")
    now = outlook.joules if outlook is not None else float("inf")
    law = list(zip(chart.law_joules, chart.law, strict=True))
    for points, style, label in (
        ([(j, i.median) for j, i in law if j <= now], "-", "fit"),
        ([(j, i.median) for j, i in law if j >= now], "--", "forecast, 90 %"),
    ):
        if points:
            axes.plot(*zip(*points, strict=True), style, color=_BLUE, label=label)
    if law:
        low, high = ([getattr(i, end) for _, i in law] for end in ("low", "high"))
        axes.fill_between(chart.law_joules, low, high, color=_BLUE, alpha=0.16, linewidth=0)
    floor = outlook.floor if outlook is not None else None
    if floor is not None and isfinite(floor.high):
        axes.axhspan(floor.low, floor.high, color=_ORANGE, alpha=0.12, linewidth=0, label="floor, 90 %")
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    axes.set_xticks(x.ticks, [svg.joules_label(value) for value in x.ticks])
    axes.set_yticks(y.ticks, [f"{value:.4g}" for value in y.ticks])
    axes.minorticks_off()
    axes.legend(frameon=False)


def _literal(name: str) -> str:
    """Return a name that matplotlib does not read as mathematics."""
    return text.one_line(name).replace("$", r"\$")
