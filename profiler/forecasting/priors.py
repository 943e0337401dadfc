"""Assumptions of a forecast before the curve is seen, all in one place."""

import math
from dataclasses import dataclass, replace

HORIZON_LIMIT = 10.0
"""Largest multiple of the measured joules at which a point value is given; beyond it only the interval is."""
Z_90 = 1.6448536269514722
"""Standard deviations from the median of a normal to the ends of its 90 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelError:
    """Departures of the level from the fitted curve: relative standard deviations after one doubling of energy.

    Variances grow in proportion to doublings, up to the horizon limit. Downward and upward departures differ, because
    an unrecorded fall of the learning rate lowers the loss and nothing raises it as much.

    Attributes:
        below: Downwards, in units of the log level that the next doubling of energy removes.
        sudden: Concentration of the downward variance at small distances: it is
            ``w (1 + sudden) / (1 + sudden w)`` times that after one doubling, w being doublings. An unrecorded
            annealing may begin at once, and ends when the rate is zero.
        curvature: Downwards, in the same units, in proportion to the square of doublings: the exponent may rise.
        above: Upwards, in the same units.
        least_below: Downwards, in log levels.
        least_above: Upwards, in log levels.
        lean: Distance of the median level below the curve, in the units of ``below``, in proportion to doublings:
            the mean effect of an unrecorded annealing, or of a gain of annealing that is not measured yet.
        lean_gain: Gain of a doubling at which the lean saturates: a faster fall needs no annealing to explain it.
        breaks: Upwards and downwards, in the same units, in proportion to doublings: a steep curve may flatten, as
            after a phase change, or steepen, which moves the level along its whole future.
        breaks_gain: Gain of a doubling at which half of ``breaks`` applies; a gentle slope has little to lose.
        anneal: Upwards and downwards, as a part of what annealing removes after the last point.
    """

    below: float
    above: float
    least_below: float
    least_above: float
    sudden: float = 0.0
    curvature: float = 0.04
    lean: float = 0.0
    lean_gain: float = 0.015
    breaks: float = 0.45
    breaks_gain: float = 0.3
    anneal: float = 0.0


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
        late_start: Probability that the curve follows its trend only from a later point on: after a phase change, a
            restart, or a change of the learning rate.
        outside: Standard deviation of the log levels before that point.
        outside_noise: The same in units of the noise of a bin; the larger of the two applies.
        noise: Scale of the relative noise of a bin at the last point.
        noise_dof: Number of observations that this scale is worth.
        recency: The weight of a bin is (joules / last joules) to this power.
        anneal_gain: Median log level that annealing the learning rate to zero removes.
        anneal_spread: Standard deviation of its logarithm.
        anneal_steep: Gain of a doubling, in log levels, about which that median changes to that of a steep curve.
        anneal_most: Median log level that annealing removes from a steep curve.
        anneal_more_spread: Standard deviation that is added to that of the logarithm for a steep curve.
        anneal_none: Probability that annealing removes nothing from a curve that stands still, as in many fine-tunings.
        anneal_none_slope: Gain of a doubling at which half of that probability applies.
        rate_unknown: Departures from the curve when the learning rate is not known.
        rate_known: The same when it is.
    """

    # Chosen with each development set left out in turn; docs/forecast-accuracy.md, "Tuning", has what each choice
    # gained and what was rejected.
    slope: float = 0.45
    slope_spread: float = 0.9
    bent_slope_spread: float = 1.5
    # None of the development curves converges geometrically, so these families need little probability.
    bent: float = 0.04
    share_logit: float = -0.8
    share_spread: float = 2.0
    bare_floor: float = 0.02
    # 10 % would gain a little on training curves and lose on downstream tasks.
    late_start: float = 0.05
    outside: float = 0.03
    outside_noise: float = 10.0
    noise: float = 0.003
    noise_dof: float = 2.0
    recency: float = 2.0
    anneal_gain: float = 0.05
    anneal_spread: float = 0.35
    # Language models gain 3 to 9 %, image and speech models, whose loss falls faster, 10 to 65 %.
    anneal_steep: float = 0.15
    anneal_most: float = 0.6
    anneal_more_spread: float = 0.6
    # Many fine-tunings stand still and gain nothing from an anneal; on curves that improve, the same allowance would
    # cost 5 to 11 % of the interval score.
    anneal_none: float = 0.7
    anneal_none_slope: float = 0.005
    rate_unknown: ModelError = ModelError(
        below=0.55, above=0.1, least_below=0.002, least_above=0.001, sudden=30.0, lean=0.12
    )
    rate_known: ModelError = ModelError(
        below=0.15, above=0.15, least_below=0.0015, least_above=0.0015, lean=0.2
    )


