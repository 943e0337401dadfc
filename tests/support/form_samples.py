"""Runs and samples of the forms in ``docs/samples``; run as a module, it writes the samples again."""

import json
import tempfile
from pathlib import Path

from profiler.export import export
from profiler.run import Run, load_run
from tests.support.runs import write_run

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
FORMS = {
    "model-card": "model-card.md",
    "eu-model-form": "eu-model-form.md",
    "cyclonedx": "cyclonedx.json",
    "boamps": "boamps.json",
    "spdx": "spdx.json",
}
_SOURCES = {
    "gpu:0": ("NVML total energy counter (NVIDIA H100 80GB HBM3)", "counter", 0.02),
    "cpu:package-0": ("powercap package-0", "counter", 0.05),
    "dram:package-0": ("0.375 W per GB of 128 GB", "modelled", 0.3),
}


def sample_runs(root: Path) -> list[Run]:
    """Write two runs of one model, which was trained in two parts, and open them."""
    domains = [
        {"name": name, "source": source, "provenance": provenance, "billed": True, "gain_uncertainty": gain}
        for name, (source, provenance, gain) in _SOURCES.items()
    ]
    meta = {
        "domains": domains,
        "versions": {"energy-profiler": "0.1.0", "python": "3.13.1", "torch": "2.9.0", "system": "Linux"},
        "prices": {
            "pue": 1.2, "grid_gco2e_per_kwh": 380.0, "country": "DEU",
            "grid_source": "Germany 2023, Our World in Data (CC BY), in codecarbon 3.3.2",
        },
        "hardware": {
            "boards": {"gpu:0": "NVIDIA H100 80GB HBM3"}, "processor": "AMD EPYC 9554 64-Core Processor",
            "memory_bytes": 128_000_000_000, "driver": "560.35.03",
        },
        "work": {"parameters": 12_400_000, "tokens": {"per_step": 65_536}},
        "config": {"training_type": "pre-training", "taskFamily": "text generation"},
    }  # fmt: skip
    starts = {"tiny-lm": "2026-01-02T03:04:05+00:00", "tiny-lm-anneal": "2026-01-02T04:00:00+00:00"}
    return [
        load_run(
            _with_estimates(
                write_run(root / name, steps=steps, meta={**meta, "name": name, "started_at": start})
            )
        )
        for (name, start), steps in zip(starts.items(), (7_192, 1_792), strict=True)
    ]


def _with_estimates(path: Path) -> Path:
    """Mark the energy of the memory as estimated in the tables: a twentieth of each row."""
    for file, total, estimated in (("steps.csv", 12, 13), ("spans.csv", 3, 4)):
        head, *lines = (path / file).read_text().splitlines()
        rows = [line.split(",") for line in lines]
        for row in rows:
            row[estimated] = f"{float(row[total]) / 20:.6f}"
        (path / file).write_text("\n".join([head, *map(",".join, rows)]) + "\n")
    meta = json.loads((path / "run.json").read_text())
    totals = meta["totals"]
    totals["modelled_joules"] = (totals["step_joules"] + totals["span_joules"]) / 20
    (path / "run.json").write_text(json.dumps(meta))
    return path


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        runs = sample_runs(Path(folder))
        SAMPLES.mkdir(exist_ok=True)
        for name, file in FORMS.items():
            (SAMPLES / file).write_bytes(export(runs, name))
