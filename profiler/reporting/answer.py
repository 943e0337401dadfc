"""The answer of a report: status, cost, worth, advice and confidence, shared by all renderers."""

import math
from typing import TYPE_CHECKING

from profiler.analysis.waste import AFTER_BEST, NONFINITE
from profiler.records import CurveState, Status, Verdict
from profiler.reporting import text
from profiler.reporting.metric_choice import LOSS, is_validation
from profiler.reporting.records import Action, Answer, Confidence, Tone

if TYPE_CHECKING:
    from profiler.reporting.records import MetricReport, Outlook, Report, Target

_WITHIN = 4.0
"""Multiple of the present energy within which the next 5 % decides the advice."""
_WORTHWHILE = 0.25
"""Probability of that from which going on is advised. On the curves of `scripts/benchmark_forecast.py`, which prints
the share of right advice, chances above it nearly always came true, and chances below it nearly never."""
_LIKELY = 0.5
"""The same where the evidence is weak: without a backtest, or with one that mostly missed."""
_CHEAPER = 0.5
"""Energy with annealing over energy without it, below which annealing is advised."""
_HIGH, _MEDIUM = 0.02, 0.08
"""Half of the 90 % interval of the level at twice the energy, as a share of it: the largest for which the level was
within 2 and 5 % of the forecast in 90 % of the same curves."""
_FEWEST_POINTS = 10
"""Points of the curve from which the confidence is more than low."""
_FURTHER = 2.0
"""Multiple of the present energy at which a short run should be looked at again."""
_ALMOST_ALL = 0.95
"""Measured share of the energy from which the rest needs no mark at the top."""
_WEIGHED = 0.05
"""Reduction of the level whose price decides the advice."""
_WASTE_IN_WORTH = (NONFINITE, AFTER_BEST)
"""Causes of waste whose energy the sentences on a diverged or flat curve state already."""


def answer_of(report: "Report") -> Answer:
    """Write the answer of a report."""
    outlook, summary = report.outlook, report.summary
    action = _action(report)
    spent = summary.total_joules or 0.0
    worth = text.worth_sentences(outlook, spent) if outlook is not None else []
    return Answer(
        run_status=summary.status,
        curve_state=report.state,
        measured_share=report.measured_share,
        tone=_tone(report),
        status=_status(report),
        cost=text.cost_sentence(report),
        scope=text.scope(summary.trainings),
        worth=tuple(worth),
        waste=tuple(
            text.waste(one)
            for one in sorted(report.waste, key=lambda one: -one.joules)
            if not (worth and one.name in _WASTE_IN_WORTH)
        ),
        action=action,
        advice=_overfitting_advice(report) or _budget_advice(report) or _advice(report, action, spent),
        confidence=_confidence(report, action),
        measuring=_measuring(report),
    )


def _confidence(report: "Report", action: Action | None) -> Confidence | None:
    """Return the confidence where the advice rests on a forecast, and not on what was reached."""
    outlook, rests = report.outlook, action in (Action.GO_ON, Action.STOP, Action.ANNEAL)
    is_over = report.is_budget_used or (outlook is not None and outlook.asked and outlook.all_reached)
    if outlook is None or not rests or is_over or _overfitted(report):
        return None
    return confidence_of(outlook)


def _status(report: "Report") -> str:
    summary = report.summary
    parts = [f"{text.run_status(summary.status)} after {text.seconds(summary.window_seconds)}"]
    if report.state is not None and report.state is not CurveState.IMPROVING:
        outlook = report.outlook
        goal, step = ("min", None) if outlook is None else (outlook.goal, outlook.diverged_step)
        parts.append(text.curve_state(report.state, report.metric, goal, step))
    if not summary.steps and summary.status is not Status.RUNNING:
        parts.append("no steps")
    parts.append(
        text.measured(
            report.measured_share, incomplete=summary.is_incomplete, missing_ranks=summary.missing_ranks
        )
    )
    return ", ".join(parts)


def _tone(report: "Report") -> Tone:
    got_worse = report.state in (CurveState.DIVERGED, CurveState.RISING)
    if report.summary.status is Status.FAILED or (got_worse and _overfitted(report) is None):
        return Tone.BAD
    if not report.summary.steps and report.summary.status is not Status.RUNNING:
        return Tone.CAUTION
    estimated = report.measured_share is None or report.measured_share < 0.5  # noqa: PLR2004 - most of it
    got_worse = got_worse or _overfitted(report) is not None
    if report.summary.status is Status.INTERRUPTED or report.summary.is_incomplete or estimated or got_worse:
        return Tone.CAUTION
    return Tone.GOOD


