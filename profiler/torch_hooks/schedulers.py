"""Learning-rate schedulers in use, and how often they step."""

import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from profiler.torch_hooks.scheduler_copy import copy_scheduler, current_rate, is_copy
from profiler.torch_hooks.step_detector import StepDetector, StepDetectors


class TrackedScheduler:
    """A scheduler that has made a step.

    Attributes:
        scheduler: Weak reference to it.
        copy: Copy of it, made before the first step that was seen.
        latest: Number of its steps, and the learning rate that the last of them set; None if it is not a plain number.
        checkpoints: Rates that steps 1, 2, 4, 8, ... set, by step.
        has_arguments: Whether its ``step`` was ever called with arguments.
        detector: Step detector of its thread.
        first_step: Training steps of that thread at the first call.
        first_calls: Calls before the next training step.
        last_step: Training steps of that thread at the last call.
    """

    __slots__ = (
        "checkpoints",
        "copy",
        "detector",
        "first_calls",
        "first_step",
        "has_arguments",
        "last_step",
        "latest",
        "scheduler",
    )

    def __init__(self, scheduler: Any, detector: StepDetector | None) -> None:
        self.scheduler = weakref.ref(scheduler)
        self.copy = copy_scheduler(scheduler)
        recorded = None if detector is None else detector.rate_group_of(scheduler.optimizer)
        if recorded is not None:  # groups may have been added since it was chosen
            self.copy.optimizer.rate_group = recorded
        self.first_calls = self.first_step = self.last_step = 0
        # One object, because another thread may read it during the training.
        self.latest: tuple[int, float | None] = (0, None)
        self.checkpoints: dict[int, float | None] = {}
        self.has_arguments = False
        self.detector: StepDetector | None = None

    def on_step(self, scheduler: Any, detector: StepDetector | None) -> None:
        """Account for a step of the scheduler."""
        calls, rate = self.latest[0] + 1, current_rate(scheduler, self.copy.optimizer.rate_group)
        self.latest = (calls, rate)
        if detector is not None:
            self.detector, self.last_step = detector, detector.steps
        if calls == 1:
            self.first_step = self.last_step
        if self.last_step == self.first_step:
            self.first_calls = calls
        if not calls & (calls - 1):  # a power of two
            self.checkpoints[calls] = rate

    def schedule(self) -> "Schedule":
        """Return its present state."""
        made, rate = self.latest
        steps, calls = self.last_step - self.first_step, made - self.first_calls
        return Schedule(
            copy=self.copy,
            calls=made,
            checkpoints={**self.checkpoints, made: rate},
            has_arguments=self.has_arguments,
            steps_per_call=steps / calls if calls > 0 else 0.0,
            steps_since=0 if self.detector is None else self.detector.steps - self.last_step,
        )

    @property
    def is_at_work(self) -> bool:
        """False for the scheduler of a training that has ended: it has missed steps at which it used to step."""
        known = self.schedule()
        return not known.steps_per_call or known.steps_since <= 2.0 * known.steps_per_call


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """State of a scheduler at some moment.

    Attributes:
        copy: Copy of it, made before the first step that was seen.
        calls: Number of its steps since then.
        checkpoints: Rates that some of them set, the last one included.
        has_arguments: Whether its ``step`` was ever called with arguments.
        steps_per_call: Training steps per step of the scheduler; 0 if unknown.
        steps_since: Training steps since its last one.
    """

    copy: Any
    calls: int
    checkpoints: dict[int, float | None]
    has_arguments: bool
    steps_per_call: float
    steps_since: int


class Schedulers:
    """All schedulers that step; a scheduler made of others counts as one."""

    def __init__(self, detectors: StepDetectors) -> None:
        self._detectors = detectors
        self._context = detectors.context
        self._thread = threading.local()
        self._tracked: dict[int, TrackedScheduler] = {}

    def reset(self) -> None:
        """Start a new recording."""
        self._tracked.clear()

    def _warn(self, error: Exception) -> None:
        self._context.scalars.warn(
            f"a scheduler of the learning rate cannot be followed ({type(error).__name__}: {error}): "
            "forecasts do not know what it will do"
        )

    def around_step(self, original: Any) -> Callable[..., Any]:
        """Return the wrapper of ``LRScheduler.step``, which counts the outermost calls."""
        thread, context = self._thread, self._context

        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if getattr(thread, "is_in_step", False) or context.emit is None:
                return original(scheduler, *args, **kwargs)
            tracked = self._find(scheduler, has_arguments=bool(args or kwargs))
            thread.is_in_step = True
            try:
                result = original(scheduler, *args, **kwargs)
            finally:
                thread.is_in_step = False
            if tracked is not None:
                try:
                    tracked.on_step(scheduler, self._detectors.current())
                except Exception as error:  # noqa: BLE001 - the training must not notice
                    self._warn(error)
            return result

        return step

    def _find(self, scheduler: Any, *, has_arguments: bool) -> TrackedScheduler | None:
        try:
            tracked = self._tracked.get(id(scheduler))
            if tracked is None or tracked.scheduler() is not scheduler:
                if _is_under_construction(scheduler) or is_copy(scheduler):
                    return None
                tracked = self._track(scheduler)
            tracked.has_arguments |= has_arguments
        except Exception as error:  # noqa: BLE001 - the training must not notice
            self._warn(error)
            return None
        return tracked

    def _track(self, scheduler: Any) -> TrackedScheduler:
        self._tracked = {key: one for key, one in self._tracked.items() if one.scheduler() is not None}
        tracked = self._tracked[id(scheduler)] = TrackedScheduler(scheduler, self._detectors.current())
        return tracked

    @property
    def is_empty(self) -> bool:
        """True before the first step of a scheduler."""
        return not self._tracked

    def most_active(self) -> Schedule | None:
        """Return the state of the scheduler that stepped most often, the first of equals; None if there is none.

        Where several trainings follow each other, only the schedulers of the last one count.
        """
        try:
            tracked = list(self._tracked.values())
            tracked = [one for one in tracked if one.is_at_work] or tracked
            return max(tracked, key=lambda one: one.latest[0]).schedule() if tracked else None
        except Exception as error:  # noqa: BLE001 - another thread may still be training
            self._warn(error)
            return None


def _is_under_construction(scheduler: Any) -> bool:
    """Return whether the call is the initial step that a scheduler's constructor makes."""
    attributes = scheduler.__dict__
    return "_last_lr" not in attributes or bool(attributes.get("_is_initial"))


def scheduler_classes() -> list[type[Any]]:
    """Return every scheduler class that exists now."""
    base = sys.modules["torch.optim.lr_scheduler"].LRScheduler
    found = [base]
    for one in found:
        found += [child for child in one.__subclasses__() if child not in found]
    return found
