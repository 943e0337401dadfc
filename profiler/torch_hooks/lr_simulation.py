"""What a scheduler will do to the learning rate, seen by letting a copy of it run ahead.

The copy starts where the scheduler was first seen, and is believed only if it sets the same rates as the scheduler
did. Nothing here runs while the loop does, and nothing of the loop's is moved on: it may go on after the recording.
"""

import math
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from profiler import lr_plan
from profiler.lr_plan import RatePlan
from profiler.torch_hooks.scheduler_copy import draws, rate_of, twin_of
from profiler.torch_hooks.schedulers import Schedule

_RESUMED = "resumed"
"""Where ``run.json`` says from which step of an earlier run a run goes on; plans count from the first one's start."""
MOST_CALLS = 400_000
"""About a second's work."""
LOOK_AHEAD = 10
"""Where the end of a run is not known, a schedule is followed for so many times what it has done."""
SPENT = 0.01
"""A schedule ends where it has come under this part of its peak and falls no further: at no rate nothing is learned."""
SAME = 1e-6


class UnforeseenError(Exception):
    """What the schedule will be cannot be told; the message says why."""


def complete(meta: dict[str, Any], schedule: Schedule | None, *, step: int) -> None:
    """Add to what ``run.json`` says of the learning rate to come, unless the user said it. Never raises.

    Args:
        meta: What it says so far, ``total_steps`` among it if that was declared.
        schedule: What was seen of a scheduler, if one was.
        step: Steps of this process's run so far.
    """
    if schedule is not None and lr_plan.SECTION not in meta:
        before = (meta.get(_RESUMED) or {}).get("step") or 0
        meta[lr_plan.SECTION] = _section(schedule, before + step, meta.get(lr_plan.TOTAL))


def _section(schedule: Schedule, step: int, total_steps: int | None) -> dict[str, Any]:
    kind = type(schedule.twin)
    name = f"{kind.__module__}.{kind.__qualname__}"
    try:
        with _same_chance(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plan = foresee(schedule, step=step, total_steps=total_steps, source=f"{name}, simulated")
    except UnforeseenError as error:
        return {"source": name, "refused": str(error)}
    except Exception as error:  # noqa: BLE001 - schedulers are anybody's code
        return {"source": name, "refused": f"its copy failed ({type(error).__name__}: {error})"}
    return plan.section()


@contextmanager
def _same_chance() -> Iterator[None]:
    """Keep the random numbers to come as they are, in Python, numpy and torch on the CPU."""
    chance, numpy = random.getstate(), sys.modules.get("numpy")
    numpy_chance = numpy.random.get_state() if numpy else None
    try:
        with sys.modules["torch"].random.fork_rng(devices=()):
            yield
    finally:
        random.setstate(chance)
        if numpy:
            numpy.random.set_state(numpy_chance)


def foresee(schedule: Schedule, *, step: int, total_steps: int | None, source: str) -> RatePlan:
    """Follow a schedule from now to the end of the run or to its own.

    Raises:
        UnforeseenError: It cannot be told.
    """
    if schedule.instructed:
        raise UnforeseenError("it is told more than to step, so what it will do depends on the training")
    if not schedule.steps_per_call:
        raise UnforeseenError("it has stepped too little to tell how often it does")
    each, begin = schedule.steps_per_call, step - schedule.steps_since
    calls = schedule.calls * (1 + LOOK_AHEAD)
    if total_steps is not None:
        calls = schedule.calls + math.ceil((total_steps - begin) / each)
    rates = _simulated(schedule, calls, is_end_known=total_steps is not None)
    last = begin + math.floor((len(rates) - 1 - schedule.calls) * each) + 1
    last = last if total_steps is None else min(last, total_steps)
    if last <= step + 1:
        raise UnforeseenError("it has come to its end")

    def rate(at: int) -> float:
        call = schedule.calls + math.floor((at - begin - 1) / each + SAME)
        return rates[min(max(call, 0), len(rates) - 1)]

    return RatePlan.sampled(rate, step, last, source)


def _simulated(schedule: Schedule, calls: int, *, is_end_known: bool) -> list[float]:
    """The rates after 0, 1, ... calls, up to so many or to where the schedule ends."""
    if calls > MOST_CALLS:
        raise UnforeseenError(f"it would have to be followed over {calls:,} of its steps")
    if draws(schedule.twin):
        raise UnforeseenError(
            "it may draw on an iterator or on random numbers, which a look ahead would use up"
        )
    rates: list[float] = []
    peak = 0.0
    for call, rate in enumerate(islice(_steps(twin_of(schedule.twin)), calls + 1)):
        _check(schedule, call, rate)
        if not is_end_known and call > schedule.calls and rates[-1] < SPENT * peak and rate >= rates[-1]:
            return rates
        rates.append(rate)
        peak = max(peak, rate)
    if len(rates) <= schedule.calls:
        raise UnforeseenError("its copy came to an end before it did")
    if not is_end_known and len(rates) > calls and rates[-1] >= SPENT * peak:
        raise UnforeseenError("it does not come to zero, and how long the run will be is not known")
    return rates


def _steps(twin: Any) -> Iterator[float]:
    """The rates that a scheduler sets, until it refuses to go on or leads under zero."""
    while True:
        rate = rate_of(twin)
        if rate is None or not math.isfinite(rate):
            raise UnforeseenError("its rates are no plain numbers")
        if rate < 0.0:
            return
        yield rate
        try:
            twin.step()
        except ValueError:
            return


def _check(schedule: Schedule, call: int, rate: float) -> None:
    if call not in schedule.marks:
        return
    seen = schedule.marks[call]
    if seen is None or not math.isclose(seen, rate, rel_tol=SAME, abs_tol=1e-30):
        raise UnforeseenError(f"its copy sets {rate:.6g} in its step {call:,} where it set {seen}")