_GOING_ON = (Action.GO_ON, Action.ANNEAL)
_BY_STATE = {
    CurveState.DIVERGED: Action.FIX,
    CurveState.RISING: Action.FIX,
    CurveState.NOT_A_PROGRESS_MEASURE: Action.CHANGE_METRIC,
    CurveState.TOO_EARLY: Action.TOO_EARLY,
}


def _action(report: "Report") -> Action | None:
    outlook, state = report.outlook, report.state
    if not report.summary.steps or state is None:
        return None
    if _overfitting_advice(report):
        return Action.STOP
    if outlook is None:
        # A fit that was refused without a forecast: a constant curve has nothing to price.
        return Action.STOP if state is CurveState.FLAT else _BY_STATE.get(state)
    return Action.STOP if _budget_advice(report) else advised(outlook)


def _budget_advice(report: "Report") -> str:
    """Return the advice to stop where the run would otherwise go on and its budget is used; empty elsewhere."""
    outlook = report.outlook
    if outlook is None or not report.is_budget_used or advised(outlook) not in _GOING_ON:
        return ""
    return f"Stop: the energy budget of {text.joules(report.budget_joules or 0.0)} is used."


def advised(outlook: "Outlook") -> Action:
    """Return the action that a forecast advises."""
    if outlook.state in _BY_STATE:
        return _BY_STATE[outlook.state]
    if outlook.asked and outlook.all_reached:
        return Action.STOP
    if _annealing_helps(outlook):
        return Action.ANNEAL
    return Action.STOP if outlook.state is CurveState.FLAT else _weigh(outlook)


def _weigh(outlook: "Outlook") -> Action:
    """Compare the chance of a round reduction with the energy that it may take."""
    if outlook.planned_end is not None:
        return Action.GO_ON
    if outlook.rate_ended and not outlook.has_trend:
        return Action.STOP
    row = weighed(outlook)
    chance = math.nan if row is None else row.forecast.p_within(_WITHIN)
    is_weak = not outlook.backtest and confidence_of(outlook) is Confidence.LOW
    if outlook.is_guess or is_weak:
        # Evidence too weak to stop a run may still be enough to continue it.
        return Action.GO_ON if chance >= _LIKELY else Action.TOO_EARLY
    if math.isnan(chance):
        return Action.TOO_EARLY
    return Action.GO_ON if chance >= _WORTHWHILE else Action.STOP


def weighed(outlook: "Outlook") -> "Target | None":
    """Return the target whose price decides the advice: a requested one that was not reached, else 5 % lower."""
    asked = [row for row in outlook.asked if row.forecast.verdict is not Verdict.REACHED]
    rounds = [row for row in outlook.targets if row.change == _WEIGHED]
    return next(iter((*asked, *rounds)), None)


def _annealing_helps(outlook: "Outlook") -> bool:
    found = {row.name: row.target.more for row in outlook.scenarios}
    held, annealed = found.get("held"), found.get("annealed")
    if outlook.planned_end is not None or annealed is None or not math.isfinite(annealed.high):
        return False
    return held is None or annealed.median < _CHEAPER * held.median


def confidence_of(outlook: "Outlook | None") -> Confidence | None:
    """Return the confidence in a forecast; None without a trend."""
    if outlook is None or outlook.ahead is None:
        return None
    half = (outlook.ahead.high - outlook.ahead.low) / 2.0 / abs(outlook.ahead.median or math.inf)
    # The price of a longer run after the end of a schedule assumes that its anneal gains as much.
    is_assumed = outlook.rate_ended
    if outlook.is_guess or is_assumed or outlook.points < _FEWEST_POINTS or not half <= _MEDIUM:
        return Confidence.LOW
    # Without a plan of the learning rate, an anneal that is not recorded yet moves the end by more than 2 %.
    is_high = half <= _HIGH and outlook.backtest and outlook.planned_end is not None
    return Confidence.HIGH if is_high else Confidence.MEDIUM


def _advice(report: "Report", action: Action | None, spent: float) -> str:
    outlook, metric = report.outlook, text.one_line(report.metric)
    if action is None:
        return report.refused
    if action is Action.FIX:
        return _fix(outlook, metric) if outlook is not None else f"Stop. {report.refused}"
    if action is Action.CHANGE_METRIC:
        reason = outlook.state_reason if outlook is not None else report.refused
        return f"{reason} {text.reward_to_log(report.summary.libraries)}".rstrip()
    if action is Action.TOO_EARLY:
        return f"Too early to advise. {_needed(report)}"
    if report.state is CurveState.FLAT and action is Action.STOP:
        return _flat_advice(outlook, metric)
    return _weighed_advice(outlook, action, metric, spent) if outlook is not None else ""


