"""Metrics of OpenTelemetry, for programs that have configured a provider: ``hw.energy`` and ``hw.power``.

The names and attributes are those of the semantic conventions for hardware. Only the API is called; the exporter, its
interval and its network are the user's.
"""

import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any

from profiler.monitoring.monitor import Monitor
from profiler.records import kind_of

_MOST_RUNS = 100
"""Runs of a process whose energy is still reported after their end."""
_UNSET = ("_ProxyMeterProvider", "NoOpMeterProvider")
_TYPES = {"dram": "memory"}

_lock = threading.Lock()
_runs: dict[str, Monitor] = {}
_providers: "weakref.WeakSet[Any]" = weakref.WeakSet()


def observe(run: str, monitor: Monitor) -> None:
    """Report a run through the user's provider; do nothing where none is configured.

    Args:
        run: Name of the run directory.
        monitor: Progress of the run.
    """
    api = sys.modules.get("opentelemetry.metrics")
    if api is None:  # so that no provider can be configured
        return
    provider = api.get_meter_provider()
    if type(provider).__name__ in _UNSET:
        return
    with _lock:
        _runs[run] = monitor
        while len(_runs) > _MOST_RUNS:
            del _runs[next(iter(_runs))]
        if provider in _providers:
            return
        _providers.add(provider)
    meter = provider.get_meter("energy-profiler")
    meter.create_observable_counter(
        "hw.energy",
        callbacks=[_energy],
        unit="J",
        description="Energy of a device since the start of the run.",
    )
    meter.create_observable_gauge(
        "hw.power",
        callbacks=[_power],
        unit="W",
        description="Present power of a device, while a run is recorded.",
    )


def _energy(_options: Any) -> Iterable[Any]:
    for run, monitor in tuple(_runs.items()):
        if monitor.latest is not None:
            yield from _observations(run, monitor.latest.domain_joules)


def _power(_options: Any) -> Iterable[Any]:
    for run, monitor in tuple(_runs.items()):
        if monitor.latest is not None and not monitor.is_closed:
            yield from _observations(run, monitor.latest.watts)


def _observations(run: str, values: Any) -> Iterable[Any]:
    from opentelemetry.metrics import Observation

    for domain, value in values.items():
        kind = kind_of(domain).name
        attributes = {"hw.id": domain, "hw.type": _TYPES.get(kind, kind), "energy_profiler.run": run}
        yield Observation(value, attributes)
