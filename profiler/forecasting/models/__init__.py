"""Families of curves that a fit considers: the protocol, the table, and the floor that all of them share.

A curve is written at the last observed point: ``ln y = mu + ln(1 - s + s d(v)) - G a``, with v the energy over the
energy at the last point, mu the log level there, s the share of that level that lies above the floor, d the decay of
the excess over the floor, G the share of the loss that annealing the learning rate to zero removes, and a the part of
the annealing that has taken effect. A family is a decay d.

To add a family, put a class into a new file of this package and an instance into `MODELS`;
``tests/forecasting/test_models.py`` then checks it.
"""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from profiler.forecasting.models.exponential import StretchedExponential
from profiler.forecasting.models.power_law import PowerLaw

if TYPE_CHECKING:
    from profiler.forecasting.curve import FloatArray
    from profiler.forecasting.priors import Priors

LARGEST_LOG = 700.0
"""Logarithm of the largest ratio of levels that a float holds."""


class CurveModel(Protocol):
    """One family of curves."""

    @property
    def name(self) -> str:
        """Name in reports."""

    def probability(self, priors: "Priors") -> float:
        """Return the prior probability of the family, relative to those of the others."""

    def slope_spread(self, priors: "Priors") -> float:
        """Return the prior standard deviation of the logarithm of the slope."""

    def log_decay(self, log_v: "FloatArray", slope: "FloatArray") -> "FloatArray":
        """Return the logarithm of the excess over the floor, relative to the excess at the last point.

        It is 0 at ``log_v`` = 0, where its derivative is ``-slope``, and decreases everywhere.

        Args:
            log_v: Logarithm of energy / energy at the last point.
            slope: Exponent at the last point, positive; broadcasts against ``log_v``.
        """


MODELS: tuple[CurveModel, ...] = (
    PowerLaw(),
    StretchedExponential(name="stretched exponential", bend=0.5),
    StretchedExponential(name="exponential", bend=1.0),
)
"""The families. The first gets the finest grid, and its residuals estimate the noise."""


def log_level(log_decay: "FloatArray", share: "FloatArray") -> "FloatArray":
    """Return the log level relative to the last point, without annealing; -inf where a floor of zero is reached."""
    with np.errstate(divide="ignore", over="ignore"):
        level = np.asarray(share * np.expm1(np.minimum(log_decay, LARGEST_LOG)))
        return np.asarray(np.log1p(level, out=level))
