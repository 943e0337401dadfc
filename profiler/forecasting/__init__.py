"""Fits of loss against joules: forecast, interval and verdict. Pure functions of arrays.

The accumulators that run beside a training (`CurveBins`) are pure standard library; numpy is imported with the first
fit.
"""

from typing import TYPE_CHECKING

from profiler.forecasting.binning import CurveBins, Dropped

if TYPE_CHECKING:
    from profiler.forecasting.allocation import should_stop
    from profiler.forecasting.fit import fit_bins, fit_curve
    from profiler.forecasting.frontier import Frontier, fit_frontier
    from profiler.forecasting.priors import Priors
    from profiler.forecasting.result import CurveFit

__all__ = [
    "CurveBins",
    "CurveFit",
    "Dropped",
    "Frontier",
    "Priors",
    "fit_bins",
    "fit_curve",
    "fit_frontier",
    "should_stop",
]

_MODULES = {
    "CurveFit": "result",
    "Frontier": "frontier",
    "Priors": "priors",
    "fit_bins": "fit",
    "fit_curve": "fit",
    "fit_frontier": "frontier",
    "should_stop": "allocation",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"profiler.forecasting.{_MODULES[name]}"), name)
