"""Loss against joules: the fit, the forecast and the verdict. Pure functions of data.

What a training process needs (`CurveBins`) is pure standard library; numpy is imported with the first fit.
"""

from typing import TYPE_CHECKING

from profiler.forecast.bins import CurveBins, Dropped

if TYPE_CHECKING:
    from profiler.forecast.fit import CurveFit
    from profiler.forecast.fitting import fit_bins, fit_curve
    from profiler.forecast.frontier import Frontier, fit_frontier
    from profiler.forecast.price import price_of_halving, price_of_percent, spent_since
    from profiler.forecast.priors import Priors

__all__ = [
    "CurveBins",
    "CurveFit",
    "Dropped",
    "Frontier",
    "Priors",
    "fit_bins",
    "fit_curve",
    "fit_frontier",
    "price_of_halving",
    "price_of_percent",
    "spent_since",
]

_HOMES = {
    "CurveFit": "fit",
    "Frontier": "frontier",
    "Priors": "priors",
    "fit_bins": "fitting",
    "fit_curve": "fitting",
    "fit_frontier": "frontier",
    "price_of_halving": "price",
    "price_of_percent": "price",
    "spent_since": "price",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"profiler.forecast.{_HOMES[name]}"), name)
