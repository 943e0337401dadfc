"""Loss against joules: the fit, the forecast and the verdict. Pure functions of data.

What a training process needs (`CurveBins`) is pure standard library; numpy is imported with the first fit.
"""

from typing import TYPE_CHECKING

from profiler.forecast.bins import CurveBins, Dropped

if TYPE_CHECKING:
    from profiler.forecast.fit import CurveFit
    from profiler.forecast.fitting import fit_bins, fit_curve
    from profiler.forecast.priors import Priors

__all__ = ["CurveBins", "CurveFit", "Dropped", "Priors", "fit_bins", "fit_curve"]

_HOMES = {"CurveFit": "fit", "Priors": "priors", "fit_bins": "fitting", "fit_curve": "fitting"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"profiler.forecast.{_HOMES[name]}"), name)
