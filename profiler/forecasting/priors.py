"""Everything a forecast assumes before it has seen the curve, in one place."""

import math
from dataclasses import dataclass

HORIZON_LIMIT = 10.0
"""Up to this multiple of the measured joules a number means something; beyond it only an interval does."""
Z_90 = 1.6448536269514722
"""Standard deviations from the median of a normal to the ends of its 90 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misses:
    """How far levels stray from the law: relative standard deviations after one doubling of energy.

    Variances grow as doublings, up to the horizon limit. Below and above are told apart, because a learning rate that
    falls unseen lowers the loss and nothing raises it as much.

    Attributes:
        below: Downwards, in units of what the next doubling of energy takes off the level.
        sudden: How suddenly that comes. Its variance is ``w (1 + sudden) / (1 + sudden w)`` of that after a doubling,
            w being doublings: an annealing that nobody told of may begin at once, and is over when it is over.
        above: Upwards, in the same units.
        least_below: Downwards, in levels.
        least_above: Upwards, in levels.
        lean: How far the median level lies under the law, in the units of ``below``: what an annealing that nobody
            told of removes, on average.
        lean_gain: Gain of a doubling at which the lean saturates: a loss that still falls faster than this does so
            on its own account.
    """

    below: float
    above: float
    least_below: float
    least_above: float
    sudden: float = 0.0
    lean: float = 0.0
    lean_gain: float = 0.015


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """The assumptions of a fit. Each may be overridden.

    Attributes:
        slope: Median exponent at the last point: the excess over the floor falls as joules^-slope there.
        slope_spread: Standard deviation of its logarithm, for a power law.
        bent_slope_spread: The same for the exponential families, whose excess may fall much faster.
        bent: Probability of the exponential families together.
        share_logit: Mean of the logit of the share of the present level that more energy can remove.
        share_spread: Standard deviation of that logit.
        bare_floor: Probability that the floor is exactly the lower bound (zero unless one is given).
        late_start: Probability that the law holds only from some point on: a phase change, a restart, another rate.
        outside: Scale of the log levels before that point, about which the law then says nothing.
        outside_noise: The same in units of the bins' noise; the larger of both holds.
        noise: Scale of the relative noise of a bin at the last point.
        noise_dof: How many observations that scale is worth.
        recency: Weight of a bin is (joules / last joules) to this power: what is near says most.
        anneal_gain: Median log level that lowering the learning rate to zero removes.
        anneal_spread: Standard deviation of its logarithm.
        rate_unknown: How far levels stray from the law when the learning rate is not known.
        rate_known: The same when it is.
    """

    slope: float = 0.45
    slope_spread: float = 0.9
    bent_slope_spread: float = 1.5
    bent: float = 0.04
    share_logit: float = -0.8
    share_spread: float = 2.0
    bare_floor: float = 0.02
    late_start: float = 0.05
    outside: float = 0.03
    outside_noise: float = 10.0
    noise: float = 0.003
    noise_dof: float = 2.0
    recency: float = 2.0
    anneal_gain: float = 0.05
    anneal_spread: float = 0.5
    rate_unknown: Misses = Misses(
        below=0.55, above=0.1, least_below=0.002, least_above=0.001, sudden=10.0, lean=0.1
    )
    rate_known: Misses = Misses(below=0.15, above=0.15, least_below=0.0015, least_above=0.0015)


def sentences(priors: Priors) -> tuple[str, ...]:
    """Say in words what was assumed before the curve was seen, one assumption each."""
    slope = _between(priors.slope, priors.slope_spread)
    gain = _between(priors.anneal_gain, priors.anneal_spread)
    least, most = (_share(priors.share_logit + z * priors.share_spread) for z in (-Z_90, Z_90))
    return (
        f"The excess over the floor falls as joules^-b, with b between {slope} at the last point.",
        f"Energy can remove {_percent(least)} to {_percent(most)} of the present level (90 %).",
        f"It can remove all of it with {_percent(priors.bare_floor)} probability.",
        f"The law is a power law with {_percent(1.0 - priors.bent)} probability, else a stretched exponential.",
        f"It holds only from some point on with {_percent(priors.late_start)} probability.",
        f"Bins at the last point are noisy by about {100.0 * priors.noise:.1f} %.",
        f"A point weighs as its joules over the present ones to the power {priors.recency:g}.",
        f"Lowering a known learning rate to zero removes between {gain} of the loss.",
        f"Learning rate unknown: levels leave the law by {_stray(priors.rate_unknown)}.",
        f"Learning rate known: levels leave the law by {_stray(priors.rate_known)}.",
    )


def _between(median: float, spread: float) -> str:
    """The interval that holds 90 % of a log-normal."""
    low, high = (median * math.exp(z * spread) for z in (-Z_90, Z_90))
    return f"{low:.2g} and {high:.2g} (90 %)"


def _stray(misses: Misses) -> str:
    return (
        f"{_percent(misses.below)} downwards and {_percent(misses.above)} upwards of the next doubling's gain"
    )


def _percent(share: float) -> str:
    return f"{100.0 * share:.0f} %"


def _share(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))
