"""Destinations of the metrics during a run: experiment trackers and functions of the user.

No tracker is imported here: the methods of an object decide how it is called. To add a kind of tracker, add a class and
its row in ``SHAPES``.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from profiler.clock import MONOTONIC, Clock
from profiler.errors import UsageError
from profiler.units import NANOSECONDS_PER_SECOND, format_seconds

PERIOD_SECONDS = 10.0
"""Shortest time between two calls of a destination."""
_SLOW_SECONDS, _SLOW_PERIOD_SECONDS = 1.0, 60.0
_LONGEST_SECONDS = 10.0
STEP_KEY = "energy/step"

Values = Mapping[str, float]


class LogMetrics:
    """Tracker with ``log_metrics(values, step=)``: Comet, Lightning's loggers.

    Args:
        target: The user's object.
    """

    def __init__(self, target: Any) -> None:
        self.target = target

    def send(self, values: Values, step: int) -> None:
        """Log the values on the tracker's current run."""
        self.target.log_metrics(dict(values), step=step)

    def flush(self) -> None:
        """Write buffered values; most trackers do it themselves."""

    def attach(self, path: Path) -> None:
        """Attach a file to the tracker's run, if it takes files."""
        if self.takes_files:
            self.target.log_artifact(str(path))

    @property
    def takes_files(self) -> bool:
        """True if files can be attached."""
        return callable(getattr(self.target, "log_artifact", None))


class Log(LogMetrics):
    """Tracker with ``log(values, step=)``: trackio, SwanLab, loggers of the user."""

    def send(self, values: Values, step: int) -> None:
        """Log the values at this step."""
        self.target.log(dict(values), step=step)


class WandB(LogMetrics):
    """Run of Weights & Biases, which drops values whose step is lower than an earlier one.

    The values join the row that the user's next call completes, without a step and without completing it, so that no
    step of the user becomes an earlier one. Their own axis is ``energy/step``.
    """

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self._defined: set[str] = set()

    def send(self, values: Values, step: int) -> None:
        """Add the values to the row that is open."""
        for name in sorted(values.keys() - self._defined):
            self.target.define_metric(name, step_metric=STEP_KEY)
            self._defined.add(name)
        self.target.log({**values, STEP_KEY: step}, commit=False)


class MLflow(LogMetrics):
    """The ``mlflow`` module, which would begin a run of its own if none is active."""

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self._run_id: str | None = None

    def send(self, values: Values, step: int) -> None:
        """Log to the active run, or to the one that was active last; wait for the first one."""
        active = self.target.active_run()
        self._run_id = self._run_id if active is None else active.info.run_id
        if self._run_id is not None:
            self.target.log_metrics(dict(values), step=step, run_id=self._run_id)

    def flush(self) -> None:
        """Check that there was a run to log to.

        Raises:
            UsageError: There was none.
        """
        if self._run_id is None:
            raise UsageError("no MLflow run was active; call mlflow.start_run() before the profiler ends")

    def attach(self, path: Path) -> None:
        """Attach a file to the run."""
        self.target.log_artifact(str(path), run_id=self._run_id)


