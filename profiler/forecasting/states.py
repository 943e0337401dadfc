"""State of a curve, decided before any forecast.

Progress is judged on tails of the curve, by the weighted regression of the log level on log energy. Its slope times
ln 10 bounds the fall up to ten times the energy, because real curves decelerate; where no fall is significant, the
expected part of that bound is enough. The standard error discounts autocorrelated noise by n (1 - rho) / (1 + rho).
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from profiler.forecasting.binning import CurveFacts
from profiler.forecasting.curve import BY_CHANCE, MIN_POINTS, Curve, FineBins, FloatArray
from profiler.forecasting.metric import Metric
from profiler.forecasting.priors import HORIZON_LIMIT
from profiler.forecasting.schedule import Schedule
from profiler.records import CurveState
from profiler.units import format_joules

FLAT_FALL = 0.01
"""Largest fall of the log level up to the horizon limit that counts as flat."""
CONFIDENCE = 0.95
SIGNIFICANT = 0.975
"""One-sided confidence of a fall; higher than `CONFIDENCE` because several tails are examined."""
SIGNIFICANT_RISE = 0.998
"""The same of a rise, which stops a run."""
EXPECTED = 0.6
"""Part of a straight continuation in log energy that a decelerating curve falls by; with the other confidences, the
smallest that calls at most 1 % of the curves that gain 1 % per doubling flat."""
TAILS = (0.1, 0.3, 0.5, 0.7)
"""Starts of the examined tails, as shares of the energy: an earlier fall is history."""
FLAT_TAILS = (0.03, *TAILS)
"""The same for a standstill, whose significance grows with the length of the tail."""
CORRELATION_BIAS = 2.0
"""Effective points by which the correlation of neighbours is raised, because short tails underestimate it."""
CORRELATION_MARGIN = 2.0
"""Standard errors by which it is raised further: with few points, noise that drifts looks like progress."""
FEWEST_TURNS, LEAST_TURNS = 3, 0.02
"""Fewer steps of several optimizers, or a smaller share of all, do not make the loss that of a GAN."""
MOST_LONGER = 100.0
"""Largest multiple of the energy that is advised to decide between progress and a standstill."""
CONTRADICTED = 0.5
"""A fall over a long tail is not progress if a later tail excludes this part of its slope."""
FEW_POINTS = 100
"""Fewer points than this may be all that noise is due to, so that more of them are advised."""
MOST_CORRELATED = 0.95
FEWEST_BINS = 5
MANY_NEGATIVE, SOME_NEGATIVE, SIGN_CHANGES = 0.2, 0.05, 4
"""Shares of negative values; the smaller one counts only with this many changes of sign."""
TAIL_POINTS, TAIL_SHARE = 5, 0.02
"""Fewest points, or the least share of the energy, that a run of unusual values at the end must cover."""
FAR_ABOVE = math.log(2.0)
NOISE_FACTOR = 8.0
"""Standard deviations of the noise by which a diverged level exceeds the lowest one."""
RISE = 0.01
RISE_ERRORS = 3.0
TAIL_RISE = 0.02
"""Least rise over a tail, in log levels."""
LAST, BEFORE = 3, 8
"""Bins at the end, and the bins before them that they are compared with."""
LEAST_BLOW_UP = 0.1
WARM = 0.99
WARMING_SHARE = 0.5
RESTART = 1.5
"""Least ratio of a raised learning rate to the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """State of a curve.

    Attributes:
        state: The state.
        reason: One sentence for users.
        start_joules: Joules since the first step at which the state began; None where that has no meaning.
        p_still: Probability that the level does not fall by 1 % up to ten times the energy; only for flat curves.
        log_level: Mean log level of a flat tail.
        log_error: Standard error of that level.
        log_drift: Standard error of the fall up to ten times the energy.
    """

    state: CurveState
    reason: str
    start_joules: float | None = None
    p_still: float = math.nan
    log_level: float = math.nan
    log_error: float = math.nan
    log_drift: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Weighted regression of the log level on log energy over a tail.

    Attributes:
        start: Start of the tail, as a share of the energy.
        slope: Change of the log level per unit of log energy.
        error: Its standard error.
        dof: Effective degrees of freedom.
        level: Mean log level.
        level_error: Its standard error.
        bend: Second derivative of a parabola in log energy, in units of its standard error.
        end_slope: Slope of that parabola at the end of the tail.
    """

    start: float
    slope: float
    error: float
    dof: float
    level: float
    level_error: float
    bend: float
    end_slope: float

    def fall(self, confidence: float) -> float:
        """Return the upper confidence bound of the fall up to the horizon limit, in log levels."""
        return (student_quantile(confidence, self.dof) * self.error - self.slope) * math.log(HORIZON_LIMIT)

    @property
    def falls(self) -> bool:
        """True if the level falls beyond its noise."""
        return -self.slope > student_quantile(SIGNIFICANT, self.dof) * self.error

    @property
    def has_ended(self) -> bool:
        """True if the tail decelerates beyond its noise and its parabola does not fall at the end."""
        return self.end_slope >= 0.0 and self.bend > student_quantile(CONFIDENCE, self.dof)

    @property
    def expected(self) -> float:
        """Part of a straight continuation that is expected: all of it where the level falls beyond its noise."""
        return 1.0 if self.falls else EXPECTED

    @property
    def hidden(self) -> float:
        """Half width of the interval of the expected fall up to the horizon limit, in log levels."""
        width = student_quantile(CONFIDENCE, self.dof) * self.error
        return self.expected * width * math.log(HORIZON_LIMIT)


def assess(
    fine: FineBins,
    curve: Curve | None,
    *,
    metric: Metric,
    recency: float,
    schedule: Schedule | None = None,
    alternating: bool = False,
    reinforced: bool = False,
    step_at: "StepAt | None" = None,
    origin: float = 0.0,
) -> Assessment:
    """Return the state of a curve.

    Args:
        fine: All bins, without spikes.
        curve: The bins to be fitted; None where they are too few.
        metric: Unit of the curve.
        recency: The weight of a bin is (joules / last joules) to this power.
        schedule: The learning rate, if known.
        alternating: Whether several optimizers take turns, each with its own loss.
        reinforced: Whether this is the loss of reinforcement learning.
        step_at: Steps against joules, for messages.
        origin: Joules at which the first step began, for messages.
    """
    facts, where = fine.facts, Where(origin=origin, step_at=step_at)
    found = _no_measure(facts, metric, alternating=alternating, reinforced=reinforced)
    found = found or _too_short(fine, curve) or _warming(fine, schedule)
    found = found or _diverged(fine, metric, where)
    how = rise(curve, recency) or tail_rise(fine) if curve is not None else ""
    if found is None and how:
        found = _restarted(fine, schedule, where)
    if found is None and how:
        reason = f"The curve rises: {how}. Lower the learning rate, or stop at the best level."
        found = Assessment(state=CurveState.RISING, reason=reason)
    return found or _at_the_best(fine, metric, where) or _progress(fine, metric, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAt:
    """Steps against joules since the start of the run.

    Attributes:
        joules: Joules at the end of each step or row of steps, increasing.
        steps: Number of that step.
    """

    joules: FloatArray
    steps: FloatArray

    def at(self, joules: float) -> int:
        """Return the step that was taken at ``joules``."""
        k = int(np.searchsorted(self.joules, joules))
        return int(self.steps[min(k, self.steps.size - 1)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Wording of positions on the curve."""

    origin: float
    step_at: StepAt | None

    def __call__(self, joules: float) -> str:
        total = self.origin + joules
        if self.step_at is None:
            return format_joules(total)
        return f"step {self.step_at.at(total):,} ({format_joules(total)})"