_PLAIN = Priors()
# Chosen with each kind of training left out in turn; docs/forecast-accuracy.md, "Tuning".
IMAGES = replace(
    _PLAIN,
    anneal_gain=0.3,
    anneal_spread=0.7,
    anneal_more_spread=0.25,
    rate_known=replace(_PLAIN.rate_known, anneal=0.3),
)
"""Assumptions for models with trained convolutions over images or spectrograms.

An anneal removes much more of their loss than of that of a language model, most of which is the entropy of the text.
The curve does not show it before.
"""


def sentences(priors: Priors) -> tuple[str, ...]:
    """Describe the assumptions, one sentence each."""
    slope = _between(priors.slope, priors.slope_spread)
    gain = _removed(priors.anneal_gain, priors.anneal_spread)
    more = _removed(priors.anneal_most, priors.anneal_spread + priors.anneal_more_spread)
    steep = _percent(-math.expm1(-priors.anneal_steep)) if math.isfinite(priors.anneal_steep) else ""
    steeply = f", or {more} where a doubling of the energy removes much more than {steep}" if steep else ""
    lost = _percent(Z_90 * priors.rate_known.breaks)
    bend = _percent(priors.rate_known.curvature)
    lean = f"{_lean(priors.rate_unknown)} per doubling, {_lean(priors.rate_known)} if the rate is known"
    least, most = (_share(priors.share_logit + z * priors.share_spread) for z in (-Z_90, Z_90))
    anneal = priors.rate_known.anneal
    guess = (
        (f"The ends of intervals allow that removal to differ by {_percent(Z_90 * anneal)}.",)
        if anneal
        else ()
    )
    return (
        f"The excess over the floor falls as joules^-b, with b between {slope} at the last point.",
        f"More energy can remove {_percent(least)} to {_percent(most)} of the present level (90 %).",
        f"It can remove all of it with {_percent(priors.bare_floor)} probability.",
        f"The curve is a power law with {_percent(1.0 - priors.bent)} probability, else a stretched exponential.",
        f"It starts only at a later point of the run with {_percent(priors.late_start)} probability.",
        f"The averaged levels near the last point have a noise of about {100.0 * priors.noise:.1f} %.",
        f"Each point is weighted by (its energy / energy now) to the power {priors.recency:g}.",
        f"Annealing a known learning rate to zero removes {gain} of the loss (90 %){steeply}.",
        f"It removes nothing from a curve that stands still with {_percent(priors.anneal_none)} probability.",
        *guess,
        f"With an unknown learning rate, {_departure(priors.rate_unknown)}.",
        f"With a known learning rate, {_departure(priors.rate_known)}.",
        f"The lower ends of intervals also allow {bend} of that gain times the square of the doublings.",
        f"The ends of intervals allow a steep curve to lose {lost} of its slope, or to gain as much.",
        f"The median lies below the curve by up to {lean}.",
    )


def _between(median: float, spread: float) -> str:
    """The interval that holds 90 % of a log-normal."""
    low, high = (median * math.exp(z * spread) for z in (-Z_90, Z_90))
    return f"{low:.2g} and {high:.2g} (90 %)"


def _removed(median: float, spread: float) -> str:
    """The share of the level that 90 % of a log-normal number of log levels removes."""
    low, high = (-math.expm1(-median * math.exp(z * spread)) for z in (-Z_90, Z_90))
    return f"{_percent(low)} to {_percent(high)}"


def _departure(error: ModelError) -> str:
    return (
        f"the level may lie below the curve by {_percent(error.below)} of the gain expected from doubling the energy, "
        f"or above it by {_percent(error.above)}"
    )


def _lean(error: ModelError) -> str:
    return f"{100.0 * error.lean * error.lean_gain:.2g} %"


def _percent(share: float) -> str:
    return f"{100.0 * share:.0f} %"


def _share(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))
