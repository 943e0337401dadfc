"""Model card of Hugging Face: ``co2_eq_emissions`` in grams as front matter, and a section on environmental impact."""

import json
from typing import TYPE_CHECKING, Any

from profiler.export import form_text as words
from profiler.export.facts import facts_of
from profiler.reporting import text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from profiler.export.facts import Facts
    from profiler.run import Run

_NO_CARBON = "no carbon intensity is known; give --country or --grid-gco2e-per-kwh"


def export(runs: "Sequence[Run]") -> bytes:
    """Return front matter and section as Markdown."""
    facts = facts_of(runs)
    return "\n".join([*_front_matter(facts), "", *_section(facts), ""]).encode()


def _front_matter(facts: "Facts") -> "Iterator[str]":
    yield "---"
    if facts.gco2e is None:
        yield f"# co2_eq_emissions is left out: {_NO_CARBON if facts.joules else 'the energy is unknown'}"
    else:
        yield "co2_eq_emissions:"
        # A JSON number or string is valid YAML as well.
        for key, value in _emissions(facts).items():
            yield f"  {key}: {json.dumps(value, ensure_ascii=False)}"
    yield "---"


def _emissions(facts: "Facts") -> dict[str, Any]:
    assert facts.gco2e is not None
    found: dict[str, Any] = {
        "emissions": words.rounded(facts.gco2e),
        "source": words.plain(
            f"{words.TOOL} {facts.versions.get(words.TOOL, words.VERSION)}, {words.measured(facts)}, "
            f"{text.within(facts.gco2e)}"
        ),
    }
    if facts.stage:
        found["training_type"] = facts.stage
    if facts.country:
        found["geographical_location"] = words.plain(facts.country)
    if used := {**facts.accelerators, **facts.processors}:
        found["hardware_used"] = words.hardware(used)
    return found


def _section(facts: "Facts") -> "Iterator[str]":
    yield "## Environmental impact"
    yield ""
    yield from (f"- **{name}:** {text.markdown(value)}" for name, value in _rows(facts))
    yield ""
    yield text.markdown(words.methods(facts))


def _rows(facts: "Facts") -> "Iterator[tuple[str, str]]":
    if facts.kwh is None:
        yield "Energy", "unknown"
    else:
        yield "Energy", f"{words.amount(facts.kwh, text.kwh)}, {words.measured(facts)}"
    if facts.gco2e is not None:
        yield "Carbon emitted", words.amount(facts.gco2e, text.carbon)
    elif facts.joules is not None:
        yield "Carbon emitted", f"unknown: {_NO_CARBON}"
    if used := {**facts.accelerators, **facts.processors}:
        yield "Hardware", words.hardware(used)
    yield "Hours used", words.hours(facts.window_seconds)
    if facts.accelerator_seconds:
        yield "Accelerator-hours", words.hours(facts.accelerator_seconds)
