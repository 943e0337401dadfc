"""A comparison of runs as one self-contained page."""

from typing import TYPE_CHECKING, Any

from profiler.reporting import comparison_figure, text
from profiler.reporting.comparison_text import price
from profiler.reporting.html import render_page
from profiler.reporting.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from profiler.reporting.figures import Figure
    from profiler.reporting.records import Comparison, Line
    from profiler.reporting.renderer import Rendered, RenderOptions

Fold = tuple[str, str, list[str], Table | None]


def render(comparison: "Comparison", options: "RenderOptions") -> "Rendered":
    """Render the page; with ``plotlyjs="directory"`` plotly's script accompanies it."""
    names = [text.one_line(line.name) for line in comparison.runs]
    metric = text.one_line(comparison.metric)
    heading = f"{text.counted(len(names), 'run')} compared"
    rankings = (("energy", comparison.at_energy), ("level", comparison.at_level))
    verdicts = [
        (f"Equal {kind if kind == 'energy' else metric}", text.ranking(kind, known, names, metric))
        for kind, known in rankings
        if known is not None
    ]
    problems = [
        f"{name}: {problem}"
        for name, line in zip(names, comparison.runs, strict=True)
        if (problem := text.comparison_problem(line, comparison.metric))
    ]
    notes = (comparison.note, text.spread(comparison.spread), text.compared_energy(comparison.runs))
    return render_page(
        "compare.html",
        options,
        title=f"{heading} - energy report",
        source="the run directories",
        noscript="The figure needs JavaScript, which runs inside this page only; all tables work without it.",
        heading=heading,
        tone="caution" if comparison.flags else "good",
        status=text.comparison_status(comparison),
        verdicts=verdicts,
        caveats=[sentence for sentence in notes if sentence],
        warnings=[*comparison.flags, *problems],
        metric=metric,
        count=len(names),
        tables=[_runs(comparison, names)],
        folds=list(_folds(comparison, names)),
        why=_why(comparison),
        data={"figures": _figures(comparison), "sliders": {}},
    )


def _figures(comparison: "Comparison") -> "dict[str, Figure]":
    bridge = {"why": comparison_figure.bridge(comparison)} if comparison.why else {}
    return {"compare": comparison_figure.curves(comparison), **bridge}


def _why(comparison: "Comparison") -> "dict[str, Any] | None":
    """Return the section on the factors of the energy; None where not requested."""
    if comparison.why_runs is None:
        return None
    rows = tuple(map(text.why_row, comparison.why))
    caption = "Factors of the energy to the level"
    return {
        "sentences": [sentence for sentence in (text.why(comparison), text.why_note(comparison)) if sentence],
        "table": Table(caption=caption, head=text.WHY_HEAD, rows=rows) if rows else None,
    }


def _runs(comparison: "Comparison", names: list[str]) -> Table:
    metric = text.one_line(comparison.metric)
    costs = [[] if line.cost is None else text.elsewhere(line.cost) for line in comparison.runs]
    has_costs = any(costs)
    heads = [f"to {text.level(milestone.loss)}" for milestone in comparison.milestones]
    rows = []
    for index, (name, line, cost) in enumerate(zip(names, comparison.runs, costs, strict=True)):
        prices = [price(milestone, index).strip() for milestone in comparison.milestones]
        rows.append((name, *_facts(line), *([", ".join(cost) or text.ABSENT] if has_costs else []), *prices))
    return Table(
        caption=f"Energy of each run, and with which it reached each {metric}; * the cheapest",
        head=("run", "status", "energy", f"{metric} level", *(["cost"] if has_costs else []), *heads),
        rows=tuple(rows),
    )


def _facts(line: "Line") -> tuple[str, str, str]:
    state = "" if line.state is None else f", {text.curve_state(line.state, 'curve')}"
    return (
        f"{text.run_status(line.status).lower()}{state}",
        text.ABSENT if line.joules is None else text.joules(line.joules),
        text.ABSENT if line.last_loss is None else text.level(line.last_loss),
    )


def _folds(comparison: "Comparison", names: list[str]) -> "Iterator[Fold]":
    metric = text.one_line(comparison.metric)
    if comparison.differences:
        rows = [(text.one_line(row.name), *map(text.setting, row.values)) for row in comparison.differences]
        table = Table(caption="Settings of the runs", head=("setting", *names), rows=tuple(rows))
        yield "settings", "Settings that differ", [], table
    stretches = [
        (
            f"{text.level(one.first_loss)} \N{RIGHTWARDS ARROW} {text.level(one.last_loss)}",
            f"{text.joules(one.start_joules)} to {text.joules(one.end_joules)}",
            names[one.run],
        )
        for one in comparison.cheapest
    ]
    yield (
        "cheapest",
        f"The cheapest run by {metric}",
        [],
        Table(
            caption="Where each run is the cheapest", head=(metric, "energy", "run"), rows=tuple(stretches)
        ),
    )
    if comparison.floor is None:
        yield "projection", "Projection of the cheapest", [f"No projection: {comparison.refused}"], None
        return
    ahead = [(text.joules(one.joules), text.levels(one.loss)) for one in comparison.ahead]
    floor = "floor" if comparison.goal == "min" else "ceiling"
    yield (
        "projection",
        "Projection of the cheapest",
        [f"Its {floor} is {text.levels(comparison.floor)}.", *comparison.notes],
        Table(caption="The best level expected, 90 %", head=("energy", metric), rows=tuple(ahead)),
    )
