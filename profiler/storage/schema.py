"""The files of a run directory: their columns, and for each its type, its unit and how it aggregates.

Everything that reads, merges or checks tables takes its lists of columns from here. A changed meaning of a column is a
new major version; an added column or key is a minor one, which old readers ignore.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, get_args

from profiler.records import kind_of
from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA_MAJOR = 1
SCHEMA_MINOR = 1
SCHEMA_VERSION = f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}"
RUN_FILE = "run.json"
RESUMED = "resumed"
"""Section of ``run.json``: the run that this one resumes, and from which step."""
MERGED = "merged"
"""Section of ``run.json`` of a merged run: the clocks of its hosts, and the records it was merged from."""
RANKS = "ranks"
"""Section of ``run.json`` of a merged run: one entry per process and attempt."""
TOTALS = "totals"
"""Section of ``run.json``: totals of the run, written at its end; null until then."""
JOB = "job"
"""Key of ``run.json``: identifier of the job, the same for all of its processes. Since schema 1.1."""
PROCESS = "process"
"""Section by which a reader on the same host sees that the process has ended: PID namespace and start time."""
HARDWARE = "hardware"
"""Section of ``run.json``: models of the boards by domain, processor, memory and driver. Since schema 1.1."""
BATCH_JOB = "batch_job"
"""Section of ``run.json``: identifiers that the batch system gave the job, only on request. Since schema 1.1."""
CONFIG = "config"
"""Section of ``run.json``: the user's settings of the training."""
ROWS_LOST = "rows_lost"
"""Section of ``run.json``: by file, the number of rows that could not be written. Since schema 1.1."""
ALTERNATING_STEPS = "alternating_steps"
"""Key of ``run.json``: number of steps in which several optimizers had backward passes of their own. Since 1.1."""
MISSING_RANKS = "missing_ranks"
"""Key of ``run.json``: number of ranks of the process group that have no record in the run. Since schema 1.1."""
LAUNCHED_RANKS = "launched_ranks"
"""Key of ``run.json``: number of processes started by this one that joined its run as its ranks. Since schema 1.1."""
UNRECORDED_PROCESSES = "unrecorded_processes"
"""Key of ``run.json``: number of child processes that trained and whose steps are in no row. Since schema 1.1."""
INFERRED_STEPS = "inferred_steps"
"""Key of ``run.json``: number of the first steps, which were inferred from backward passes. Since schema 1.1."""
NONFINITE_ENDS = "nonfinite_ends"
"""Key of the totals: number of values that are not finite at the end of each such metric. Since schema 1.1."""
LIBRARIES = "libraries"
"""Key of ``run.json``: libraries whose environments were stepped between updates. Since schema 1.1."""
CONVOLUTIONAL = "convolutional"
"""Key of ``run.json``: true if enough weights of four or more dimensions are trained. Since schema 1.1."""
OVERLAPPING_PHASES = "overlapping_phases"
"""Key of ``run.json``: names of phases that were open at the same time in different tasks. Since schema 1.1."""
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