def takes_turns(alternating_steps: int, steps: int) -> bool:
    """Return whether optimizers took turns in a relevant share of the steps, each with a loss of its own."""
    return alternating_steps >= FEWEST_TURNS and alternating_steps >= LEAST_TURNS * steps


def _no_measure(
    facts: CurveFacts, metric: Metric, *, alternating: bool, reinforced: bool
) -> Assessment | None:
    if reinforced:
        return Assessment(
            state=CurveState.NOT_A_PROGRESS_MEASURE,
            reason=(
                "A loss of reinforcement learning does not measure progress, because its targets move with the policy. "
                "Log a metric that does with prof.log, such as a reward."
            ),
        )
    if alternating:
        return Assessment(
            state=CurveState.NOT_A_PROGRESS_MEASURE,
            reason=(
                "Several optimizers take turns with losses of their own, so a lower loss is not progress. "
                "Log a metric that measures progress with prof.log, such as a score of generated samples."
            ),
        )
    share = facts.negative / max(facts.finite, 1)
    mixed = share >= MANY_NEGATIVE or (share >= SOME_NEGATIVE and facts.sign_changes >= SIGN_CHANGES)
    if metric.best is not None or not mixed:
        return None
    values = "All values are negative" if facts.negative == facts.finite else "The values have both signs"
    return Assessment(
        state=CurveState.NOT_A_PROGRESS_MEASURE,
        reason=(
            f"{values}, as those of a policy loss, which does not measure progress, or of a log-likelihood, which has "
            "no lowest value. Log a positive error, or a metric with a known best value, such as an accuracy or a "
            "reward, with prof.log."
        ),
    )