class AddScalar(LogMetrics):
    """Writer with ``add_scalar(tag, value, step)``: TensorBoard."""

    def send(self, values: Values, step: int) -> None:
        """Write each value under its tag."""
        for name, value in values.items():
            self.target.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write the buffered values, for users who do not close their writer."""
        flush = getattr(self.target, "flush", None)
        if callable(flush):
            flush()


class Trackers(LogMetrics):
    """Group of trackers: ``accelerate.Accelerator``, whose trackers exist only after ``init_trackers()``."""

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self._members: dict[int, LogMetrics] = {}

    def send(self, values: Values, step: int) -> None:
        """Log to each tracker; to a run of Weights & Biases itself, because the group would set its step."""
        for tracker in self.target.trackers:
            if id(tracker) not in self._members:
                raw = getattr(tracker, "tracker", None)
                self._members[id(tracker)] = WandB(raw) if hasattr(raw, "define_metric") else Log(tracker)
            self._members[id(tracker)].send(values, step)

    @property
    def takes_files(self) -> bool:
        """False: the trackers of a group take files in different ways."""
        return False


class Function(LogMetrics):
    """Function of the values and the step."""

    def send(self, values: Values, step: int) -> None:
        """Call the function."""
        self.target(dict(values), step)


SHAPES: tuple[tuple[tuple[str, ...], type[LogMetrics]], ...] = (
    (("define_metric", "log"), WandB),
    (("active_run", "log_metrics"), MLflow),
    (("trackers", "log"), Trackers),
    (("log_metrics",), LogMetrics),
    (("log",), Log),
    (("add_scalar",), AddScalar),
    (("__call__",), Function),
)
"""Kinds of destinations by the attributes that identify them; the first match decides."""


class _Destination:
    """A destination and its schedule."""

    def __init__(self, target: object) -> None:
        self.name = getattr(target, "__name__", None) or type(target).__name__
        self.sink = _sink_for(target)
        self.next_ns = 0
        self.is_dropped = False


def _sink_for(target: object) -> LogMetrics:
    if isinstance(target, type):
        raise UsageError(f"log_to= needs an object; {target.__name__} is a class, so create one of it.")
    for attributes, shape in SHAPES:
        if all(hasattr(target, name) for name in attributes):
            return shape(target)
    raise UsageError(
        f"log_to= has no use for {target!r:.100}: it needs log_metrics(), log(), add_scalar() or to be a function of "
        "a dictionary and a step."
    )


class Sinks:
    """Calls the destinations on the training's thread, at most every ten seconds each.

    A destination that takes over one second is called at most once per minute; one that takes over ten, or raises, is
    dropped with a warning.

    Args:
        log_to: One destination or a list of them.
        clock: Source of the time.

    Attributes:
        calls: Number of calls of all destinations.
        seconds: Time that they took.

    Raises:
        UsageError: A destination has no method that takes metrics.
    """

    def __init__(self, log_to: object, clock: Clock = MONOTONIC) -> None:
        targets = log_to if isinstance(log_to, list | tuple) else [log_to]
        self._destinations = [_Destination(target) for target in targets]
        self._clock = clock
        self.calls = 0
        self.seconds = 0.0
        self.begin()

    def begin(self) -> None:
        """Start the period of every destination now."""
        now_ns = self._clock.now_ns()
        for one in self._destinations:
            one.next_ns = now_ns + round(PERIOD_SECONDS * NANOSECONDS_PER_SECOND)

    @property
    def is_due(self) -> bool:
        """True if a destination may be called again. For any thread."""
        now_ns = self._clock.now_ns()
        return any(not one.is_dropped and one.next_ns <= now_ns for one in self._destinations)

    @property
    def take_files(self) -> bool:
        """True if a destination takes files."""
        return any(not one.is_dropped and one.sink.takes_files for one in self._destinations)

    def send(self, values: Values, step: int) -> list[str]:
        """Send the values to the destinations that are due; return a warning about each that is dropped."""
        now_ns = self._clock.now_ns()
        failures: list[str] = []
        for one in self._destinations:
            if not one.is_dropped and one.next_ns <= now_ns and values:
                with self._timed(one, failures):
                    one.sink.send(values, step)
        return failures

    def finish(self, values: Values, step: int, files: Iterable[Path]) -> list[str]:
        """Send the last values and attach the files, due or not; return warnings like :meth:`send`."""
        paths = tuple(files)
        failures: list[str] = []
        for one in self._destinations:
            if not one.is_dropped:
                with self._timed(one, failures):
                    if values:
                        one.sink.send(values, step)
                    one.sink.flush()
                    for path in paths if one.sink.takes_files else ():
                        one.sink.attach(path)
        return failures

    @contextmanager
    def _timed(self, one: _Destination, failures: list[str]) -> Iterator[None]:
        """Measure the calls of a destination, and drop it if they fail or take too long."""
        state = random.getstate()  # some trackers draw from it, and the training's numbers must not change
        begun_ns = self._clock.now_ns()
        failure = ""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - becomes a warning, and the training continues
            failure = f"failed ({type(error).__name__}: {error!s:.500})"
        finally:
            random.setstate(state)
        end_ns = self._clock.now_ns()
        seconds = (end_ns - begun_ns) / NANOSECONDS_PER_SECOND
        self.calls += 1
        self.seconds += seconds
        if seconds > _LONGEST_SECONDS and not failure:
            failure = f"blocked the training for {format_seconds(seconds)}"
        period = _SLOW_PERIOD_SECONDS if seconds > _SLOW_SECONDS else PERIOD_SECONDS
        one.next_ns = end_ns + round(period * NANOSECONDS_PER_SECOND)
        if failure:
            one.is_dropped = True
            failures.append(
                f"log_to={one.name} {failure} and gets no further values; the record of the run is complete"
            )
