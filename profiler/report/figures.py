"""The figures of the page, drawn by plotly; its script stands in the page once."""

import math
from collections.abc import Sequence
from typing import Any

from profiler.records import Interval
from profiler.report.model import Chart, Outlook, Power

_INK = "#7f8c9b"
_BLUE, _BLUE_BAND = "#3b82f6", "rgba(59,130,246,0.22)"
_RED, _RED_BAND = "#ef4444", "rgba(239,68,68,0.13)"
_MARGIN = 1.08
_FARTHEST_FLOOR = 4.0


def script() -> str:
    """Plotly's own script, for the page's head."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def curve(outlook: Outlook) -> str:
    """Loss against joules on log axes: measured, expected, and the floor's band."""
    import plotly.graph_objects as go

    chart = outlook.chart
    if chart is None:
        return ""
    measured = max(chart.joules)
    lows, highs = [i.low for i in chart.law], [i.high for i in chart.law]
    band_x, band_y = [*chart.law_joules, *reversed(chart.law_joules)], [*highs, *reversed(lows)]
    figure = go.Figure()
    figure.add_scatter(
        x=band_x,
        y=band_y,
        fill="toself",
        fillcolor=_BLUE_BAND,
        line_width=0,
        hoverinfo="skip",
        name="90 % band",
    )
    medians = [(x, i.median) for x, i in zip(chart.law_joules, chart.law, strict=True)]
    known = sum(x <= measured for x, _ in medians)
    for name, dash, points in (
        ("fit", "solid", medians[:known]),
        ("extrapolated", "dash", medians[known - 1 :]),
    ):
        figure.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            mode="lines",
            line={"color": _BLUE, "dash": dash},
            name=name,
        )
    figure.add_scatter(
        x=chart.joules, y=chart.losses, mode="markers", marker={"size": 6, "color": _INK}, name="measured"
    )
    _floor(figure, outlook.floor, chart)
    figure.update_xaxes(type="log", title="joules since the start")
    figure.update_yaxes(type="log", title="loss", range=[math.log10(y) for y in _range(outlook, chart)])
    return _div(figure, "curve")


def _floor(figure: Any, floor: Interval, chart: Chart) -> None:
    """Draw the floor's band and its median across the figure."""
    ends = [chart.law_joules[0], chart.law_joules[-1]]
    for level, fill in ((floor.low, None), (floor.high, "tonexty")):
        figure.add_scatter(
            x=ends, y=[level, level], mode="lines", line_width=0, fill=fill, fillcolor=_RED_BAND,
            name="floor, 90 %", showlegend=fill is not None, hoverinfo="skip",
        )  # fmt: skip
    line = {"color": _RED, "dash": "dot"}
    figure.add_scatter(x=ends, y=[floor.median] * 2, mode="lines", line=line, name="median floor")


def _range(outlook: Outlook, chart: Chart) -> tuple[float, float]:
    """The losses that the figure shows: all that was measured and expected, and the median floor where it is near."""
    lowest = min(*chart.losses, *(interval.low for interval in chart.law))
    floor = max(outlook.floor.median, lowest / _FARTHEST_FLOOR)
    highest = max(*chart.losses, *(interval.high for interval in chart.law))
    return min(lowest, floor) / _MARGIN, highest * _MARGIN


def power(series: Sequence[Power]) -> str:
    """Power over time, stacked by domain."""
    import plotly.graph_objects as go

    if not series:
        return ""
    figure = go.Figure()
    for one in series:
        watts = [*one.watts, one.watts[-1]]
        figure.add_scatter(
            x=one.seconds, y=watts, stackgroup="power", name=one.domain, line={"shape": "hv", "width": 1}
        )
    figure.update_xaxes(title="seconds")
    figure.update_yaxes(title="watts", rangemode="tozero")
    return _div(figure, "power")


def _div(figure: Any, name: str) -> str:
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": _INK},
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        legend={"orientation": "h", "y": 1.08},
        height=420,
    )
    figure.update_xaxes(gridcolor="rgba(127,140,155,0.25)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(127,140,155,0.25)", zeroline=False)
    config = {"responsive": True, "displaylogo": False, "displayModeBar": False}
    html = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config)
    return str(html)
