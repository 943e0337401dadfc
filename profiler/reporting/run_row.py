"""One row per run, for lists and tables of many runs."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from profiler._compat import display_path, printable
from profiler.emissions import Prices
from profiler.records import Interval
from profiler.reporting import text
from profiler.reporting.metric_choice import headline
from profiler.reporting.model import cost_of, energy_of
from profiler.storage.last_levels import last_levels
from profiler.storage.quick_summary import quick_summary_of
from profiler.storage.reader import StoredRun
from profiler.storage.schema import CONFIG, HARDWARE, MISSING_RANKS, RESUMED
from profiler.units import significant
from profiler.work import PARAMETERS, read_work
from profiler.work import SECTION as WORK

COLUMNS = (
    "name", "directory", "status", "started_at", "age_seconds", "steps", "joules", "joules_low", "joules_high", "kwh",
    "gco2e", "cost", "metric", "level", "measured_share", "window_seconds", "parameters", "boards", "processor",
    "incomplete", "missing_ranks", "nonfinite_end",
)  # fmt: skip
GROUPS = ("config", "metrics", "work")
"""Groups of values with names of their own: settings, last levels of metrics, and totals of the units of work."""
DAMAGED = "damaged"
_NAME_WIDTH = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run. Unknown values are None.

    Attributes:
        columns: Values by `COLUMNS`.
        groups: Values by name, by `GROUPS`.
    """

    columns: dict[str, Any]
    groups: dict[str, dict[str, Any]]

    def get(self, key: str) -> Any:
        """Return a column, or a value of a group such as ``config.KEY``; None if the run has none."""
        if key in self.columns:
            return self.columns[key]
        group, _, name = key.partition(".")
        return self.groups.get(group, {}).get(name)


def group_columns(rows: Sequence[RunRow]) -> list[str]:
    """Return the names of the values of all groups that at least one run has."""
    return [
        f"{group}.{name}"
        for group in GROUPS
        for name in sorted({name for row in rows for name in row.groups.get(group, ())})
    ]


def row_of(run: StoredRun, prices: Prices) -> RunRow:
    """Describe a run from its metadata; of a run without totals, the last rows of its tables are read.

    Raises:
        RunDamagedError: A file contradicts its schema.
    """
    summary = quick_summary_of(run)
    total, estimated = summary.total_joules, summary.modelled_joules
    energy = energy_of(total, summary.edge_joules, summary.metered)
    cost = cost_of(energy, prices)
    levels = last_levels(run)
    metrics, broken = levels.known, levels.nonfinite_ends
    chosen = headline([name for name in {**metrics, **broken} if name != "loss"])
    started = str(run.meta.get("started_at", ""))
    hardware: Mapping[str, Any] = run.meta.get(HARDWARE) or {}
    work = read_work(run.meta, summary.steps, is_continued=RESUMED in run.meta)
    ranks = run.meta.get(MISSING_RANKS, 0)
    return RunRow(
        columns={
            "name": str(run.meta.get("name", "")),
            "directory": str(run.path),
            "status": run.status.value,
            "started_at": started,
            "age_seconds": _age(run.path, started),
            "steps": summary.steps,
            "joules": energy and energy.median,
            "joules_low": energy and energy.low,
            "joules_high": energy and energy.high,
            "kwh": cost.kwh and cost.kwh.median,
            "gco2e": cost.gco2e and cost.gco2e.median,
            "cost": cost.money and cost.money.median,
            "metric": chosen.name,
            "level": metrics.get(chosen.name),
            "measured_share": max(1.0 - estimated / total, 0.0) if total and estimated is not None else None,
            "window_seconds": summary.window_seconds,
            "parameters": (run.meta.get(WORK) or {}).get(PARAMETERS),
            "boards": _boards(hardware.get("boards") or {}),
            "processor": hardware.get("processor"),
            "incomplete": bool(summary.missing or ranks),
            "missing_ranks": ranks,
            "nonfinite_end": broken.get(chosen.name),
        },
        groups={
            "config": dict(run.meta.get(CONFIG) or {}),
            "metrics": metrics,
            "work": {one.unit: one.total for one in work if one.total is not None},
        },
    )


def _boards(by_domain: Mapping[str, str]) -> str | None:
    """Return the models of the boards with their numbers; None if unknown."""
    counts = Counter(by_domain.values())
    return ", ".join(f"{count} x {model}" for model, count in sorted(counts.items())) or None


def damaged_row(path: Path, error: Exception) -> RunRow:
    """Describe a run that cannot be read by its directory, its status and the error."""
    columns = dict.fromkeys(COLUMNS) | {"directory": str(path), "status": DAMAGED, "error": str(error)}
    return RunRow(columns=columns | {"age_seconds": _age(path, "")}, groups={})


def _age(path: Path, started_at: str) -> float | None:
    """Return the seconds since a run's start; without a start, since the last change of its directory."""
    try:
        started = datetime.fromisoformat(started_at).timestamp()
    except (ValueError, OverflowError):
        try:
            started = path.stat().st_mtime
        except OSError:
            return None
    return max(time.time() - started, 0.0)


def cells_of(row: RunRow) -> tuple[str, ...]:
    """Format the columns that people see: name to measured share, and the directory."""
    columns = row.columns
    joules, share = columns["joules"], columns["measured_share"]
    digits = _digits(columns)
    return (
        _shortened(columns["name"] or ""),
        columns["status"],
        "" if columns["age_seconds"] is None else text.age(columns["age_seconds"]),
        "" if columns["steps"] is None else f"{columns['steps']:,}",
        "" if joules is None else f"{text.joules(joules, digits)}{_spread(columns)}",
        "" if columns["kwh"] is None else text.kwh(columns["kwh"], digits),
        _level(columns),
        "" if share is None else _measured(share, columns),
        _one_line(display_path(columns["directory"])),
    )


def _level(columns: dict[str, Any]) -> str:
    """Return the last finite level, with a mark where later values are not finite."""
    level, is_broken = columns["level"], bool(columns["nonfinite_end"])
    if level is None:
        return f"{_shortened(columns['metric'])} not finite" if is_broken else ""
    known = _shortened(f"{columns['metric']} {significant(level, 4)}")
    return f"{known}, then not finite" if is_broken else known


def _measured(share: float, columns: dict[str, Any]) -> str:
    mark = f", {text.incompleteness(columns['missing_ranks'])}" if columns["incomplete"] else ""
    return f"{text.percent(share)}{mark}"


def _digits(columns: dict[str, Any]) -> int:
    low, median, high = (columns[name] for name in ("joules_low", "joules", "joules_high"))
    return 3 if median is None else text.digits_of(Interval(low=low, median=median, high=high))


def _spread(columns: dict[str, Any]) -> str:
    half = (columns["joules_high"] - columns["joules_low"]) / 2
    return f" ±{significant(100 * half / columns['joules'], 2)} %" if columns["joules"] else ""


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


def _shortened(text: str) -> str:
    line = _one_line(text)
    return line if len(line) <= _NAME_WIDTH else f"{line[: _NAME_WIDTH - 3]}..."
