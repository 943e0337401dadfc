"""Monitor of a running run: live curve, metrics, status line, and the alarm of the energy budget."""

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler._compat import write_message
from profiler.config import ProfilerConfig
from profiler.monitoring import metrics
from profiler.monitoring.earlier_gains import EarlierGains
from profiler.monitoring.live_curve import LiveCurve
from profiler.monitoring.live_forecast import LiveForecast, forecast_run
from profiler.monitoring.sinks import Sinks
from profiler.records import Progress
from profiler.storage.schema import Columns
from profiler.units import format_joules, significant

if TYPE_CHECKING:
    from profiler.recording.session import Session

PERIOD_SECONDS = 10.0
"""Time between status lines, and the shortest time between fits."""

_FIT_SHARE = 0.001
"""Share of one core that fits may take: one of 60 ms, backtest included, per minute.

A training on the same two cores was measured to lose twice the time of a fit. What is read once per run is not counted.
"""
_GROWTH = 1.02
"""A curve that has not grown by this factor in joules is not fitted again."""
_MEAN_SECONDS = 10.0
_JOIN_SECONDS = 2.0
_DOUBTS = 2
"""Consecutive fits that must find the target out of reach."""


NOTHING = Progress(seconds=0.0, steps=0, step_joules=0.0, total_joules=0.0, modelled_joules=0.0, watts={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Progress at one moment; replaced as a whole, so that any thread may read it.

    Attributes:
        now: The progress.
        before: The progress some seconds earlier.
        level: Smoothed loss; None before the first one.
        step_end_joules: Energy at the end of the last step, from which prices count; None before the first one.
    """

    now: Progress
    before: Progress
    level: float | None
    step_end_joules: float | None


class Monitor:
    """Progress of one recording while it runs.

    The sampler's thread adds rows and progress; a thread of the monitor fits the curve and writes the status line. That
    thread starts when a status line, a budget or :meth:`metrics` needs it.

    Args:
        config: Configuration of the run.
        sinks: Destinations of the metrics.

    Attributes:
        curve: Loss and learning rate over joules.
        sinks: As given; None to log nothing.
        prints_status: Whether a status line is written.
        earlier_joules: Energy of the runs that this one continues, in joules, which counts towards the energy budget.
        should_stop: Whether the budget is used or the target is out of reach.
    """

    def __init__(
        self,
        config: ProfilerConfig,
        sinks: Sinks | None = None,
    ) -> None:
        self.sinks = sinks
        self._session: Session | None = None
        self.curve = LiveCurve(config.plan, config.total_steps)
        self.should_stop = False
        self.prints_status = config.live
        self.earlier_joules = 0.0
        self._budget, self._prices, self._on_budget = config.budget, config.prices, config.on_budget
        self._needs_forecast = not config.budget.is_empty or sinks is not None
        self._past: deque[Progress] = deque()
        self._snapshot: Snapshot | None = None
        self._forecast: LiveForecast | None = None
        self._earlier: EarlierGains | None = None
        self._forecast_seconds = 0.0
        self._doubts = 0
        self._next_fit = 0.0
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def attach(self, session: "Session") -> None:
        """Connect the recording that takes warnings, and runs the user's functions between two steps."""
        self._session = session

    # -- the training thread --------------------------------------------------------------------------------------

    def log(self) -> None:
        """Send the metrics to the destinations that are due."""
        session = self._session
        if self.sinks is not None and session is not None and session.is_recording:
            for failure in self.sinks.send(self.metrics(), self.global_step):
                session.warn(failure)

    # -- any thread -----------------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Return the known values; the first call also requests forecasts, which follow with the next fit."""
        self._needs_forecast = True
        snapshot = self._snapshot
        if snapshot is None:
            return {}
        return metrics.flatten(
            snapshot.now,
            snapshot.before,
            level=snapshot.level,
            forecast=self._forecast,
            budget=self._budget,
            step_end_joules=snapshot.step_end_joules,
            earlier_joules=self.earlier_joules,
            prices=self._prices,
        )

    @property
    def latest(self) -> Progress | None:
        """Latest progress; None before the first reading."""
        return None if self._snapshot is None else self._snapshot.now

    @property
    def global_step(self) -> int:
        """Steps up to the latest progress, those of resumed runs included."""
        return self.curve.rates.before + (0 if self._snapshot is None else self._snapshot.now.steps)

    def overhead(self) -> dict[str, float]:
        """Return the number of calls of the destinations and the seconds that they took."""
        return (
            {} if self.sinks is None else {"log_calls": self.sinks.calls, "log_seconds": self.sinks.seconds}
        )

    @property
    def is_closed(self) -> bool:
        """True after the end of the run."""
        return self._closed.is_set()

    def close(self) -> None:
        """End the thread; wait up to two seconds for a fit under way."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    # -- the sampler's thread -------------------------------------------------------------------------------------

    def observe(self, rows: Columns) -> None:
        """Add finished rows of steps."""
        self.curve.add_rows(rows)

    def level(self) -> float | None:
        """Return the mean loss over the last twelfth of the energy; None before the first loss."""
        return self.curve.level()

    def nonfinite_end(self) -> int:
        """Return the number of losses that are not finite since the last finite one."""
        return self.curve.bins.facts.tail_nonfinite

    def advance(self, now: Progress) -> None:
        """Record the progress."""
        past = self._past
        past.append(now)
        while now.seconds - past[0].seconds > _MEAN_SECONDS:
            past.popleft()
        last = self.curve.rates.last
        self._snapshot = Snapshot(
            now=now,
            before=past[0],
            level=self.curve.level(),
            step_end_joules=last.joules if last.step else None,
        )
        limit = self._budget.energy_joules
        if limit is not None and (now.total_joules or 0.0) + self.earlier_joules >= limit:
            self._trip(f"the energy budget of {format_joules(limit)} is used")
        if self._session is not None and self.sinks is not None and self.sinks.is_due:
            self._session.call_after_step("log_to", self.log)
        if self._is_needed and self._thread is None and not self._closed.is_set():
            self._start()

    @property
    def _is_needed(self) -> bool:
        return self._needs_forecast or self.prints_status or self._can_plan

    @property
    def _can_plan(self) -> bool:
        return self._session is not None and self._session.can_plan

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="energy-profiler-live", daemon=True)
        with suppress(RuntimeError):  # some Pythons start no thread while the interpreter ends
            thread.start()
            self._thread = thread

    # -- its own thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._watch()
        except Exception as error:  # noqa: BLE001 - the recording continues without it
            write_message(
                f"live monitoring failed ({type(error).__name__}: {error}); the recording continues"
            )

    def _watch(self) -> None:
        from profiler.monitoring.status_line import format_status, line_prefix

        before = NOTHING
        while not self._closed.wait(PERIOD_SECONDS):
            self._plan()
            if self._needs_forecast or self.prints_status:
                self._fit()
            snapshot = self._snapshot
            if self.prints_status and snapshot is not None:
                age = snapshot.now.seconds - self._forecast_seconds
                status = format_status(
                    snapshot.now,
                    before,
                    level=snapshot.level,
                    forecast=self._forecast,
                    step_end_joules=snapshot.step_end_joules,
                    age_seconds=age if age >= 1.0 else None,
                )
                write_message(status, lead=line_prefix())
                before = before if snapshot.now.total_joules is None else snapshot.now

    def _plan(self) -> None:
        """Simulate the scheduler, for the forecasts here and for readers of the run directory."""
        if self._session is not None and self._can_plan:
            self._session.update_plan(self._closed)
            self.curve.plan(self._session.plan)

    def _fit(self) -> None:
        last, joules = self._forecast, self.curve.bins.last_joules
        if time.monotonic() < self._next_fit or (last and joules < _GROWTH * last.joules):
            return
        import profiler.forecasting.fit  # noqa: F401 - so that the first fit is timed without its imports
        from profiler.forecasting.states import takes_turns

        begun, earlier = time.thread_time(), self._earlier_gains()
        read = 0.0 if earlier is None else earlier.seconds
        bins, rates = self.curve.copy()
        snapshot = self._snapshot
        self._forecast_seconds = 0.0 if snapshot is None else snapshot.now.seconds
        alternating = snapshot is not None and takes_turns(snapshot.now.alternating_steps, snapshot.now.steps)
        budget = self._budget.after(self.earlier_joules)
        self._forecast = forecast_run(
            bins,
            rates,
            budget,
            alternating=alternating,
            reinforced=snapshot is not None and bool(snapshot.now.libraries),
            convolutional=snapshot is not None and snapshot.now.convolutional,
            earlier=earlier,
        )
        spent = time.thread_time() - begun - (0.0 if earlier is None else earlier.seconds - read)
        self._next_fit = time.monotonic() + spent / _FIT_SHARE
        self._check_target()

    def _earlier_gains(self) -> EarlierGains | None:
        session = self._session
        # A record of one rank has no task in common with the merged runs beside its job.
        if self._earlier is None and session is not None and session.has_record:
            is_rank = session.place.identity.is_distributed
            self._earlier = None if is_rank else EarlierGains(session.path)
        return self._earlier

    def _check_target(self) -> None:
        forecast, level = self._forecast, None if self._snapshot is None else self._snapshot.level
        is_out = (
            forecast is not None and not forecast.is_reached(level) and forecast.is_out_of_reach(self._budget)
        )
        self._doubts = self._doubts + 1 if is_out else 0
        if self._doubts >= _DOUBTS:
            target = f"loss {significant(self._budget.target_loss or 0.0, 4)}"
            limit = self._budget.energy_joules
            within = f" within {format_joules(limit)}" if limit is not None else ""
            self._trip(f"{target} will not be reached{within}, with at least 95 % probability")

    def _trip(self, message: str) -> None:
        if self.should_stop:
            return
        self.should_stop = True
        session, on_budget = self._session, self._on_budget
        if session is not None:
            session.warn(message)
            if callable(on_budget):
                session.call_after_step("on_budget", lambda: on_budget(message))
