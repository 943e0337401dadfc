"""Planned learning rates, obtained by running a copy of the scheduler ahead.

The copy was made when the scheduler was first seen, and it is used only if it reproduces the rates that the scheduler
has set since. A simulation changes neither the scheduler nor the random numbers. During the training it runs on another
thread, in short slices, and only for schedulers that are isolated from the rest of the program.
"""

import math
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from profiler.lr_plan import ENDED, RatePlan
from profiler.torch_hooks.isolation import is_isolated
from profiler.torch_hooks.scheduler_copy import copy_scheduler, current_rate, has_side_effects
from profiler.torch_hooks.schedulers import Schedule

_MAX_CALLS = 400_000
"""About one second of simulation."""
_CALL_SECONDS = 3e-6
"""Processor time of a simulated call."""
_LOOK_AHEAD = 10
"""Where the end of a run is unknown, a schedule is simulated for this many times its past."""
_SPENT, _ZERO, _SMOOTH = 0.01, 1e-30, 0.5
"""A schedule ends where it falls no further: at zero, or below 1 % of its peak at a slight rise or after a smooth fall.

A drop to a plateau is a step of a continuing decay, and a large rise is a restart.
"""
_TOLERANCE, _NEAR = 1e-6, 0.01
_UNKNOWN_END = "so the length of the run is unknown; declare total_steps= (--total-steps)"
_SLICE, _PAUSE_SECONDS = 256, 0.01
"""Steps of a simulation during the training, about a millisecond, between pauses for the training."""


class NotSimulableError(Exception):
    """The schedule cannot be predicted; the message gives the reason."""