@lru_cache(maxsize=1024)
def _text(value: str) -> str:
    """Format a word: one line, printable, and never a formula for a spreadsheet."""
    plain = "".join(c if c.isprintable() else " " for c in value)
    guarded = f"'{plain}" if plain[:1] in _FORMULA else plain
    return '"' + guarded.replace('"', '""') + '"' if any(c in guarded for c in ',"') else guarded


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its header.
        type: ``int``, ``float`` or ``str``.
        unit: ``s``, ``J``, ``W``, or empty.
        nullable: True if a cell may be empty, which means not measured.
        cell: Formats a value of a row for the file.
        scale: Units of a row's value in one unit of the file: rows hold whole nanoseconds and microjoules.
        over_steps: How the values of consecutive steps become one row's: ``sum``, ``mean``, ``first``, ``last``, or
            ``edges`` (a standard deviation, which consecutive rows share at their common edge).
        over_ranks: How the values of the ranks become one: ``sum``, ``mean``, ``max``, ``first``,
            ``root_sum_square``, or ``same`` where ranks are aligned by it.
        category: The kind of device whose energy it holds, if it is a part of ``total_joules``.
        phase: The phase of a step that it times, if it does.
        absent: Value of every row in files of an earlier minor version, which lack the column; None if they have it.
    """

    name: str
    type: str
    nullable: bool = False
    unit: str = ""
    cell: "Callable[[Any], str]"
    scale: int = 1
    over_steps: str = "last"
    over_ranks: str = "same"
    category: str = ""
    phase: str = ""
    absent: float | str | None = None


_Format = dict[str, Any]
_TIME: _Format = {"cell": _seconds, "type": "float", "unit": "s", "scale": NANOSECONDS_PER_SECOND}
_ENERGY: _Format = {"cell": _joules, "type": "float", "unit": "J", "scale": MICROJOULES_PER_JOULE}
_COUNT: _Format = {"cell": str, "type": "int"}
_EXACT: _Format = {"cell": repr, "type": "float"}
_ABOUT: _Format = {"cell": _short, "type": "float"}
_WORD: _Format = {"cell": _text, "type": "str"}


def _column(kind: _Format, over_steps: str = "last", over_ranks: str = "same", **more: str | float) -> Any:
    metadata = {**kind, "over_steps": over_steps, "over_ranks": over_ranks, **more}
    absent = more.get("absent", MISSING)
    is_empty = absent == "" or absent != absent  # noqa: PLR0124 - NaN
    return field(default=None if is_empty else absent, metadata=metadata)


@dataclass(slots=True, kw_only=True)
class StepRow:
    """``step_count`` consecutive steps of one training, the last of which is ``step``; times in ns, energies in uJ."""

    step: int = _column(_COUNT)
    step_count: int = _column(_COUNT, "sum")
    start_seconds: int = _column(_TIME, "first")
    end_seconds: int = _column(_TIME, "last", "max")
    loss: float | None = _column(_EXACT, "mean", "mean")
    nonfinite_count: int = _column(_COUNT, "sum", "max")
    backwards: int = _column(_COUNT, "sum", "max")
    learning_rate: float | None = _column(_EXACT, "last", "first")
    gpu_joules: int | None = _column(_ENERGY, "sum", "sum", category="gpu")
    cpu_joules: int | None = _column(_ENERGY, "sum", "sum", category="cpu")
    dram_joules: int | None = _column(_ENERGY, "sum", "sum", category="dram")
    other_joules: int | None = _column(_ENERGY, "sum", "sum", category="other")
    total_joules: int | None = _column(_ENERGY, "sum", "sum")
    modelled_joules: int | None = _column(_ENERGY, "sum", "sum")
    cumulative_joules: int | None = _column(_ENERGY, "last", "sum")
    uncertainty_joules: float | None = _column(_ABOUT, "edges", "root_sum_square", unit="J")
    data_seconds: int | None = _column(_TIME, "sum", "mean", phase="data")
    forward_seconds: int | None = _column(_TIME, "sum", "mean", phase="forward")
    backward_seconds: int | None = _column(_TIME, "sum", "mean", phase="backward")
    optimizer_seconds: int | None = _column(_TIME, "sum", "mean", phase="optimizer")
    phase: str = _column(_WORD, "first", "first")
    training: int = _column(_COUNT, "last", "max", absent=0)


@dataclass(slots=True, kw_only=True)
class SpanRow:
    """A stretch between steps: setup, evaluation, stall, checkpoint, idle, teardown, a user's phase.

    In a resumed run also ``lost`` (steps that were repeated), ``carried`` (the whole of an earlier run whose record is
    not here) and ``unwritten`` (the part of an earlier run that is in no row).

    ``overlapping`` is 1 where phases of other tasks or threads were open too; their common time is counted here only.
    """

    start_seconds: int = _column(_TIME, "first")
    end_seconds: int = _column(_TIME)
    kind: str = _column(_WORD)
    total_joules: int | None = _column(_ENERGY, "sum", "sum")
    modelled_joules: int | None = _column(_ENERGY, "sum", "sum")
    cumulative_joules: int | None = _column(_ENERGY, "last", "sum")
    uncertainty_joules: float | None = _column(_ABOUT, "edges", "root_sum_square", unit="J")
    overlapping: int = _column(_COUNT, "last", "max", absent=0)


@dataclass(slots=True, kw_only=True)
class SampleRow:
    """A moment at which a domain's cumulative energy had moved; power is the mean since its previous row.

    Power limit, clock and throttle reasons of an accelerator are read once per second and empty in the rows between.
    """

    time_seconds: int = _column(_TIME)
    domain: str = _column(_WORD)
    power_watts: float | None = _column(_ABOUT, "mean", "sum", unit="W")
    energy_joules: int = _column(_ENERGY, "last", "sum")
    provenance: str = _column(_WORD)
    limit_watts: float | None = _column(_ABOUT, unit="W", absent=math.nan)
    sm_mhz: float | None = _column(_ABOUT, absent=math.nan)
    throttle: str | None = _column(_WORD, absent="")


@dataclass(slots=True, kw_only=True)
class MetricRow:
    """A value logged by the user."""

    time_seconds: int = _column(_TIME, "last", "mean")
    step: int = _column(_COUNT)
    cumulative_joules: int | None = _column(_ENERGY, "last", "sum")
    name: str = _column(_WORD)
    value: float = _column(_EXACT, "last", "mean")


_FORMATS: "dict[Callable[[Any], str], str]" = {
    _seconds: "%.6f",
    _joules: "%.6f",
    str: "%d",
    repr: "%r",
    _short: "%.4g",
    _text: "%s",
}
Columns = Mapping[str, Sequence[Any]]
"""Rows of a table as one sequence per column, in the units of the rows' class."""
_Template = tuple[str, tuple[tuple[int, int], ...], tuple[int, ...]]


