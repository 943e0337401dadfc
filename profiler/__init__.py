"""Energy profiler for PyTorch training: joules per step, and the cost of a lower loss.

::

    from profiler import EnergyProfiler

    with EnergyProfiler():
        train()
"""

import sys
from typing import TYPE_CHECKING

from profiler._version import __version__

if TYPE_CHECKING:
    from profiler.energy_profiler import EnergyProfiler
    from profiler.errors import ProfilerError
    from profiler.forecasting import CurveFit, fit_curve
    from profiler.records import Forecast, Interval
    from profiler.run import Run, load_run

_HOMES = {
    "CurveFit": "profiler.forecasting",
    "EnergyProfiler": "profiler.energy_profiler",
    "Forecast": "profiler.records",
    "Interval": "profiler.records",
    "ProfilerError": "profiler.errors",
    "Run": "profiler.run",
    "fit_curve": "profiler.forecasting",
    "load_run": "profiler.run",
}

__all__ = [
    "CurveFit",
    "EnergyProfiler",
    "Forecast",
    "Interval",
    "ProfilerError",
    "Run",
    "__version__",
    "fit_curve",
    "load_run",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if "IPython" in sys.modules:
        import_module("profiler.run")  # registers how notebooks show a fit
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
