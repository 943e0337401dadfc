"""The power law: the excess over the floor falls as a power of energy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from profiler.forecasting.curve import FloatArray
    from profiler.forecasting.priors import Priors


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """The decay ``v^-slope``."""

    name: str = "power law"

    def probability(self, priors: "Priors") -> float:
        """See :class:`~profiler.forecasting.models.CurveModel`."""
        return 1.0 - priors.bent

    def slope_spread(self, priors: "Priors") -> float:
        """See :class:`~profiler.forecasting.models.CurveModel`."""
        return priors.slope_spread

    def log_decay(self, log_v: "FloatArray", slope: "FloatArray") -> "FloatArray":
        """See :class:`~profiler.forecasting.models.CurveModel`."""
        return np.asarray(-slope * log_v)