def _fix(outlook: "Outlook", metric: str) -> str:
    if outlook.diverged_step is None:
        return f"Stop: restart from a checkpoint before the {metric} got worse, with a lower learning rate."
    # One bad batch or an overflow looks the same as a learning rate that is too high.
    return (
        f"Stop: restart from a checkpoint before the {metric} stopped being finite. Check the data of that step for "
        "NaN, lower the learning rate, or clip the gradients."
    )


def _flat_advice(outlook: "Outlook | None", metric: str) -> str:
    if outlook is not None and outlook.asked and outlook.all_reached:
        return _reached(outlook, metric)
    # Only a level that cannot be lowered has no round targets.
    if outlook is not None and not outlook.targets and not outlook.asked:
        return f"Stop: the {metric} is at its best possible value."
    return f"Stop, or change the learning rate: more energy at this rate will not improve the {metric}."


def _overfitted(report: "Report") -> "MetricReport | None":
    """Return a validation metric that got worse after its best level although the loss did not; None without one.

    The headline's metric decides where it is a validation metric. Otherwise each one counts: a loss on held-out data
    that rises is no reason to stop while the accuracy there still improves.
    """
    loss = next((one for one in report.metrics if one.name == LOSS), None)
    if loss is None or loss.state not in (CurveState.IMPROVING, CurveState.FLAT, CurveState.TOO_EARLY):
        return None
    headline = report.metrics[0]
    known = [one for one in report.metrics if is_validation(one.name)] if headline is loss else [headline]
    if any(one.state is CurveState.IMPROVING for one in known):
        return None
    return next((one for one in known if _got_worse(one)), None)


def _overfitting_advice(report: "Report") -> str:
    """Return the advice for a run that overfits; empty for others, and where all requested targets are reached."""
    outlook, worse = report.outlook, _overfitted(report)
    if worse is None or (outlook is not None and outlook.asked and outlook.all_reached):
        return ""
    loss = next(one for one in report.metrics if one.name == LOSS)
    # The sentences on a diverged headline metric name its best level already.
    is_named = worse is report.metrics[0] and worse.state is CurveState.DIVERGED
    best = None if worse.outlook is None or is_named else worse.outlook.best
    return text.overfitted(best, worse.name, is_loss_falling=loss.state is CurveState.IMPROVING)


def _got_worse(metric: "MetricReport") -> bool:
    """Return True for a finite metric that is worse than its best level."""
    if metric.outlook is None or metric.outlook.best is None or metric.diverged_step is not None:
        return False
    return metric.state in (CurveState.RISING, CurveState.DIVERGED)


def _needed(report: "Report") -> str:
    """Return the condition for advice on a curve that is too short."""
    outlook = report.outlook
    if outlook is None:
        return report.refused
    if outlook.state is not CurveState.IMPROVING:
        return outlook.state_reason
    if outlook.is_guess:
        held = sum(test.held for test in outlook.backtest)
        return f"Only {held} of {len(outlook.backtest)} forecasts made earlier in this run held."
    return f"Train to about {text.joules(_FURTHER * outlook.joules, 2)} and look again."


def _reached(outlook: "Outlook", metric: str) -> str:
    hardest = [row for row in outlook.rows if row in outlook.asked][-1]
    return f"Stop: {metric} {text.level(hardest.loss)} is reached."


def _weighed_advice(outlook: "Outlook", action: Action, metric: str, spent: float) -> str:
    row = weighed(outlook)
    if outlook.rate_ended and not outlook.has_trend and not (outlook.asked and outlook.all_reached):
        return text.RATE_ENDED
    if action is Action.ANNEAL:
        annealed = next(one for one in outlook.scenarios if one.name == "annealed")
        return f"Anneal the learning rate now: {metric} {text.scenario(annealed, spent)}."
    if outlook.asked and outlook.all_reached:
        return _reached(outlook, metric)
    if action is Action.GO_ON and outlook.planned_end is not None:
        return f"Go on: {text.planned_end(outlook.planned_end, metric, outlook.joules)}."
    if row is None:
        return ""
    return text.weighed_advice(
        row,
        metric,
        spent,
        stop=action is Action.STOP,
        within=_WITHIN,
        goal=outlook.goal,
        rate_ended=outlook.rate_ended,
    )


def _measuring(report: "Report") -> str:
    if (report.measured_share or 0.0) >= _ALMOST_ALL and not report.summary.missing:
        return ""
    useful = [refusal for refusal in report.refusals if refusal.remedy]
    if report.measured_share is None:
        return "Run `energy-profiler doctor` to see how to measure energy on this machine."
    what = f"{text.percent(1.0 - report.measured_share)} of the energy is estimated"
    if report.summary.missing:
        what = f"the energy of {text.one_line(', '.join(report.summary.missing))} is missing"
    if not useful:
        return f"{what[0].upper()}{what[1:]}."
    return f"{what[0].upper()}{what[1:]} because {useful[0].reason}. Remedy: {useful[0].remedy}"
