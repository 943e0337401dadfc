"""Exponentials and stretched exponentials: geometric convergence to the floor."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from profiler.forecasting.curve import FloatArray
    from profiler.forecasting.priors import Priors

BENT_FAMILIES = 2
"""Rows of this class in the table, which share one prior probability."""


@dataclass(frozen=True, slots=True)
class StretchedExponential:
    """The decay ``exp(-slope (v^bend - 1) / bend)``.

    The exponent is the transform of Box and Cox (JRSS B 26, 1964); a bend of 0 would be the power law.

    Attributes:
        name: Name in reports.
        bend: 1 for an exponential, between 0 and 1 for a stretched one.
    """

    name: str
    bend: float

    def probability(self, priors: "Priors") -> float:
        """See :class:`~profiler.forecasting.models.CurveModel`."""
        return priors.bent / BENT_FAMILIES

    def slope_spread(self, priors: "Priors") -> float:
        """See :class:`~profiler.forecasting.models.CurveModel`."""
        return priors.bent_slope_spread

    def log_decay(self, log_v: "FloatArray", slope: "FloatArray") -> "FloatArray":
        """See :class:`~profiler.forecasting.models.CurveModel`."""
        with np.errstate(over="ignore"):
            return np.asarray(-slope * (np.expm1(self.bend * log_v) / self.bend))
