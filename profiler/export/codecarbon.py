"""The row that codecarbon writes for a run, so that whatever reads its ``emissions.csv`` reads this.

Energies are kilowatt-hours and powers watts at the building's meter, that is, times the PUE, as codecarbon's are. What
this run does not know is empty, emissions without a carbon intensity among it.
"""

import csv
import io
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from profiler.emissions import Prices, prices_of
from profiler.export.steps_csv import neutralised
from profiler.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
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
"""Those of codecarbon 3."""
_GRAMS_PER_KG, _WATTS_PER_KW = 1000.0, 1000.0
_KINDS = {"gpu": "gpu", "dram": "ram"}
"""What a domain is to codecarbon; all others are the processor's."""

Cell = float | int | str | None


def export(run: "Run") -> bytes:
    """Write the header and the row."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerow({name: "" if cell is None else cell for name, cell in row(run).items()})
    return out.getvalue().encode()


def row(run: "Run") -> dict[str, Cell]:
    """The columns of which anything is known."""
    summary, prices = run.summary(), prices_of(run.meta)
    versions = run.meta.get("versions") or {}
    return {
        "timestamp": _end(summary),
        "project_name": neutralised(summary.name),
        "run_id": neutralised(run.path.resolve().name),
        "duration": summary.window_seconds,
        **_emissions(summary, prices),
        **_energies(summary, prices),
        "os": neutralised(str(versions.get("system", ""))),
        "python_version": str(versions.get("python", "")),
        "gpu_count": sum(one.domain.billed and one.domain.name.startswith("gpu:") for one in summary.metered),
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
    """Joules by codecarbon's kinds. No GPU took nothing only where none that worked is without a meter."""
    joules = {} if summary.missing else {"gpu": 0.0}
    for one in summary.metered:
        if one.domain.billed:
            kind = _KINDS.get(one.domain.name.partition(":")[0], "cpu")
            joules[kind] = joules.get(kind, 0.0) + one.joules
    return joules