def plan_section(schedule: Schedule, *, step: int, total_steps: int | None) -> dict[str, Any]:
    """Return the section of ``run.json`` with the plan, or with the reason why there is none. Never raises.

    Args:
        schedule: State of a scheduler.
        step: Steps made so far, those of a resumed run included.
        total_steps: Steps of the whole run, if the user has declared them.
    """
    name = _name(schedule)
    try:
        with _unchanged_random_state(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plan = simulate(schedule, step=step, total_steps=total_steps, source=f"{name}, simulated")
    except NotSimulableError as error:
        return {"source": name, "refused": str(error)}
    except Exception as error:  # noqa: BLE001 - schedulers are user code
        return {"source": name, "refused": f"its copy failed ({type(error).__name__}: {error})"}
    return plan.section()


def plan_section_meanwhile(
    schedule: Schedule, *, step: int, total_steps: int | None, is_over: threading.Event
) -> dict[str, Any] | None:
    """Return the result of :func:`plan_section` during the training; None where a simulation must wait for the end.

    Never raises.

    Args:
        schedule: State of a scheduler.
        step: Steps made so far, those of a resumed run included.
        total_steps: Steps of the whole run, if the user has declared them.
        is_over: Ends the simulation when it is set.
    """
    try:
        if not is_isolated(schedule.copy):
            return None
        source = f"{_name(schedule)}, simulated"
        return simulate(
            schedule, step=step, total_steps=total_steps, source=source, is_over=is_over
        ).section()
    except Exception:  # noqa: BLE001 - the simulation at the end of the run reports the reason
        return None


def most_seconds(schedule: Schedule, *, step: int, total_steps: int | None) -> float:
    """Return the most processor time that :func:`plan_section_meanwhile` takes."""
    if schedule.has_arguments or not schedule.steps_per_call:
        return 0.0
    calls = _calls(schedule, step=step, total_steps=total_steps)
    return _CALL_SECONDS * calls if calls <= _MAX_CALLS else 0.0


def is_followed(plan: RatePlan, schedule: Schedule, *, step: int) -> bool:
    """Return whether a scheduler is still at the rate of a plan, so that simulating it again brings nothing new."""
    rate = schedule.checkpoints.get(schedule.calls)
    is_near = rate is not None and abs(rate - plan.rate_at(step + 1)) <= _NEAR * max(plan.rates)
    return is_near and not schedule.has_arguments and step < plan.last_step


def _name(schedule: Schedule) -> str:
    kind = type(schedule.copy)
    return f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def _unchanged_random_state() -> Iterator[None]:
    """Restore the random states of Python, numpy and torch on the CPU."""
    state, numpy = random.getstate(), sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    try:
        with sys.modules["torch"].random.fork_rng(devices=()):
            yield
    finally:
        random.setstate(state)
        if numpy:
            numpy.random.set_state(numpy_state)


def simulate(
    schedule: Schedule,
    *,
    step: int,
    total_steps: int | None,
    source: str,
    is_over: threading.Event | None = None,
) -> RatePlan:
    """Return the rates from ``step`` to the end of the run or of the schedule.

    Args:
        schedule: State of a scheduler.
        step: Steps made so far, those of a resumed run included.
        total_steps: Steps of the whole run, if the user has declared them.
        source: Origin of the plan, for reports.
        is_over: Simulate in slices, and end when it is set; None simulates without a pause.

    Raises:
        NotSimulableError: The schedule cannot be predicted.
    """
    if schedule.has_arguments:
        raise NotSimulableError(
            "scheduler.step() takes arguments (such as a metric), so its schedule depends on the training"
        )
    if not schedule.steps_per_call:
        raise NotSimulableError("it has stepped too rarely to know how often it steps")
    steps_per_call, begin = schedule.steps_per_call, step - schedule.steps_since
    if total_steps is not None and total_steps < step:  # the run is longer than declared
        total_steps = None
    calls = _calls(schedule, step=step, total_steps=total_steps)
    rates = _simulated_rates(schedule, calls, is_end_known=total_steps is not None, is_over=is_over)
    last = begin + math.floor((len(rates) - 1 - schedule.calls) * steps_per_call) + 1
    last = last if total_steps is None else min(last, total_steps)
    if last <= step + 1:
        raise NotSimulableError(ENDED)

    def rate(at: int) -> float:
        # Steps per call are a ratio of two counts; without the tolerance, a whole number of calls may round down.
        call = schedule.calls + math.floor((at - begin - 1) / steps_per_call + _TOLERANCE)
        return rates[min(max(call, 0), len(rates) - 1)]

    return RatePlan.sampled(rate, step, last, source)


def _calls(schedule: Schedule, *, step: int, total_steps: int | None) -> int:
    """Return the number of calls up to the end of the run, or as far as the schedule's end is searched for."""
    if total_steps is None or total_steps < step:
        return schedule.calls * (1 + _LOOK_AHEAD)
    begin = step - schedule.steps_since
    return schedule.calls + math.ceil((total_steps - begin) / schedule.steps_per_call)


def _simulated_rates(
    schedule: Schedule, calls: int, *, is_end_known: bool, is_over: threading.Event | None
) -> list[float]:
    """Return the rates after 0, 1, ..., ``calls`` steps of the scheduler, or up to its end."""
    if calls > _MAX_CALLS:
        raise NotSimulableError(f"a simulation would take {calls:,} of its steps")
    if has_side_effects(schedule.copy):
        raise NotSimulableError("it may use an iterator or random numbers, which a simulation would advance")
    rates: list[float] = []
    peak, was_down, has_risen_again = 0.0, False, False
    for call, rate in enumerate(islice(_rates(copy_scheduler(schedule.copy)), calls + 1)):
        if is_over is not None and call % _SLICE == 0 and is_over.wait(_PAUSE_SECONDS):
            raise NotSimulableError("the run has ended")
        _check(schedule, call, rate)
        is_down = rate >= (rates or [math.inf])[-1] and _has_come_down(rates, rate, peak)
        if is_down and call > schedule.calls and not (is_end_known or has_risen_again):
            return rates
        was_down |= is_down
        has_risen_again |= was_down and rate > _SPENT * peak
        rates.append(rate)
        peak = max(peak, rate)
    if len(rates) <= schedule.calls:
        raise NotSimulableError("its copy ended earlier than the scheduler")
    if not is_end_known and has_risen_again:
        raise NotSimulableError(f"its rate rises again after a fall to zero, {_UNKNOWN_END}")
    # A scheduler that raises an error at its end has been simulated up to that.
    if not is_end_known and len(rates) > calls:
        raise NotSimulableError(f"its rate does not fall to zero, {_UNKNOWN_END}")
    return rates


def _has_come_down(rates: list[float], following: float, peak: float) -> bool:
    """Return whether rates that fall no further have reached the end of a decay."""
    if rates[-1] <= _ZERO * peak:
        return peak > 0.0
    if len(rates) == 1 or not rates[-1] < rates[-2]:
        return False
    is_turn = rates[-1] < following < _SPENT * peak
    return is_turn or (_SMOOTH * rates[-2] < rates[-1] and rates[-2] < _SPENT * peak)


def _rates(scheduler: Any) -> Iterator[float]:
    """Yield the rates that a scheduler sets, until it raises ValueError or sets a negative one."""
    while True:
        rate = current_rate(scheduler, scheduler.optimizer.rate_group)
        if rate is None or not math.isfinite(rate):
            raise NotSimulableError("its rates are not plain numbers")
        if rate < 0.0:
            return
        yield rate
        try:
            scheduler.step()
        except ValueError:
            return


def _check(schedule: Schedule, call: int, rate: float) -> None:
    """Compare a simulated rate with the recorded one."""
    if call not in schedule.checkpoints:
        return
    recorded = schedule.checkpoints[call]
    if recorded is None or not math.isclose(recorded, rate, rel_tol=_TOLERANCE, abs_tol=1e-30):
        raise NotSimulableError(
            f"its copy sets {rate:.6g} in its step {call:,}, where the scheduler set {recorded}"
        )