def _too_short(fine: FineBins, curve: Curve | None) -> Assessment | None:
    tail = max(fine.facts.tail_nonfinite, fine.facts.tail_zeros)
    if tail >= TAIL_POINTS or (fine.points >= MIN_POINTS and curve is not None):
        return None
    if fine.points >= MIN_POINTS:
        what = "The points lie too close together in joules to show a trend. Train longer before forecasting."
    else:
        what = (
            f"A forecast needs {MIN_POINTS} points and the curve has {fine.points}. "
            "Train longer, or record the metric more often."
        )
    return Assessment(state=CurveState.TOO_EARLY, reason=what)


def _at_the_best(fine: FineBins, metric: Metric, where: Where) -> Assessment | None:
    """Recognise a tail of values that equal the best possible one."""
    facts = fine.facts
    share = 1.0 - facts.last_nonzero_joules / facts.end_joules if facts.end_joules > 0.0 else 0.0
    if not facts.tail_zeros or (facts.tail_zeros < TAIL_POINTS and share < TAIL_SHARE):
        return None
    # Where single values are often zero, a few at the end are chance.
    earlier = (facts.zeros - facts.tail_zeros) / max(facts.finite - facts.tail_zeros, 1)
    if earlier**facts.tail_zeros > BY_CHANCE:
        return None
    return Assessment(
        state=CurveState.FLAT,
        reason=(
            f"The metric is exactly {metric.value(0.0):g}, its best possible value, since "
            f"{where(facts.last_nonzero_joules)}."
        ),
        start_joules=facts.last_nonzero_joules,
        p_still=1.0,
        log_level=-math.inf,
        log_error=0.0,
        log_drift=0.0,
    )


def _warming(fine: FineBins, schedule: Schedule | None) -> Assessment | None:
    """Recognise a learning rate that still rises to its peak."""
    if schedule is None:
        return None
    joules = np.linspace(WARMING_SHARE * fine.last_joules, fine.last_joules, 32)
    rates = np.array([schedule.rate_at(float(x)) for x in joules])
    rising = bool(np.all(np.diff(rates) > 0.0)) and rates[0] < WARM * rates[-1]
    if not rising or schedule.rate_at(0.0) > rates[0]:
        return None
    return Assessment(
        state=CurveState.TOO_EARLY,
        reason=(
            "The learning rate is still warming up, so the curve shows no trend yet. "
            "A forecast needs about twice the energy of the warm-up."
        ),
    )


def _restarted(fine: FineBins, schedule: Schedule | None, where: Where) -> Assessment | None:
    """Recognise a learning rate that was raised in the second half of the energy and falls again."""
    if schedule is None:
        return None
    joules = np.linspace(WARMING_SHARE * fine.last_joules, fine.last_joules, 64)
    rates = np.array([schedule.rate_at(float(x)) for x in joules])
    low = int(np.argmin(rates))
    peak = float(rates[low:].max())
    later = schedule.rate[schedule.joules >= joules[low + int(np.argmax(rates[low:]))]]
    if peak < RESTART * rates[low] or not peak > 0.0 or later.min(initial=peak) > WARM * peak:
        return None
    return Assessment(
        state=CurveState.TOO_EARLY,
        reason=(
            f"The level rose with the learning rate, which was raised at {where(float(joules[low]))} and falls again. "
            "A forecast needs a level below the one before."
        ),
    )