def _fit_floats(values: Sequence[int]) -> bool:
    return min(values) > -_EXACT_AS_FLOAT and max(values) < _EXACT_AS_FLOAT


class Table:
    """One CSV file: its name, its columns, and the class of its rows."""

    def __init__(self, filename: str, row: type[Any]) -> None:
        self.filename = filename
        self.row = row
        self.schema = tuple(
            Column(name=f.name, nullable=type(None) in get_args(f.type), **f.metadata) for f in fields(row)
        )
        self.columns = tuple(column.name for column in self.schema)
        self.absent = {column.name: column.absent for column in self.schema if column.absent is not None}
        self.types: dict[str, str] = {column.name: column.type for column in self.schema}
        self._cells: tuple[Callable[[Any], str], ...] = tuple(column.cell for column in self.schema)
        self._values = attrgetter(*self.columns)
        self._templates: dict[tuple[bool, ...], _Template] = {}

    @property
    def name(self) -> str:
        """The table's name: that of its file without the extension."""
        return self.filename.removesuffix(".csv")

    @property
    def header(self) -> str:
        """The first line of the file."""
        return ",".join(self.columns) + "\n"

    def line(self, row: Any) -> str:
        """Format a row; an empty cell means not measured."""
        values = self._values(row)
        # Calling a function per cell would take most of the time that a step costs, so a row is formatted at once, by a
        # template for its set of empty cells.
        filled = tuple([value is not None for value in values])
        found = self._templates.get(filled)
        if found is None:
            found = self._templates[filled] = self._template(filled)
        template, scaled, words = found
        cells = list(values)
        for index, scale in scaled:
            value = cells[index]
            if not -_EXACT_AS_FLOAT < value < _EXACT_AS_FLOAT:
                return self._exact_line(values)
            cells[index] = value / scale
        for index in words:
            cells[index] = _text(cells[index])
        return template % tuple([cell for cell in cells if cell is not None])

    def _template(self, filled: tuple[bool, ...]) -> _Template:
        """Return the format of rows with these cells, the scales of their columns, and the columns of words."""
        columns = [(index, column) for index, column in enumerate(self.schema) if filled[index]]
        formats = {index: _FORMATS[column.cell] for index, column in columns}
        template = ",".join(formats.get(index, "") for index in range(len(filled))) + "\n"
        scaled = tuple((index, column.scale) for index, column in columns if column.scale != 1)
        return template, scaled, tuple(index for index, column in columns if column.cell is _text)

    def lines(self, columns: Columns) -> list[str]:
        """Format rows that are given as columns. Cells that all rows share are formatted once."""
        cells: list[str] = []
        varying: list[Sequence[Any]] = []
        for column in self.schema:
            values = columns[column.name]
            first = values[0]
            if values.count(first) == len(values):
                cells.append("" if first is None else column.cell(first).replace("%", "%%"))
                continue
            if column.scale != 1 and None not in values and _fit_floats(values):
                scale = column.scale
                cells.append(_FORMATS[column.cell])
                values = [value / scale for value in values]
            elif column.scale == 1 and column.cell is not _text and None not in values:
                cells.append(_FORMATS[column.cell])
            else:
                cells.append("%s")
                values = ["" if value is None else column.cell(value) for value in values]
            varying.append(values)
        line = ",".join(cells) + "\n"
        if not varying:
            return [line % ()] * len(columns[self.columns[0]])
        return list(map(line.__mod__, zip(*varying, strict=True)))

    def _exact_line(self, values: tuple[Any, ...]) -> str:
        """Format a row with numbers that a float does not hold to the last decimal."""
        cells = zip(values, self._cells, strict=True)
        return ",".join(["" if value is None else cell(value) for value, cell in cells]) + "\n"

    def where(self, **attributes: str) -> tuple[str, ...]:
        """Return the names of the columns that have all of these attributes, such as ``unit="J"``."""
        return tuple(
            column.name
            for column in self.schema
            if all(getattr(column, name) == value for name, value in attributes.items())
        )

    @property
    def moments(self) -> tuple[str, ...]:
        """The columns that are moments of the window, in seconds since its start."""
        return tuple(c.name for c in self.schema if c.unit == "s" and c.over_steps in ("first", "last"))


STEPS = Table("steps.csv", StepRow)
SPANS = Table("spans.csv", SpanRow)
SAMPLES = Table("samples.csv", SampleRow)
METRICS = Table("metrics.csv", MetricRow)
TABLES = (STEPS, SPANS, SAMPLES, METRICS)

CATEGORIES = {column.category: column.name for column in STEPS.schema if column.category}
"""Columns of ``steps.csv`` that are parts of ``total_joules``, by the kind of device."""
PHASES = {column.phase: column.name for column in STEPS.schema if column.phase}
"""Columns of ``steps.csv`` that time a phase of a step, by its name."""


def category_of(domain: str) -> str:
    """Return the category that a domain is counted in, by its kind."""
    return kind_of(domain).category
