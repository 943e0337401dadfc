"""The laws that a curve may follow, written at the last observed point.

``ln y = mu + ln(1 - s + s exp(-b t)) - G a``, ``t = (v^c - 1) / c``, v = energy / energy at the last point: mu is the
log level now, s the share of the level that lies above the floor, b the exponent at the last point. The bend c
tells families apart: c = 0 is the power law v^-b, c = 1 an exponential, in between a stretched one (t is the
transform of Box and Cox, JRSS B 26, 1964). G is the share of the loss that lowering the learning rate to zero
removes, and a how much of that has happened.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


FAMILIES = {0.0: "power law", 0.5: "stretched exponential", 1.0: "exponential"}
"""Names of the bends."""
_AVERAGED = ("bend", "slope", "share", "gain", "start", "location")
STEEPEST = 700.0
"""Logarithm of the largest ratio of levels that a float holds."""


def stretch(log_v: FloatArray, bend: FloatArray | float) -> FloatArray:
    """Return t at each log v; ``bend`` broadcasts against it."""
    c = np.asarray(bend, dtype=float)
    safe = np.where(c == 0.0, 1.0, c)
    with np.errstate(over="ignore"):
        return np.where(c == 0.0, log_v, np.expm1(safe * log_v) / safe)


def log_shape(t: FloatArray, slope: FloatArray, share: FloatArray) -> FloatArray:
    """Log of the level over the level now, without annealing; -inf where a floor of zero is reached."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(np.log1p(share * np.expm1(np.minimum(-slope * t, STEEPEST))))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Laws:
    """A posterior: laws with their probabilities, one entry each.

    Attributes:
        bend: c, the family.
        slope: b, exponent at the last point.
        share: s, share of the present level above the floor; 1 means a floor of zero.
        gain: G, what lowering the learning rate to zero takes off the log level.
        start: Log v from which on the curve follows the law.
        mass: Probability.
        location: mu, mean log level at the last point.
        scale: Standard error of mu.
    """

    bend: FloatArray
    slope: FloatArray
    share: FloatArray
    gain: FloatArray
    start: FloatArray
    mass: FloatArray
    location: FloatArray
    scale: FloatArray

    def log_levels(self, log_v: FloatArray, progress: FloatArray) -> FloatArray:
        """Log level of each law (rows) at each log v and anneal progress since the last point (columns)."""
        t = stretch(log_v, self.bend[:, None])
        shape = log_shape(t, self.slope[:, None], self.share[:, None])
        return np.asarray(self.location[:, None] + shape - self.gain[:, None] * progress)

    def gain_per_doubling(self) -> FloatArray:
        """What the next doubling of energy takes off the log level, at the present slope."""
        return np.asarray(self.slope * self.share * np.log(2.0))

    def merged(self, *, gains: bool) -> "Laws":
        """Take together laws that lead to the same future but for their level now, whose moments are kept.

        They differ in where on the curve they begin to hold. That makes a posterior several times smaller and moves
        no quantile by more than a part in a thousand.

        Args:
            gains: Whether they may differ in what annealing removes as well, because none lies ahead.
        """
        same = [self.bend, self.slope, self.share] + ([] if gains else [self.gain])
        _, group = np.unique(np.stack(same), axis=1, return_inverse=True)
        group = group.ravel()
        mass = np.asarray(np.bincount(group, self.mass), dtype=float)
        columns = {name: np.bincount(group, self.mass * getattr(self, name)) / mass for name in _AVERAGED}
        spread = np.square(self.scale) + np.square(self.location - columns["location"][group])
        scale = np.sqrt(np.bincount(group, self.mass * spread) / mass)
        return Laws(**columns, mass=mass, scale=scale)

    def families(self) -> dict[str, float]:
        """Probability of each family."""
        return {name: float(self.mass[self.bend == bend].sum()) for bend, name in FAMILIES.items()}
