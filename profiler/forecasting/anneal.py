"""Reach and cost of an anneal begun now, or at half of the remaining budget, beside the plan."""

import math
from dataclasses import dataclass, replace

from profiler.forecasting.fit import with_constant_rate
from profiler.forecasting.predictive import Predictive
from profiler.forecasting.result import CurveFit, exp, probabilities
from profiler.forecasting.schedule import Annealed, AnnealedLater, Held
from profiler.records import CurveState, Interval

NOW, HALF, PLANNED, HELD = "now", "half", "planned", "held"
LENGTH = 0.2
"""Length of an anneal as a share of the energy before it, as in common warm-up, stable, decay schedules."""
LEAST_BUDGET = 0.02
"""Least remaining budget, as a share of the energy so far, for which the choices differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnealOption:
    """One future of the learning rate, and its end. Joules are totals since the start of the run.

    Attributes:
        name: ``now`` or ``half``, the start of the anneal in the remaining budget; ``planned`` for the plan, or
            ``held`` for the present rate where there is no plan.
        start_joules: Energy at which the anneal begins; None where none is added.
        end_joules: Energy at its end.
        more_joules: Energy from now to the end.
        loss: Level at the end; 90 % interval.
    """

    name: str
    start_joules: float | None
    end_joules: float
    more_joules: float
    loss: Interval


def anneal_options(
    fit: CurveFit, *, budget_joules: float | None = None, is_constant: bool = False, length: float = LENGTH
) -> tuple[AnnealOption, ...]:
    """Return the level and the cost of an anneal begun now, at half of the remaining budget, and as planned.

    An anneal takes the rest of the budget if that is less than its length.

    Args:
        fit: The fit of a curve whose learning rate is known.
        budget_joules: Total energy of the run; by default the end of the plan, else twice the energy so far.
        length: Energy of an anneal as a share of the energy before it.
        is_constant: True if the learning rate was recorded and constant, which a fit ignores otherwise.

    Returns:
        Three options; empty where the learning rate is unknown or zero, the curve has no forecast or does not bound the
        level of an option, or the budget is nearly spent.
    """
    if fit.state not in (CurveState.IMPROVING, CurveState.FLAT):
        return ()
    known = with_constant_rate(fit) if is_constant and "annealed" not in fit.scenarios else fit
    annealed = known.predictives.get("annealed")
    held = known.predictives.get("held")
    if not (isinstance(annealed, Predictive) and isinstance(annealed.path, Annealed)) or held is None:
        return ()
    spent, origin = known.history.fine.last_joules, known.origin_joules
    end = known.planned_joules or budget_joules or known.joules_after(math.log(2.0))
    rest = end - origin - spent
    if rest < LEAST_BUDGET * spent or annealed.path.rate <= 0.0:
        return ()
    constant = Held(rate=annealed.path.rate, learned=annealed.path.learned, last=spent)
    options = []
    for name, start in ((NOW, spent), (HALF, spent + rest / 2.0)):
        stop = start + min(length * start, spent + rest - start)
        path = AnnealedLater(held=constant, start=start, memory=annealed.path.memory)
        options.append(
            AnnealOption(
                name=name,
                start_joules=origin + start,
                end_joules=origin + stop,
                more_joules=stop - spent,
                loss=_level(known, replace(annealed, path=path), stop / spent),
            )
        )
    last = PLANNED if PLANNED in known.scenarios else HELD
    options.append(
        AnnealOption(
            name=last,
            start_joules=None,
            end_joules=end,
            more_joules=rest,
            loss=known.loss_at(end, scenario=last),
        )
    )
    # Where the curve does not bound a level, a table of options would be noise.
    return tuple(options) if all(math.isfinite(one.loss.high) for one in options) else ()


def _level(fit: CurveFit, predictive: Predictive, ratio: float) -> Interval:
    ends = (predictive.log_quantile(math.log(ratio), p) for p in probabilities(fit.confidence))
    low, median, high = (max(exp(log), fit.lower_bound) for log in ends)
    return fit.metric.interval(Interval(low=low, median=median, high=high, level=fit.confidence))
