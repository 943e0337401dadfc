"""Planned learning rates, obtained by running a copy of the scheduler ahead.

The copy was made when the scheduler was first seen, and it is used only if it reproduces the rates that the scheduler
has set since. The simulation runs after the recording; it changes neither the scheduler nor the random numbers.
"""

import math
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from profiler.lr_plan import RatePlan
from profiler.torch_hooks.scheduler_copy import copy_scheduler, current_rate, has_side_effects
from profiler.torch_hooks.schedulers import Schedule

_MAX_CALLS = 400_000
"""About one second of simulation."""
_LOOK_AHEAD = 10
"""Where the end of a run is unknown, a schedule is simulated for this many times its past."""
_SPENT = 0.01
"""A schedule ends where it is below this share of its peak and falls no further: nothing is learned at rate 0."""
_TOLERANCE = 1e-6


class NotSimulableError(Exception):
    """The schedule cannot be predicted; the message gives the reason."""


def plan_section(schedule: Schedule, *, step: int, total_steps: int | None) -> dict[str, Any]:
    """Return the section of ``run.json`` with the plan, or with the reason why there is none. Never raises.

    Args:
        schedule: State of a scheduler.
        step: Steps made so far, those of a resumed run included.
        total_steps: Steps of the whole run, if the user has declared them.
    """
    kind = type(schedule.copy)
    name = f"{kind.__module__}.{kind.__qualname__}"
    try:
        with _unchanged_random_state(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plan = simulate(schedule, step=step, total_steps=total_steps, source=f"{name}, simulated")
    except NotSimulableError as error:
        return {"source": name, "refused": str(error)}
    except Exception as error:  # noqa: BLE001 - schedulers are user code
        return {"source": name, "refused": f"its copy failed ({type(error).__name__}: {error})"}
    return plan.section()


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


def simulate(schedule: Schedule, *, step: int, total_steps: int | None, source: str) -> RatePlan:
    """Return the rates from ``step`` to the end of the run or of the schedule.

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
    calls = schedule.calls * (1 + _LOOK_AHEAD)
    if total_steps is not None:
        calls = schedule.calls + math.ceil((total_steps - begin) / steps_per_call)
    rates = _simulated_rates(schedule, calls, is_end_known=total_steps is not None)
    last = begin + math.floor((len(rates) - 1 - schedule.calls) * steps_per_call) + 1
    last = last if total_steps is None else min(last, total_steps)
    if last <= step + 1:
        raise NotSimulableError("the schedule has ended")

    def rate(at: int) -> float:
        # Steps per call are a ratio of two counts; without the tolerance, a whole number of calls may round down.
        call = schedule.calls + math.floor((at - begin - 1) / steps_per_call + _TOLERANCE)
        return rates[min(max(call, 0), len(rates) - 1)]

    return RatePlan.sampled(rate, step, last, source)


def _simulated_rates(schedule: Schedule, calls: int, *, is_end_known: bool) -> list[float]:
    """Return the rates after 0, 1, ..., ``calls`` steps of the scheduler, or up to its end."""
    if calls > _MAX_CALLS:
        raise NotSimulableError(f"a simulation would take {calls:,} of its steps")
    if has_side_effects(schedule.copy):
        raise NotSimulableError("it may use an iterator or random numbers, which a simulation would advance")
    rates: list[float] = []
    peak = 0.0
    for call, rate in enumerate(islice(_rates(copy_scheduler(schedule.copy)), calls + 1)):
        _check(schedule, call, rate)
        if not is_end_known and call > schedule.calls and rates[-1] < _SPENT * peak and rate >= rates[-1]:
            return rates
        rates.append(rate)
        peak = max(peak, rate)
    if len(rates) <= schedule.calls:
        raise NotSimulableError("its copy ended earlier than the scheduler")
    if not is_end_known and len(rates) > calls and rates[-1] >= _SPENT * peak:
        raise NotSimulableError(
            "its rate does not fall to zero and the length of the run is unknown; pass total_steps="
        )
    return rates


def _rates(scheduler: Any) -> Iterator[float]:
    """Yield the rates that a scheduler sets, until it raises ValueError or sets a negative one."""
    while True:
        rate = current_rate(scheduler)
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
