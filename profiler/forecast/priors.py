"""Everything a forecast assumes before it has seen the curve, in one place."""

from dataclasses import dataclass

HORIZON_LIMIT = 10.0
"""Up to this multiple of the measured joules a number means something; beyond it only an interval does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """The assumptions of a fit. Each may be overridden.

    Attributes:
        slope: Median exponent at the last point: the excess over the floor falls as joules^-slope there.
        slope_spread: Standard deviation of its logarithm.
        share_logit: Mean of the logit of the share of the present level that more energy can remove.
        share_spread: Standard deviation of that logit.
        bare_floor: Probability that the floor is exactly the lower bound (zero unless one is given).
        noise: Scale of the relative noise of a bin at the last point.
        noise_dof: How many observations that scale is worth.
        recency: Weight of a bin is (joules / last joules) to this power: what is near says most.
        drift_per_doubling: Relative standard deviation of the level, per doubling of joules, that no family
            explains; it stops growing at the horizon limit.
    """

    slope: float = 0.45
    slope_spread: float = 0.9
    share_logit: float = -0.8
    share_spread: float = 2.0
    bare_floor: float = 0.02
    noise: float = 0.003
    noise_dof: float = 2.0
    recency: float = 2.0
    drift_per_doubling: float = 0.01