def _diverged(fine: FineBins, metric: Metric, where: Where) -> Assessment | None:
    facts = fine.facts
    if facts.tail_nonfinite:
        share = 1.0 - fine.last_joules / facts.end_joules
        if facts.tail_nonfinite >= TAIL_POINTS or share >= TAIL_SHARE:
            first = facts.first_nonfinite_joules
            lowest = ""
            if fine.values.size:  # values of zero have no bins
                best, at = _best(fine)
                lowest = f" The best level was {metric.value(best):.4g} at {where(at)}."
            return Assessment(
                state=CurveState.DIVERGED,
                reason=(
                    f"The metric is not finite from {where(first)} on; {_percent(1.0 - first / facts.end_joules)} of "
                    f"the training's energy was spent after that.{lowest}"
                ),
                start_joules=first,
            )
    log_y = np.log(fine.values)
    if log_y.size < LAST + FEWEST_BINS:
        return None
    best, at = _best(fine)
    now = float(np.median(log_y[-LAST:]))
    noise = _noise(log_y)
    if now - math.log(best) <= max(FAR_ABOVE, NOISE_FACTOR * noise) or _recovers(fine, now - math.log(best)):
        return None
    return Assessment(
        state=CurveState.DIVERGED,
        reason=(
            f"The level is {metric.value(math.exp(now)):.4g}, far from the best one, {metric.value(best):.4g} at "
            f"{where(at)}; {_percent(1.0 - at / fine.last_joules)} of the training's energy was spent after that."
        ),
        start_joules=at,
    )


def _recovers(fine: FineBins, height: float) -> bool:
    """Return whether the recent trend regains the best level, ``height`` below, within the horizon."""
    trends = (tail_trend(fine, start) for start in (0.85, 0.7))
    return any(trend is not None and trend.fall(0.5) > height for trend in trends)


