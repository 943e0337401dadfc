"""Loss against joules: the fit, the forecast and the verdict. Pure functions of data.

What a training process needs (`CurveBins`) is pure standard library; numpy is imported with the first fit.
"""

from typing import TYPE_CHECKING

from profiler.forecast.bins import CurveBins, Dropped

if TYPE_CHECKING:
    from profiler.forecast.fit import CurveFit, fit_bins, fit_curve
    from profiler.forecast.priors import Priors

__all__ = ["CurveBins", "CurveFit", "Dropped", "Priors", "fit_bins", "fit_curve"]


def __getattr__(name: str) -> object:
    if name == "Priors":
        from profiler.forecast import priors

        return priors.Priors
    if name in __all__:
        from profiler.forecast import fit

        return getattr(fit, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
