"""What a notebook shows of a run, or of a fit, that is the last word of a cell."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from profiler.reporting import report_of, tables, text
from profiler.reporting.cards import Card, cards_of, learnt_cards
from profiler.reporting.forecast_section import outlook_of
from profiler.reporting.tables import Table

if TYPE_CHECKING:
    from profiler.forecasting import CurveFit
    from profiler.storage.reader import StoredRun

_SOFT = "opacity:.7;font-size:90%"


def run_html(run: "StoredRun") -> str:
    """Show a run: its numbers, and what lower losses cost."""
    report = report_of(run)
    outlook = report.outlook
    title = f"{report.summary.name}, {report.summary.status.value}"
    table = _table(tables.targets(outlook, report.training_watts)) if outlook else ""
    return _shown(title, text.answer(report), cards_of(report), table)


def fit_html(fit: "CurveFit") -> str:
    """Show a fit: where the curve stands, and what lower losses cost."""
    outlook = outlook_of(fit, (), ())
    notes = " ".join(outlook.notes)
    return _shown("Loss against energy", notes, learnt_cards(outlook), _table(tables.targets(outlook, None)))


def _shown(title: str, text: str, cards: Sequence[Card], table: str) -> str:
    numbers = "".join(_card(card) for card in cards)
    return (
        f"<div><strong>{escape(title)}</strong><p>{escape(text)}</p>"
        f'<div style="display:flex;flex-wrap:wrap;gap:.5em 2em">{numbers}</div>{table}</div>'
    )


def _card(card: Card) -> str:
    label, value, note = map(escape, (card.label, card.value, card.note))
    return (
        f'<div><div style="{_SOFT}">{label}</div><div style="font-size:120%">{value}</div>'
        f'<div style="{_SOFT}">{note}</div></div>'
    )


def _table(table: Table) -> str:
    heads = "".join(f"<th>{escape(head)}</th>" for head in table.head)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
