"""Run directories without a training run: written by the real writer from a curve in closed form."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from profiler.errors import RunError
from profiler.storage.schema import (
    METRICS,
    SAMPLES,
    SCHEMA_VERSION,
    SPANS,
    STEPS,
    MetricRow,
    SampleRow,
    SpanRow,
    StepRow,
)
from profiler.storage.writer import RunWriter

_SECOND = 1_000_000_000
_WATTS = {"gpu:0": 300, "cpu:package-0": 80, "dram:package-0": 20}
_STEP_NS = _SECOND // 4
_SETUP_NS = 2 * _SECOND


def law(step: int) -> float:
    """The loss of a step by default: a power law with the floor 1.5."""
    return 1.5 + 3.0 * math.pow(step, -0.4)


def write_run(
    path: Path,
    *,
    steps: int = 400,
    loss: Callable[[int], float | None] = law,
    learning_rate: Callable[[int], float] = lambda _: 0.001,
    meta: Mapping[str, Any] | None = None,
    metrics: Iterable[tuple[int, str, float]] = (),
) -> Path:
    """Write a completed run of equal steps at constant power: 300 W GPU, 80 W CPU, 20 W memory.

    Two seconds of set-up, then ``steps`` steps of a quarter of a second, 100 J each.

    Args:
        path: The run directory to make.
        steps: Training steps.
        loss: The loss of a step, from 1 on; None where it was not seen.
        learning_rate: The learning rate of a step.
        meta: Entries of ``run.json`` to add or replace.
        metrics: Logged values: step, name and value.

    Raises:
        RunError: The directory cannot be written.
    """
    writer = RunWriter(path, _refuse(path))
    writer.open(_meta(steps, meta or {}))
    end_ns = _SETUP_NS + steps * _STEP_NS
    for time_ns in range(0, end_ns + 1, _STEP_NS):
        for domain in _WATTS:
            writer.append(SAMPLES, _sample(domain, time_ns))
    writer.append(SPANS, _setup())
    for step in range(1, steps + 1):
        writer.append(STEPS, _step(step, loss(step), learning_rate(step)))
    for step, name, value in metrics:
        writer.append(METRICS, _metric(step, name, value))
    writer.flush()
    writer.close()
    return path


def _refuse(path: Path) -> Callable[[str], None]:
    def refuse(reason: str) -> None:
        raise RunError(path, reason)

    return refuse


def _microjoules(watts: int, duration_ns: int) -> int:
    return watts * duration_ns // 1000


def _sample(domain: str, time_ns: int) -> SampleRow:
    watts = _WATTS[domain]
    return SampleRow(
        time_seconds=time_ns,
        domain=domain,
        power_watts=float(watts) if time_ns else None,
        energy_joules=_microjoules(watts, time_ns),
        provenance="counter",
    )


def _setup() -> SpanRow:
    total = _microjoules(sum(_WATTS.values()), _SETUP_NS)
    return SpanRow(
        start_seconds=0,
        end_seconds=_SETUP_NS,
        kind="setup",
        total_joules=total,
        modelled_joules=0,
        cumulative_joules=total,
        uncertainty_joules=0.5,
    )


def _step(step: int, loss: float | None, learning_rate: float) -> StepRow:
    end_ns = _SETUP_NS + step * _STEP_NS
    gpu, cpu, dram = (_microjoules(watts, _STEP_NS) for watts in _WATTS.values())
    strange = loss is not None and not math.isfinite(loss)
    return StepRow(
        step=step,
        step_count=1,
        start_seconds=end_ns - _STEP_NS,
        end_seconds=end_ns,
        loss=loss,
        nonfinite_count=int(strange),
        backwards=1,
        learning_rate=learning_rate,
        gpu_joules=gpu,
        cpu_joules=cpu,
        dram_joules=dram,
        other_joules=None,
        total_joules=gpu + cpu + dram,
        modelled_joules=0,
        cumulative_joules=_microjoules(sum(_WATTS.values()), end_ns),
        uncertainty_joules=0.5,
        data_seconds=None,
        forward_seconds=None,
        backward_seconds=_STEP_NS // 2,
        optimizer_seconds=_STEP_NS // 10,
        phase="",
    )


def _metric(step: int, name: str, value: float) -> MetricRow:
    time_ns = _SETUP_NS + step * _STEP_NS
    joules = _microjoules(sum(_WATTS.values()), time_ns)
    return MetricRow(time_seconds=time_ns, step=step, cumulative_joules=joules, name=name, value=value)


def _meta(steps: int, extra: Mapping[str, Any]) -> dict[str, Any]:
    total = sum(_WATTS.values())
    domains: list[dict[str, Any]] = [
        {"name": name, "source": f"scripted {name.partition(':')[0]} meter", "provenance": "counter", "billed": True,
         "parent": None, "update_period_seconds": 0.25, "gain_uncertainty": 0.05 if name == "gpu:0" else 0.02,
         "device": None, "notes": [], "bridged_seconds": 0.0, "bridged_joules": 0.0, "resets": 0}
        for name in _WATTS
    ]  # fmt: skip
    return {
        "schema_version": SCHEMA_VERSION,
        "name": "scripted",
        "started_at": "2026-01-02T03:04:05.000+00:00",
        "started_unix_seconds": 1767323045.0,
        "status": "completed",
        "rank": 0,
        "world_size": 1,
        "attempt": 0,
        "versions": {},
        "refusals": [],
        "domains": domains,
        "missing": [],
        "warnings": [],
        "overhead": {"sampler_cpu_seconds": 0.1},
        "totals": {
            "window_seconds": 2.0 + steps / 4,
            "steps": steps,
            "step_joules": total * steps / 4,
            "span_joules": total * 2.0,
            "modelled_joules": 0.0,
            "edge_joules": 0.7,
        },
        **extra,
    }
