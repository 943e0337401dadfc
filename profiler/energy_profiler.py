"""The front door: ``with EnergyProfiler():`` around a training loop."""

import atexit
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar

from profiler.ending import end_by_interrupt, print_report, say, status_of
from profiler.errors import UsageError
from profiler.forecast.rates import RateTrace
from profiler.goals import Goals
from profiler.launch import open_session, require_torch
from profiler.live.view import LiveView
from profiler.options import Options, resume_point
from profiler.records import Status
from profiler.units import format_joules

if TYPE_CHECKING:
    from profiler.rate_plan import Planned
    from profiler.recording.session import Session
    from profiler.rundir.reader import Run
    from profiler.sensors.base import Sensor

_P = ParamSpec("_P")
_R = TypeVar("_R")


class EnergyProfiler:
    """Records the joules, steps and losses of an unmodified PyTorch training loop, and forecasts what lower loss costs.

    Use it as a context manager, as a decorator, or by :meth:`start` and :meth:`stop`. It may be nested. What fails in
    it is said once on stderr and never raised into the loop.

    Args:
        name: A name for the run, shown in reports.
        run_dir: Where to write; by default a new directory under ``energy_runs``. One that already holds a run, or
            any file of a run's names, is left alone: a numbered one beside it is used.
        sample_period_seconds: Time between samples; None chooses it.
        sensors: Read these instead of what is found on the machine. They stay open: they are the caller's.
        grid_gco2e_per_kwh: Carbon intensity of the electricity, in grams of CO2 equivalent a kWh.
        country: Take that from codecarbon's offline table: a code of three letters or an English name.
        price_per_kwh: Money a kWh, in a currency of your own.
        pue: Power usage effectiveness of the building. It enters kWh, gCO2e and money, and never joules.
        total_steps: Optimizer steps that the whole run will take, so that forecasts know where it ends.
        planned_learning_rate: The learning rate over the whole run, in the unit of the optimizer's: a number, a rate
            for each step, or a function of the steps already done. Where it is not given and a torch scheduler is
            at work, what that one will do is worked out at the end.
        live: Whether to write one line on stderr every ten seconds.
        energy_budget: Joules that the run may take. When they are used, or ``target_loss`` will not be reached
            within them, it is said once and :attr:`should_stop` becomes true; nothing else stops the training.
        target_loss: The loss that forecasts while training are made for.
        on_budget: ``"warn"``, or something to call with that sentence at the end of the next step, on the thread
            that made the step. What it raises is said and not raised into the loop.
        time_data_loading: Whether to time torch's data loaders and to see in them which passes are evaluations. False
            leaves their iterators alone.
        resume: The directory of an earlier run that this one goes on from, at its end; a checkpoint that came from
            :meth:`state_dict` says it better, to the step.

    Raises:
        UsageError: An argument that cannot mean anything.
        MissingDependencyError: At the start, when torch is not installed.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        sample_period_seconds: float | None = None,
        sensors: "Sequence[Sensor] | None" = None,
        grid_gco2e_per_kwh: float | None = None,
        country: str | None = None,
        price_per_kwh: float | None = None,
        pue: float = 1.0,
        total_steps: int | None = None,
        planned_learning_rate: "Planned | None" = None,
        live: bool = False,
        energy_budget: float | None = None,
        target_loss: float | None = None,
        on_budget: "Callable[[str], object] | Literal['warn']" = "warn",
        time_data_loading: bool = True,
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        self._options = Options(
            name=name,
            run_dir=run_dir,
            sample_period_seconds=sample_period_seconds,
            sensors=sensors,
            grid_gco2e_per_kwh=grid_gco2e_per_kwh,
            country=country,
            price_per_kwh=price_per_kwh,
            pue=pue,
            total_steps=total_steps,
            planned_learning_rate=planned_learning_rate,
            live=live,
            energy_budget=energy_budget,
            target_loss=target_loss,
            on_budget=on_budget,
            time_data_loading=time_data_loading,
            resume=resume,
        )
        self._resume_point: Mapping[str, Any] | None = None
        self._session: Session | None = None
        self._rates = RateTrace()
        self._live = self._new_live()
        self._run: Run | None = None
        self._error_before: BaseException | None = None

    # -- start and stop -------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to record; the window starts when this returns.

        Raises:
            MissingDependencyError: torch is not installed.
            UsageError: It is recording already.
        """
        if self.is_recording:
            raise UsageError("this profiler is already recording; nest another EnergyProfiler instead.")
        require_torch()
        self._rates, self._run = RateTrace(self._options.plan()), None
        self._live = self._new_live()
        begun = time.monotonic()
        try:
            self._session = open_session(
                self._options, observe=self._live.observe, advance=self._live.advance, say=say
            )
            self._begin(self._session, begun)
        except Exception as error:  # noqa: BLE001 - the training matters more than its record
            say(f"cannot record ({type(error).__name__}: {error}). Training goes on without it")
            if self._session is not None:
                self._session.abandon()
            self._live.close()
            self._session = None
        return self

    def _begin(self, session: "Session", begun: float) -> None:
        session.prepare()
        self._resume(session)
        self._live.speaks &= session.place.identity.speaks
        if self._options.energy_budget is not None and not session.billable:
            session.notice("energy_budget= has no effect, since nothing here can be metered")
        if session.place.identity.speaks:
            domains = [f"{domain.name} ({domain.provenance})" for domain in session.billable]
            say(
                f"recording {', '.join(domains) or 'steps only: nothing here can be metered'} -> {session.run_path}"
            )
        self._error_before = getattr(sys, "last_value", None)
        atexit.register(self._at_exit)
        session.start_seconds = time.monotonic() - begun
        session.begin()
        _RUNNING.append(self)

    def stop(self) -> None:
        """End the recording and print its report on stderr. Safe to call twice."""
        self._stop(Status.COMPLETED)

    def _stop(self, status: Status) -> None:
        atexit.unregister(self._at_exit)
        if self in _RUNNING:
            _RUNNING.remove(self)
        session = self._session
        if session is None or session.status is not Status.RUNNING or session.is_fork:
            return
        session.stop(status)
        self._live.close()
        if session.place.identity.speaks:
            self._rates.plan = session.plan
            print_report(session, self._live.curve.bins, self._rates, self._options)

    def _at_exit(self) -> None:
        """End a recording that was never stopped, because the script forgot or because an exception ended it."""
        error = getattr(sys, "last_value", None)
        error = None if error is self._error_before else error
        self._stop(status_of(error))
        if isinstance(error, KeyboardInterrupt):
            end_by_interrupt()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop(status_of(error))

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Decorate a function: each call of it is recorded as a run."""

        @functools.wraps(function)
        def recorded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            again = type(self)()
            again._options = self._options  # noqa: SLF001 - the same class
            with again:
                return function(*args, **kwargs)

        return recorded

    # -- what hooks cannot see ------------------------------------------------------------------------------------

    def step(self, *, loss: Any = None) -> None:
        """End a step here, for updates that no hook sees; after a step that was seen, only hand its loss over.

        Args:
            loss: A number or a one-element tensor; on a GPU it is read without waiting for it.
        """
        if self._session is not None:
            self._session.manual_step(loss)

    def log(self, **values: Any) -> None:
        """Record values of your own, such as ``val_error=0.12``: numbers or one-element tensors."""
        if self._session is not None:
            for name, value in values.items():
                self._session.log(name, value)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name what happens inside: steps get it as their phase, and time outside steps becomes a span of that kind."""
        recorded = self._session is not None and self._session.enter_phase(str(name))
        try:
            yield
        finally:
            if recorded and self._session is not None:
                self._session.leave_phase()

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, as plain values to be saved with a checkpoint; empty before the start."""
        return {} if self._session is None else self._session.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: joules carry on, and steps that are done again count as lost work.

        Call it before the start or before the first step, on every rank.

        Raises:
            UsageError: It is not what :meth:`state_dict` returned.
        """
        self._resume_point = resume_point(state)
        if self.is_recording and self._session is not None:
            self._resume(self._session)

    def _resume(self, session: "Session") -> None:
        if self._resume_point is not None:
            session.resume(self._resume_point)
            self._rates.before = int(self._resume_point.get("step") or 0)
            self._live.earlier_joules = self._resume_point.get("joules") or 0.0

    # -- what is known while it goes on ---------------------------------------------------------------------------

    @property
    def is_recording(self) -> bool:
        """Whether it has started and not stopped, in this process."""
        session = self._session
        return session is not None and session.status is Status.RUNNING and not session.is_fork

    @property
    def goals(self) -> Goals:
        """What was asked of the run."""
        return self._options.goals()

    @property
    def should_stop(self) -> bool:
        """Whether the energy budget is used, or ``target_loss`` will not be reached within it; for loops that ask.

        Each rank answers for what it records itself: let the ranks agree before one of them leaves the loop.
        """
        return self._live.should_stop

    def metrics(self) -> dict[str, float]:
        """Where the run stands, with the keys of experiment trackers, such as ``energy/total_joules``.

        Cheap enough for every step. What is not known is absent: all of it before the start, forecasts until some
        seconds after they were first asked for.
        """
        return self._live.metrics()

    def _new_live(self) -> LiveView:
        options = self._options
        return LiveView(
            rates=self._rates,
            speaks=options.live,
            goals=self.goals,
            prices=options.prices(),
            alarm=self._alarm,
        )

    def _alarm(self, sentence: str) -> None:
        session, on_budget = self._session, self._options.on_budget
        if session is not None:
            session.notice(sentence)
            if callable(on_budget):
                session.next_step.call(lambda: on_budget(sentence))

    def __repr__(self) -> str:
        session, latest = self._session, self._live.latest
        if session is None:
            return "EnergyProfiler(not started)"
        done = [f"{latest.steps:,} steps"] if latest is not None else []
        if latest is not None and latest.total_joules is not None:
            done.append(format_joules(latest.total_joules))
        return f"EnergyProfiler({', '.join([session.status.value, *done, str(session.path)])})"

    # -- what came of it ------------------------------------------------------------------------------------------

    @property
    def run(self) -> "Run":
        """The recorded run, as :func:`profiler.load_run` reads it; usable while it still goes on.

        On the first of several processes it is, at the end, the run of all of them.

        Raises:
            RunError: Its directory cannot be read.
            UsageError: Nothing was recorded.
        """
        from profiler.rundir.reader import load_run

        if self._session is None:
            raise UsageError("nothing was recorded: the profiler was never started, or could not start.")
        if self._session.status is Status.RUNNING:
            return load_run(self._session.path)
        if self._run is None:
            self._run = load_run(self._session.run_path)
        return self._run


_RUNNING: list[EnergyProfiler] = []


def running() -> EnergyProfiler | None:
    """The profiler that was started last and still records in this process; None when none does."""
    return next((profiler for profiler in reversed(_RUNNING) if profiler.is_recording), None)
