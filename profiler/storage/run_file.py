"""``run.json``: its schema, and reading it. Every value that passes has its declared type and range.

Unknown keys are those of a newer minor version, and are ignored.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiler import budget, emissions, lr_plan, work
from profiler.errors import RunDamagedError, RunForeignError, RunNotFoundError, RunTooNewError
from profiler.records import Provenance, Status
from profiler.storage.files import printable, read_bounded
from profiler.storage.schema import (
    ALTERNATING_STEPS,
    BATCH_JOB,
    CONFIG,
    CONVOLUTIONAL,
    HARDWARE,
    INFERRED_STEPS,
    JOB,
    LAUNCHED_RANKS,
    LIBRARIES,
    MERGED,
    MISSING_RANKS,
    NONFINITE_ENDS,
    OVERLAPPING_PHASES,
    PROCESS,
    RANKS,
    RESUMED,
    ROWS_LOST,
    RUN_FILE,
    SCHEMA_MAJOR,
    SCHEMA_VERSION,
    TABLES,
    TOTALS,
    UNRECORDED_PROCESSES,
)

_MOST_BYTES = 64_000_000
_MOST_RANKS = 1 << 20
_MOST_STEPS = 10**15
_MOST_PARAMETERS = 10**18
_MOST_SECONDS = 1e11
_MOST_JOULES = 1e12
_SHOWN = 40


class _Kind(ABC):
    """Kind of a value."""

    __slots__ = ()

    @abstractmethod
    def fault(self, value: object, field: str) -> str:
        """Return a sentence on the first fault of a value; empty if it has none."""


@dataclass(frozen=True, slots=True)
class _Text(_Kind):
    choices: tuple[str, ...] = ()

    def fault(self, value: object, field: str) -> str:
        if not isinstance(value, str):
            return f"{field} is {_shown(value)}, which is not text."
        if self.choices and value not in self.choices:
            return f"{field} is {_shown(value)}, which is none of {', '.join(self.choices)}."
        return ""


@dataclass(frozen=True, slots=True)
class _Number(_Kind):
    low: float = -math.inf
    high: float = math.inf

    def fault(self, value: object, field: str) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{field} is {_shown(value)}, which is not a number."
        return _range_fault(value, self.low, self.high, field)


@dataclass(frozen=True, slots=True)
class _Whole(_Kind):
    low: int = 0
    high: int = _MOST_STEPS

    def fault(self, value: object, field: str) -> str:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{field} is {_shown(value)}, which is not a whole number."
        return _range_fault(value, self.low, self.high, field)


@dataclass(frozen=True, slots=True)
class _Flag(_Kind):
    def fault(self, value: object, field: str) -> str:
        return (
            "" if isinstance(value, bool) else f"{field} is {_shown(value)}, which is neither true nor false."
        )


@dataclass(frozen=True, slots=True)
class _Optional(_Kind):
    kind: _Kind

    def fault(self, value: object, field: str) -> str:
        return "" if value is None else self.kind.fault(value, field)


@dataclass(frozen=True, slots=True)
class _Plain(_Kind):
    """Text, a number, a truth value or nothing."""

    def fault(self, value: object, field: str) -> str:
        return (
            f"{field} is {_shown(value)}, which is not a plain value."
            if isinstance(value, dict | list)
            else ""
        )


@dataclass(frozen=True, slots=True)
class _List(_Kind):
    kind: _Kind

    def fault(self, value: object, field: str) -> str:
        if not isinstance(value, list):
            return f"{field} is {_shown(value)}, which is not a list."
        faults = (self.kind.fault(one, f"{field}[{index}]") for index, one in enumerate(value))
        return next(filter(None, faults), "")


@dataclass(frozen=True, slots=True)
class _Pair(_Kind):
    """A list of two values."""

    first: _Kind
    second: _Kind

    def fault(self, value: object, field: str) -> str:
        if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004 - a pair
            return f"{field} is {_shown(value)}, which is not a pair."
        return self.first.fault(value[0], f"{field}[0]") or self.second.fault(value[1], f"{field}[1]")


@dataclass(frozen=True, slots=True)
class _Map(_Kind):
    """An object with any keys."""

    kind: _Kind

    def fault(self, value: object, field: str) -> str:
        if not isinstance(value, dict):
            return f"{field} is {_shown(value)}, which is not an object."
        faults = (self.kind.fault(one, f"{field}.{printable(name)}") for name, one in value.items())
        return next(filter(None, faults), "")


@dataclass(frozen=True, slots=True)
class _Section(_Kind):
    """An object with known keys."""

    keys: Mapping[str, _Kind]
    required: tuple[str, ...] = ()

    def fault(self, value: object, field: str) -> str:
        if not isinstance(value, dict):
            return f"{field} is {_shown(value)}, which is not an object."
        prefix = f"{field}." if field else ""
        missing = next((name for name in self.required if name not in value), None)
        if missing is not None:
            return f"{prefix}{missing} is missing."
        faults = (
            kind.fault(value[name], f"{prefix}{name}") for name, kind in self.keys.items() if name in value
        )
        return next(filter(None, faults), "")


_AMOUNT = _Number(0.0, 1e300)
_WORK = _Section(
    {"per_step": _AMOUNT, "total": _Optional(_AMOUNT), "counted": _AMOUNT, "calls": _Whole(0, _MOST_STEPS)}
)


@dataclass(frozen=True, slots=True)
class _WorkEntry(_Kind):
    """Number of parameters, or an object of one unit of work."""

    def fault(self, value: object, field: str) -> str:
        kind = _WORK if isinstance(value, dict) else _Whole(0, _MOST_PARAMETERS)
        return kind.fault(value, field)


_SECONDS = _Number(-_MOST_SECONDS, _MOST_SECONDS)
_LENGTH = _Number(0.0, _MOST_SECONDS)
_JOULES = _Number(-_MOST_JOULES, _MOST_JOULES)
_WATTS = _Number(0.0, _MOST_JOULES)
_RATIO = _Number(0.0, 1e6)
_TEXT = _Text()
_CLOCK = _Section({"monotonic_seconds": _SECONDS, "unix_seconds": _SECONDS})
_DOMAIN = _Section(
    {
        "name": _TEXT,
        "source": _TEXT,
        "provenance": _Text(tuple(one.value for one in Provenance)),
        "billed": _Flag(),
        "parent": _Optional(_TEXT),
        "update_period_seconds": _Optional(_LENGTH),
        "gain_uncertainty": _RATIO,
        "edge_watts": _WATTS,
        "blur_seconds": _LENGTH,
        "buffered_seconds": _LENGTH,
        "drift_watts": _WATTS,
        "device": _Optional(_TEXT),
        "notes": _List(_TEXT),
        "billed_from_seconds": _Optional(_SECONDS),
        "bridged_seconds": _LENGTH,
        "bridged_joules": _JOULES,
        "resets": _Whole(),
        "idle_watts": _Optional(_WATTS),
        "throttled_seconds": _Optional(_Map(_LENGTH)),
        "device_count": _Whole(1),
    },
    required=("name", "source", "provenance", "billed"),
)
_TOTALS = _Section(
    {
        "window_seconds": _LENGTH,
        "steps": _Whole(),
        "step_joules": _Optional(_JOULES),
        "span_joules": _Optional(_JOULES),
        "modelled_joules": _Optional(_JOULES),
        "edge_joules": _Number(0.0, _MOST_JOULES),
        "domain_joules": _Map(_JOULES),
        "metrics": _Map(_Number(-1e300, 1e300)),
        NONFINITE_ENDS: _Map(_Whole(1)),
    }
)
_RANK = _Section(
    {
        "rank": _Whole(0, _MOST_RANKS),
        "attempt": _Whole(0, _MOST_RANKS),
        "host": _TEXT,
        "status": _TEXT,
        "window_seconds": _LENGTH,
        "steps": _Whole(),
        "own_joules": _JOULES,
        "shared_joules": _JOULES,
        "joules": _JOULES,
        "directory": _TEXT,
    },
    required=("rank", "attempt", "host", "status", "steps", "joules"),
)
_HOST_CLOCK = _Section(
    {
        "host": _TEXT,
        "offset_seconds": _SECONDS,
        "uncertainty_seconds": _Optional(_LENGTH),
        "source": _TEXT,
    }
)
_SCHEMA = _Section(
    {
        "schema_version": _TEXT,
        "name": _TEXT,
        "started_at": _TEXT,
        "started_unix_seconds": _SECONDS,
        "status": _Text(tuple(one.value for one in Status)),
        "rank": _Whole(0, _MOST_RANKS),
        "world_size": _Whole(1, _MOST_RANKS),
        "attempt": _Whole(0, _MOST_RANKS),
        "host": _TEXT,
        "pid": _Whole(),
        PROCESS: _Section({"namespace": _TEXT, "start": _TEXT}, required=("namespace", "start")),
        JOB: _TEXT,
        "versions": _Map(_TEXT),
        "refusals": _List(
            _Section({"source": _TEXT, "reason": _TEXT, "remedy": _TEXT}, required=("source", "reason"))
        ),
        "clock": _CLOCK,
        "domains": _List(_DOMAIN),
        "missing": _List(_TEXT),
        "warnings": _List(_TEXT),
        "overhead": _Map(_Optional(_Number(0.0, 1e18))),
        "process_group": _Flag(),
        TOTALS: _Optional(_TOTALS),
        ROWS_LOST: _Map(_Whole()),
        ALTERNATING_STEPS: _Whole(),
        INFERRED_STEPS: _Whole(),
        LIBRARIES: _List(_TEXT),
        CONVOLUTIONAL: _Flag(),
        OVERLAPPING_PHASES: _List(_TEXT),
        LAUNCHED_RANKS: _Whole(0, _MOST_RANKS),
        MISSING_RANKS: _Whole(0, _MOST_RANKS),
        UNRECORDED_PROCESSES: _Whole(0, _MOST_RANKS),
        RESUMED: _Section({"run": _TEXT, "step": _Optional(_Whole()), "joules": _Optional(_JOULES)}),
        RANKS: _List(_RANK),
        MERGED: _Section({"clocks": _List(_HOST_CLOCK), "sources": _Map(_Whole(0, 10**18))}),
        lr_plan.TOTAL: _Whole(1),
        lr_plan.SECTION: _Section(
            {"source": _TEXT, "knots": _List(_Pair(_Whole(), _Number(0.0, 1e300)))}, required=("source",)
        ),
        CONFIG: _Map(_Plain()),
        HARDWARE: _Section(
            {"boards": _Map(_TEXT), "processor": _TEXT, "memory_bytes": _Whole(0, 10**18), "driver": _TEXT}
        ),
        BATCH_JOB: _Map(_TEXT),
        work.SECTION: _Map(_WorkEntry()),
        budget.SECTION: _Section(
            {
                "target_loss": _Number(-1e300, 1e300),
                "energy_budget_joules": _Number(1e-300, 1e300),
            }
        ),
        emissions.SECTION: _Section(
            {
                "pue": _Number(1.0, 1e6),
                "grid_gco2e_per_kwh": _Optional(_Number(0.0, 1e12)),
                "grid_source": _TEXT,
                "price_per_kwh": _Optional(_Number(0.0, 1e12)),
                "currency": _TEXT,
                "country": _TEXT,
            }
        ),
    },
    required=("schema_version", "status", "domains"),
)


def read_run_file(directory: Path) -> dict[str, Any]:
    """Read ``run.json`` of a run directory and check it against its schema.

    Raises:
        RunNotFoundError: There is no such directory.
        RunForeignError: It is not a run directory.
        RunTooNewError: A newer major version wrote it.
        RunDamagedError: ``run.json`` cannot be read, is not JSON, or violates its schema; the message names the field.
    """
    if not directory.exists():
        raise RunNotFoundError(directory, "there is no such directory.")
    if not directory.is_dir():
        raise RunForeignError(directory, "this is a file; a run is a directory.")
    path = directory / RUN_FILE
    try:
        content = read_bounded(path, _MOST_BYTES)
    except FileNotFoundError:
        raise RunForeignError(
            directory, f"this is not a run directory: it has no {RUN_FILE}.", remedy=_hint(directory)
        ) from None
    found = _parsed(path, content)
    _check_version(path, found)
    if fault := _SCHEMA.fault(found, ""):
        raise RunDamagedError(path, fault)
    return found


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise RunDamagedError(path, "this is not UTF-8 text.") from None
    except json.JSONDecodeError as error:
        raise RunDamagedError(path, f"this is not JSON: {error.msg}.", line=error.lineno) from None
    except RecursionError:
        raise RunDamagedError(path, "its values are nested too deeply.") from None
    except ValueError as error:  # a whole number of thousands of digits
        raise RunDamagedError(path, f"this is not JSON that can be read: {error}.") from None
    if not isinstance(found, dict) or "schema_version" not in found:
        raise RunForeignError(path, "this was not written by energy-profiler: it has no schema_version.")
    return found


def _check_version(path: Path, found: Mapping[str, Any]) -> None:
    version = str(found["schema_version"])[:_SHOWN]
    major = version.partition(".")[0]
    if not (major.isascii() and major.isdecimal()):
        raise RunForeignError(
            path, f"this was not written by energy-profiler: schema_version is {version!r}."
        )
    if int(major) < SCHEMA_MAJOR:
        raise RunForeignError(
            path, f"written in schema {version}; this version reads {SCHEMA_MAJOR}.0 to {SCHEMA_VERSION}."
        )
    if int(major) > SCHEMA_MAJOR:
        reason = f"written in schema {version}; this version reads up to {SCHEMA_VERSION}."
        readable = ", ".join(table.filename for table in TABLES if (path.parent / table.filename).exists())
        remedy = f"Upgrade with: pip install -U energy-profiler. Its tables ({readable}) are plain CSV."
        raise RunTooNewError(path, printable(reason), remedy=remedy)


def _hint(directory: Path) -> str:
    if any((directory / table.filename).exists() for table in TABLES):
        return "Its CSV files are plain text and can still be read as such."
    runs = sorted(child.parent for child in directory.glob(f"*/{RUN_FILE}"))
    return f"It holds {len(runs)} runs; name one, such as {printable(str(runs[-1]))}." if runs else ""


def _range_fault(value: float, low: float, high: float, field: str) -> str:
    if low <= value <= high and (isinstance(value, int) or math.isfinite(value)):
        return ""
    return f"{field} is {_shown(value)}, which is not between {low:g} and {high:g}."


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MOST_STEPS:
        return f"a number of {int(value.bit_length() * math.log10(2)) + 1} digits"
    text = printable(json.dumps(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
