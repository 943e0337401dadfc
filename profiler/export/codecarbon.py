"""Rows of codecarbon's ``emissions.csv``, one per run.

Like codecarbon's, energies (kWh) and powers (W) include the PUE. Unknown columns are empty, emissions without a carbon
intensity included.
"""

import csv
import io
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from profiler.emissions import Prices, read_prices
from profiler.export.steps_csv import escape_formula
from profiler.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiler.records import Summary
    from profiler.run import Run

COLUMNS = (
    "timestamp", "project_name", "run_id", "experiment_id", "duration", "emissions", "emissions_rate", "cpu_power",
    "gpu_power", "ram_power", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "water_consumed",
    "country_name", "country_iso_code", "region", "cloud_provider", "cloud_region", "os", "python_version",
    "codecarbon_version", "cpu_count", "cpu_model", "gpu_count", "gpu_model", "longitude", "latitude",
    "ram_total_size", "tracking_mode", "cpu_utilization_percent", "gpu_utilization_percent",
    "ram_utilization_percent", "ram_used_gb", "on_cloud", "pue", "wue",
)  # fmt: skip
"""Columns of codecarbon 3."""
_GRAMS_PER_KG, _WATTS_PER_KW = 1000.0, 1000.0

Cell = float | int | str | None


def export(runs: "Sequence[Run]") -> bytes:
    """Return the header and one row per run."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for run in runs:
        writer.writerow({name: "" if cell is None else cell for name, cell in row(run).items()})
    return out.getvalue().encode()


def row(run: "Run") -> dict[str, Cell]:
    """Return the columns with a known value."""
    summary, prices = run.summary(), read_prices(run.meta)
    versions = run.meta.get("versions") or {}
    return {
        "timestamp": _end(summary),
        "project_name": escape_formula(summary.name),
        "run_id": escape_formula(run.path.resolve().name),
        "duration": summary.window_seconds,
        **_emissions(summary, prices),
        **_energies(summary, prices),
        "os": escape_formula(str(versions.get("system", ""))),
        "python_version": str(versions.get("python", "")),
        "gpu_count": sum(
            one.domain.billed and one.domain.kind.measures_accelerators_only for one in summary.metered
        ),
        "tracking_mode": "machine",
        "pue": prices.pue,
    }


def _end(summary: "Summary") -> str:
    try:
        began = datetime.fromisoformat(summary.started_at)
    except ValueError:
        return ""
    return (began + timedelta(seconds=summary.window_seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def _emissions(summary: "Summary", prices: Prices) -> dict[str, Cell]:
    total, seconds = summary.total_joules, summary.window_seconds
    grams = None if total is None else prices.gco2e(total)
    if total is None or grams is None:
        return {}
    kilograms = grams / _GRAMS_PER_KG
    return {"emissions": kilograms, "emissions_rate": kilograms / seconds if seconds else None}


def _energies(summary: "Summary", prices: Prices) -> dict[str, Cell]:
    total, found = summary.total_joules, dict[str, Cell]()
    if total is None:
        return found
    joules = _joules(summary)
    hours = summary.window_seconds / SECONDS_PER_HOUR
    for kind, amount in joules.items():
        kwh = prices.kwh(amount)
        found |= {f"{kind}_energy": kwh, f"{kind}_power": kwh * _WATTS_PER_KW / hours if hours else None}
    return found | {"energy_consumed": prices.kwh(total)}


def _joules(summary: "Summary") -> dict[str, float]:
    """Return joules per kind. GPU energy is 0 only if no GPU in use lacks a sensor."""
    joules = {} if summary.missing else {"gpu": 0.0}
    for one in summary.metered:
        if one.domain.billed:
            is_dram = one.domain.kind.name == "dram"
            kind = "gpu" if one.domain.kind.measures_accelerators_only else "ram" if is_dram else "cpu"
            joules[kind] = joules.get(kind, 0.0) + one.joules
    return joules
