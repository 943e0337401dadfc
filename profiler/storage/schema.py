"""The files of a run directory, written once as dataclasses: columns, cells and their order.

A changed meaning of a column is a new major version; an added column is a minor one, which old readers ignore.
"""

from dataclasses import dataclass, field, fields
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA_MAJOR = 1
SCHEMA_MINOR = 0
SCHEMA_VERSION = f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}"
RUN_FILE = "run.json"
RESUMED = "resumed"
"""The section of ``run.json`` that says which run this one goes on from, and from which step."""
_EXACT_AS_FLOAT = 10**15
"""Below this many nanoseconds or microjoules a float holds six decimals; above, decimals are exact and slower."""
_SIX_PLACES = Decimal("0.000001")
_FORMULA = ("=", "+", "-", "@")


def _seconds(nanoseconds: int) -> str:
    if abs(nanoseconds) < _EXACT_AS_FLOAT:
        return f"{nanoseconds / 1e9:.6f}"
    return str((Decimal(nanoseconds) / 10**9).quantize(_SIX_PLACES))


def _joules(microjoules: int) -> str:
    if abs(microjoules) < _EXACT_AS_FLOAT:
        return f"{microjoules / 1e6:.6f}"
    return str((Decimal(microjoules) / 10**6).quantize(_SIX_PLACES))


def _short(value: float) -> str:
    return f"{value:.4g}"


def _text(value: str) -> str:
    """Write a word: one line, printable, and never what a spreadsheet takes for a formula."""
    plain = "".join(c if c.isprintable() else " " for c in value)
    guarded = f"'{plain}" if plain[:1] in _FORMULA else plain
    return '"' + guarded.replace('"', '""') + '"' if any(c in guarded for c in ',"') else guarded


_TIME = {"cell": _seconds, "type": "float"}
_ENERGY = {"cell": _joules, "type": "float"}
_COUNT = {"cell": str, "type": "int"}
_EXACT = {"cell": repr, "type": "float"}
_ABOUT = {"cell": _short, "type": "float"}
_WORD = {"cell": _text, "type": "str"}


@dataclass(slots=True, kw_only=True)
class StepRow:
    """``step_count`` consecutive steps, the last of which is ``step``; written times in ns, energies in microjoules."""

    step: int = field(metadata=_COUNT)
    step_count: int = field(metadata=_COUNT)
    start_seconds: int = field(metadata=_TIME)
    end_seconds: int = field(metadata=_TIME)
    loss: float | None = field(metadata=_EXACT)
    nonfinite_count: int = field(metadata=_COUNT)
    backwards: int = field(metadata=_COUNT)
    learning_rate: float | None = field(metadata=_EXACT)
    gpu_joules: int | None = field(metadata=_ENERGY)
    cpu_joules: int | None = field(metadata=_ENERGY)
    dram_joules: int | None = field(metadata=_ENERGY)
    other_joules: int | None = field(metadata=_ENERGY)
    total_joules: int | None = field(metadata=_ENERGY)
    modelled_joules: int | None = field(metadata=_ENERGY)
    cumulative_joules: int | None = field(metadata=_ENERGY)
    uncertainty_joules: float | None = field(metadata=_ABOUT)
    data_seconds: int | None = field(metadata=_TIME)
    forward_seconds: int | None = field(metadata=_TIME)
    backward_seconds: int | None = field(metadata=_TIME)
    optimizer_seconds: int | None = field(metadata=_TIME)
    phase: str = field(metadata=_WORD)


@dataclass(slots=True, kw_only=True)
class SpanRow:
    """What lies between steps: setup, evaluation, stall, checkpoint, idle, teardown, a user's phase.

    Where a run goes on from another, also ``lost`` (steps that were done again) and ``carried`` (all of an earlier run
    whose record is not here).
    """

    start_seconds: int = field(metadata=_TIME)
    end_seconds: int = field(metadata=_TIME)
    kind: str = field(metadata=_WORD)
    total_joules: int | None = field(metadata=_ENERGY)
    modelled_joules: int | None = field(metadata=_ENERGY)
    cumulative_joules: int | None = field(metadata=_ENERGY)
    uncertainty_joules: float | None = field(metadata=_ABOUT)


@dataclass(slots=True, kw_only=True)
class SampleRow:
    """A moment at which a domain's cumulative energy had moved; power is the mean since its previous row."""

    time_seconds: int = field(metadata=_TIME)
    domain: str = field(metadata=_WORD)
    power_watts: float | None = field(metadata=_ABOUT)
    energy_joules: int = field(metadata=_ENERGY)
    provenance: str = field(metadata=_WORD)


@dataclass(slots=True, kw_only=True)
class MetricRow:
    """A value logged by the user."""

    time_seconds: int = field(metadata=_TIME)
    step: int = field(metadata=_COUNT)
    cumulative_joules: int | None = field(metadata=_ENERGY)
    name: str = field(metadata=_WORD)
    value: float = field(metadata=_EXACT)


class Table:
    """One CSV file: its name, its columns, and how a row becomes a line."""

    def __init__(self, filename: str, row: type[Any]) -> None:
        self.filename = filename
        self.columns = tuple(f.name for f in fields(row))
        self.types: dict[str, str] = {f.name: f.metadata["type"] for f in fields(row)}
        self._cells: tuple[Callable[[Any], str], ...] = tuple(f.metadata["cell"] for f in fields(row))
        self._values = attrgetter(*self.columns)

    @property
    def header(self) -> str:
        """The first line of the file."""
        return ",".join(self.columns) + "\n"

    def line(self, row: Any) -> str:
        """Write a row; an empty cell means not measured."""
        values = zip(self._values(row), self._cells, strict=True)
        return ",".join(["" if value is None else cell(value) for value, cell in values]) + "\n"


STEPS = Table("steps.csv", StepRow)
SPANS = Table("spans.csv", SpanRow)
SAMPLES = Table("samples.csv", SampleRow)
METRICS = Table("metrics.csv", MetricRow)
TABLES = (STEPS, SPANS, SAMPLES, METRICS)
