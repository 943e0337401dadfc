"""Rows on computation and energy of the Model Documentation Form (EU code of practice for general-purpose AI models).

The form asks for megawatt-hours with at least two significant figures, the method in about 100 words, wall-clock days
and hardware days, and floating-point operations. It defines no boundary, so the method states that of the numbers.
"""

from typing import TYPE_CHECKING

from profiler.export import form_text as words
from profiler.export.facts import facts_of
from profiler.reporting import text
from profiler.units import significant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from profiler.export.facts import Facts
    from profiler.run import Run

NOT_AVAILABLE = "N/A"


def export(runs: "Sequence[Run]") -> bytes:
    """Return the rows as a Markdown table."""
    facts = facts_of(runs)
    lines = [
        f"# Model Documentation Form: training of {text.markdown(words.plain(facts.name) or 'the model')}",
        "",
        "| field | value |",
        "|---|---|",
        *(f"| {name} | {text.markdown(value)} |" for name, value in _rows(facts)),
        "",
    ]
    return "\n".join(lines).encode()


def _rows(facts: "Facts") -> "Iterator[tuple[str, str]]":
    yield "Training time, wall clock", words.days(facts.window_seconds)
    yield "Training time, hardware days", _hardware_days(facts)
    yield "Amount of computation used for training", _computation(facts)
    yield "Measurement methodology (computation)", _computation_method(facts)
    if facts.kwh is None:
        yield "Amount of energy used for training", f"{NOT_AVAILABLE}: a run has no measured energy"
        yield "90 % interval", NOT_AVAILABLE
    else:
        digits_and_ends = words.amount(facts.kwh, words.mwh)
        value, _, interval = digits_and_ends.partition(" (90 % interval ")
        yield "Amount of energy used for training", value
        yield "90 % interval", interval.removesuffix(")")
    yield "Measured or estimated", words.measured(facts)
    yield "Measurement methodology (energy)", words.methods(facts)


def _hardware_days(facts: "Facts") -> str:
    if facts.accelerator_seconds is None:
        return f"{NOT_AVAILABLE}: the meters do not show how many accelerators were used"
    if not facts.accelerators:
        return f"no accelerator was used ({words.hardware(facts.processors) or 'processor unknown'})"
    return f"{words.days(facts.accelerator_seconds)} ({words.hardware(facts.accelerators)})"


def _computation(facts: "Facts") -> str:
    if facts.flops is None:
        return f"{NOT_AVAILABLE}: parameters and tokens are not both recorded"
    return f"{facts.flops:.1e} floating-point operations, estimated"


def _computation_method(facts: "Facts") -> str:
    if facts.flops is None:
        return NOT_AVAILABLE
    tokens = facts.work["tokens"]
    return (
        f"6 x parameters x tokens, with {significant(float(facts.parameters or 0))} trained parameters and "
        f"{significant(float(tokens))} tokens. The formula is for dense models of which all layers are trained."
    )