def _best(fine: FineBins) -> tuple[float, float]:
    """Return the lowest level of neighbouring bins and its joules; single low bins are noise."""
    log_y, weights = np.log(fine.values), fine.weights
    size = min(LAST, log_y.size)
    total = np.convolve(weights, np.ones(size), mode="valid")
    means = np.convolve(weights * log_y, np.ones(size), mode="valid") / total
    k = int(np.argmin(means))
    return math.exp(float(means[k])), float(fine.joules[k + size // 2])


def _noise(log_y: FloatArray) -> float:
    """Return the standard deviation of a bin, from second differences, which a trend does not affect."""
    second = log_y[2:] - 2.0 * log_y[1:-1] + log_y[:-2]
    return float(np.median(np.abs(second))) / 0.6745 / math.sqrt(6.0)


def rise(curve: Curve, recency: float) -> str:
    """Describe the rise of the recent part of a curve beyond its noise; empty without one.

    Args:
        curve: The binned curve.
        recency: The weight of a bin is (joules / last joules) to this power.
    """
    height = _blow_up(curve.log_values)
    if height:
        return f"its end lies {100.0 * math.expm1(height):.0f} % above the part before"
    weight = (curve.joules / curve.last_joules) ** recency
    weight /= weight.sum()
    x, y = np.log(curve.joules), curve.log_values
    dx, dy = x - weight @ x, y - weight @ y
    slope = float(weight @ (dx * dy)) / float(weight @ dx**2)
    left = dy - slope * dx
    error = math.sqrt(float(weight**2 @ (dx * left) ** 2)) / float(weight @ dx**2)
    if slope > RISE + RISE_ERRORS * error:
        return f"by {100 * math.expm1(slope * math.log(2.0)):.1f} % per doubling of joules at its end"
    return ""


def tail_rise(fine: FineBins) -> str:
    """Describe a significant rise over one of the last tails; empty without one."""
    for start in (0.7, 0.5):
        trend = tail_trend(fine, start)
        if trend is None:
            continue
        least = trend.slope - student_quantile(SIGNIFICANT_RISE, trend.dof) * trend.error
        if least > 0.0 and trend.slope * -math.log(start) > TAIL_RISE:
            height = math.expm1(trend.slope * -math.log(start))
            return f"by {100 * height:.1f} % over the last {_percent(1.0 - start)} of the training's energy"
    return ""


def _blow_up(log_values: FloatArray) -> float:
    """Return the rise of the last bins above all those before them, in log levels; 0 without one."""
    before, after = log_values[-LAST - BEFORE : -LAST], log_values[-LAST:]
    if before.size < BEFORE or after.min() <= before.max():
        return 0.0
    middle = float(np.median(before))
    noise = float(np.median(np.abs(before - middle)))
    height = float(np.median(after)) - middle
    return height if height > max(LEAST_BLOW_UP, NOISE_FACTOR * noise) else 0.0


def _progress(fine: FineBins, metric: Metric, where: Where) -> Assessment:
    flat = flat_tail(fine)
    if flat is not None:
        level = metric.value(math.exp(flat.level))
        side = "below" if metric.best is None else "above"
        return Assessment(
            state=CurveState.FLAT,
            reason=(
                f"The level has not moved for {_percent(1.0 - flat.start)} of the training's energy; {side} "
                f"{level:.4g} is out of reach at this learning rate."
            ),
            start_joules=flat.start * fine.last_joules,
            p_still=_p_still(flat),
            log_level=flat.level,
            log_error=flat.level_error,
            log_drift=flat.expected * flat.error * math.log(HORIZON_LIMIT),
        )
    if improves(fine) or falls_throughout(fine):
        first, now = metric.value(float(fine.values[0])), metric.value(float(fine.values[-1]))
        return Assessment(
            state=CurveState.IMPROVING,
            reason=f"The level went from {first:.4g} to {now:.4g} and still improves.",
        )
    return Assessment(state=CurveState.TOO_EARLY, reason=_undecided(fine, where))


def _undecided(fine: FineBins, where: Where) -> str:
    """Describe the noise that hides progress, and the energy that would decide."""
    trends = [trend for start in FLAT_TAILS if (trend := tail_trend(fine, start)) is not None]
    if not trends:
        return "The points lie too close together in joules to show a trend. Train longer before forecasting."
    clearest = min(trends, key=lambda trend: trend.hidden)
    most = max(clearest.hidden, clearest.expected * clearest.fall(CONFIDENCE))
    # A standard error falls with the square root of the number of points, and these grow with the energy.
    longer = (clearest.hidden / FLAT_FALL) ** 2
    seen = (
        "The level shows no clear trend at its end, but its noise could hide a fall of up to "
        f"{_percent(-math.expm1(-most), 2)} within ten times the training's energy"
    )
    less = "metric with less noise, such as the loss on more held-out data"
    if 1.0 < longer <= MOST_LONGER:
        until = format_joules(where.origin + longer * fine.last_joules)
        return f"{seen}. Training to at most {until} shows which it is; a {less}, may show it sooner."
    if fine.points < FEW_POINTS:
        return f"{seen}. Record the metric more often, or log a {less}."
    return f"{seen}. Log a {less}, with prof.log."


def flat_tail(fine: FineBins) -> Trend | None:
    """Return the longest tail over which progress above 1 % up to ten times the energy is excluded; None without."""
    trends = [trend for start in FLAT_TAILS if (trend := tail_trend(fine, start)) is not None]
    # The longest tail has the most points, but a later one may show that the curve moves again.
    flat = next((k for k, trend in enumerate(trends) if _is_flat(trend)), None)
    if flat is None or any(_is_significant(later, trends[flat]) for later in trends[flat + 1 :]):
        return None
    found = trends[flat]
    # The approach to the level belongs to the tail that proves the standstill, but not to the level.
    settled = next((trend for trend in trends[flat:] if trend.start >= TAILS[0] and _is_flat(trend)), found)
    for start in np.arange(found.start - 0.02, 0.0, -0.02):
        longer = tail_trend(fine, float(start))
        if longer is None or not _is_flat(longer) or abs(longer.level - settled.level) > FLAT_FALL:
            break
        found = longer
    return replace(found, level=settled.level, level_error=settled.level_error)


def _is_significant(later: Trend, flat: Trend) -> bool:
    """Return whether a later tail falls beyond its noise, and by more than a flat one may."""
    return later.falls and later.fall(0.5) > FLAT_FALL and later.start > flat.start


def _is_flat(trend: Trend) -> bool:
    # The interval itself must be narrow: a tail that seems to rise by chance does not exclude a fall.
    return trend.hidden < FLAT_FALL and trend.expected * trend.fall(CONFIDENCE) < FLAT_FALL


def _p_still(trend: Trend) -> float:
    if trend.error == 0.0:
        return 1.0
    distance = (FLAT_FALL / (trend.expected * math.log(HORIZON_LIMIT)) + trend.slope) / trend.error
    return student_cdf(distance, trend.dof)


def improves(fine: FineBins) -> bool:
    """Return whether the level falls significantly over a tail, up to its end, and no later tail contradicts it."""
    trends = [trend for start in TAILS if (trend := tail_trend(fine, start)) is not None]
    has_ended = False
    for k, trend in enumerate(trends):
        # The drop of a fine-tuning is a fall over a long tail as well, although nothing follows it. Once it has ended,
        # the last of it is no progress either, and has too few points to show that it bends.
        has_ended = has_ended or (trend.falls and trend.has_ended)
        if not trend.falls or (has_ended and trend.end_slope >= 0.0):
            continue
        bounds = (
            student_quantile(SIGNIFICANT, later.dof) * later.error - later.slope for later in trends[k + 1 :]
        )
        if all(bound > CONTRADICTED * -trend.slope for bound in bounds):
            return True
    return False


def falls_throughout(fine: FineBins) -> bool:
    """Return whether each value is lower than the one before, too often for a series that may as well rise.

    A regression takes the drop of a short, smooth curve and the slow fall after it for noise. This test needs no model
    of either: a series whose changes are independent and equally likely to be negative falls ``n`` times in a row with
    probability ``2^-n``, even a random walk. Unlike the tails, it is one test, at `CONFIDENCE`.
    """
    falls = np.diff(fine.values) < 0.0
    return bool(falls.all()) and 0.5**falls.size <= 1.0 - CONFIDENCE


def tail_trend(fine: FineBins, start: float) -> Trend | None:
    """Return the trend from a share of the energy to its end; None with too few bins."""
    kept = fine.joules >= start * fine.last_joules
    if kept.sum() < FEWEST_BINS:
        return None
    x, y, w = np.log(fine.joules[kept]), np.log(fine.values[kept]), fine.weights[kept]
    total = float(w.sum())
    dx, level = x - w @ x / total, float(w @ y / total)
    spread = float(w @ dx**2)
    if spread <= 0.0:
        return None
    slope = float(w @ (dx * y)) / spread
    # The noise is measured around a parabola, because curvature is not noise.
    square = dx**2 - (w @ dx**2) / total
    skew = float(w @ (square * dx)) / spread
    square = square - dx * skew
    curved = max(float(w @ square**2), 1e-300)
    bend = float(w @ (square * y)) / curved
    left = (y - level - slope * dx - bend * square) * np.sqrt(w)
    power = float(left @ left)
    rho = _correlation(float(left[1:] @ left[:-1]) / power, left.size) if power > 0.0 else 0.0
    factor = (1.0 + rho) / (1.0 - rho)
    dof = max((left.size - 3) / factor, 2.0)
    variance = power / max(left.size - 3, 1) * factor
    return Trend(
        start=start,
        slope=slope,
        error=math.sqrt(variance / spread),
        dof=dof,
        level=level,
        level_error=math.sqrt(variance / total),
        bend=bend / max(math.sqrt(variance / curved), 1e-300),
        end_slope=slope + bend * (2.0 * float(dx[-1]) - skew),
    )


def _correlation(rho: float, size: int) -> float:
    """Return an upper bound of the correlation of neighbouring residuals, corrected for the bias of short series."""
    biased = (size * rho + CORRELATION_BIAS) / max(size - 3.0 * CORRELATION_BIAS, 1.0) if rho > 0.0 else 0.0
    unbiased = min(biased, MOST_CORRELATED)
    error = math.sqrt((1.0 - unbiased**2) / size)
    return min(unbiased + CORRELATION_MARGIN * error, MOST_CORRELATED)


def student_quantile(p: float, dof: float) -> float:
    """Return a quantile of Student's t."""
    return _student_quantile(p, round(min(dof, 1e4), 1))


@cache
def _student_quantile(p: float, dof: float) -> float:
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if student_cdf(middle, dof) < p else (low, middle)
    return high


def student_cdf(t: float, dof: float) -> float:
    """Return the distribution function of Student's t, by Hill's approximation to a normal deviate.

    Hill, Algorithm 395, Communications of the ACM 13 (1970): z^2 = (dof - 1/2) ln(1 + t^2 / dof) to first order.
    """
    a = dof - 0.5
    z = math.sqrt(a * math.log1p(t * t / dof))
    z += (z**3 + 3.0 * z) / (48.0 * a * a)
    return 0.5 * math.erfc(-math.copysign(z, t) / math.sqrt(2.0))


def _percent(share: float, digits: int | None = None) -> str:
    percent = 100.0 * share
    # Two digits of 99.6 would be 1e+02.
    return (
        f"{percent:.0f} %" if digits is None or percent >= 10.0**digits - 0.5 else f"{percent:.{digits}g} %"
    )
