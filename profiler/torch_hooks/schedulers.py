"""Which schedulers of the learning rate are at work, and how often they step."""

import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profiler.torch_hooks.scheduler_copy import is_twin, rate_of, twin_of

if TYPE_CHECKING:
    from profiler.torch_hooks.step_detector import Loop


class Followed:
    """A scheduler that was seen to step.

    Attributes:
        twin: A copy of it, as it was before the first step that was seen.
        calls: Steps of it that were seen.
        rate: The learning rate that the last of them set; None when it is no plain number.
        marks: The rates that some of them set, by number.
        instructed: Whether it was ever told more than to step.
        loop: The loop of its thread.
        first_step: Training steps of that loop at the first call.
        first_calls: Calls until the next training step.
        last_step: The same at the last call.
        owner: The scheduler.
    """

    __slots__ = (
        "calls",
        "first_calls",
        "first_step",
        "instructed",
        "last_step",
        "loop",
        "marks",
        "owner",
        "rate",
        "twin",
    )

    def __init__(self, scheduler: Any) -> None:
        self.owner = weakref.ref(scheduler)
        self.twin = twin_of(scheduler)
        self.calls = self.first_calls = self.first_step = self.last_step = 0
        self.rate: float | None = None
        self.marks: dict[int, float | None] = {}
        self.instructed = False
        self.loop: Loop | None = None

    def count(self, scheduler: Any, loop: "Loop | None") -> None:
        """Take note of a step that it made."""
        self.calls += 1
        self.rate = rate_of(scheduler)
        if loop is not None:
            self.loop, self.last_step = loop, loop.steps
        if self.calls == 1:
            self.first_step = self.last_step
        if self.last_step == self.first_step:
            self.first_calls = self.calls
        if not self.calls & (self.calls - 1):
            self.marks[self.calls] = self.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How far a scheduler had come at some moment.

    Attributes:
        twin: A copy of it, as it was before the first step that was seen.
        calls: Steps of it since then.
        marks: The rates that some of them set, the last one included.
        instructed: Whether it was ever told more than to step.
        steps_per_call: Training steps between two of its own; 0 while unknown.
        steps_since: Training steps since its last.
    """

    twin: Any
    calls: int
    marks: dict[int, float | None]
    instructed: bool
    steps_per_call: float
    steps_since: int


class Schedulers:
    """Follows every scheduler of the learning rate that steps, also those made of others, as one.

    Args:
        loop: Returns the calling thread's loop.
        listens: Whether anybody records.
        notice: Takes what went wrong in following them.
    """

    def __init__(
        self,
        loop: "Callable[[], Loop | None]",
        listens: Callable[[], bool],
        notice: Callable[[str], object],
    ) -> None:
        self._loop = loop
        self._listens = listens
        self._notice = notice
        self._inside = threading.local()
        self._followed: dict[int, Followed] = {}

    def forget(self) -> None:
        """Start afresh."""
        self._followed.clear()

    def _fail(self, error: Exception) -> None:
        self._notice(
            f"a scheduler of the learning rate cannot be followed ({type(error).__name__}: {error}): "
            "forecasts do not know what it will do"
        )

    def around(self, original: Any) -> Callable[..., Any]:
        """Count the calls of ``LRScheduler.step``, but not those that a call makes itself."""
        inside = self._inside

        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if getattr(inside, "is_busy", False) or not self._listens():
                return original(scheduler, *args, **kwargs)
            followed = self._meet(scheduler, instructed=bool(args or kwargs))
            inside.is_busy = True
            try:
                result = original(scheduler, *args, **kwargs)
            finally:
                inside.is_busy = False
            if followed is not None:
                self._count(followed, scheduler)
            return result

        return step

    def _meet(self, scheduler: Any, *, instructed: bool) -> Followed | None:
        try:
            followed = self._followed.get(id(scheduler))
            if followed is None or followed.owner() is not scheduler:
                if _is_being_made(scheduler) or is_twin(scheduler):
                    return None
                followed = self._follow(scheduler)
            followed.instructed |= instructed
        except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
            self._fail(error)
            return None
        return followed

    def _follow(self, scheduler: Any) -> Followed:
        self._followed = {key: one for key, one in self._followed.items() if one.owner() is not None}
        followed = self._followed[id(scheduler)] = Followed(scheduler)
        return followed

    def _count(self, followed: Followed, scheduler: Any) -> None:
        try:
            followed.count(scheduler, self._loop())
        except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
            self._fail(error)

    def leading(self) -> Schedule | None:
        """How far the scheduler has come that stepped most often, the first of equals; None where none was seen."""
        try:
            known = list(self._followed.values())
            return _schedule(max(known, key=lambda followed: followed.calls)) if known else None
        except Exception as error:  # noqa: BLE001 - another thread may be training still
            self._fail(error)
            return None


def _schedule(one: Followed) -> Schedule:
    steps, calls = one.last_step - one.first_step, one.calls - one.first_calls
    return Schedule(
        twin=one.twin,
        calls=one.calls,
        marks={**one.marks, one.calls: one.rate},
        instructed=one.instructed,
        steps_per_call=steps / calls if calls else 0.0,
        steps_since=0 if one.loop is None else one.loop.steps - one.last_step,
    )


def _is_being_made(scheduler: Any) -> bool:
    """Whether its constructor, or that of one that is made of it, makes it take its first step."""
    known = scheduler.__dict__
    return "_last_lr" not in known or bool(known.get("_is_initial"))


def scheduler_classes() -> list[type[Any]]:
    """Every class of schedulers that exists by now."""
    base = sys.modules["torch.optim.lr_scheduler"].LRScheduler
    found = [base]
    for one in found:
        found += [child for child in one.__subclasses__() if child not in found]
    return found
