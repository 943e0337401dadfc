"""Loss against joules: the fit, the forecast and the verdict. Pure functions of data.

What a training process needs (`CurveBins`) is pure standard library; numpy is imported with the first fit.
"""

from typing import TYPE_CHECKING

from profiler.forecasting.binning import CurveBins, Dropped

if TYPE_CHECKING:
    from profiler.forecasting.fit import fit_bins, fit_curve
    from profiler.forecasting.frontier import Frontier, fit_frontier
    from profiler.forecasting.marginal_cost import price_of_halving, price_of_percent, spent_since
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
    "price_of_halving",
    "price_of_percent",
    "spent_since",
]

_HOMES = {
    "CurveFit": "result",
    "Frontier": "frontier",
    "Priors": "priors",
    "fit_bins": "fit",
    "fit_curve": "fit",
    "fit_frontier": "frontier",
    "price_of_halving": "marginal_cost",
    "price_of_percent": "marginal_cost",
    "spent_since": "marginal_cost",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"profiler.forecasting.{_HOMES[name]}"), name)
