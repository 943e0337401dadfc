"""The front door: ``with EnergyProfiler():`` around a training loop."""

import atexit
import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, ParamSpec, Self, TypeVar

from profiler._compat import shown_path
from profiler.config import Options
from profiler.dialogue import Dialogue
from profiler.ending import end_by_interrupt, print_report, say, status_of
from profiler.errors import UsageError
from profiler.launch import open_session, require_torch
from profiler.records import Status

if TYPE_CHECKING:
    from profiler.lr_plan import Planned
    from profiler.recording.session import Session
    from profiler.run import Run
    from profiler.sensors.base import Sensor

_P = ParamSpec("_P")
_R = TypeVar("_R")


class EnergyProfiler(Dialogue):
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
            that made the step. What it raises is said and not raised into the loop, but for ``SystemExit`` and the
            like, which end the training.
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
        options = Options(
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
        super().__init__(options)
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
        self._run, self._live = None, self._new_live()
        self._live.curve.rates.plan = self._options.plan()
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
            what = ", ".join(domains) or "steps only: nothing here can be metered"
            where = f" -> {shown_path(session.run_path)}" if session.has_record else ", in memory only"
            say(f"recording {what}{where}")
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
            self._live.curve.rates.plan = session.plan
            print_report(session, self._live.curve, self._options)

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

    # -- what came of it ------------------------------------------------------------------------------------------

    @property
    def run(self) -> "Run":
        """The recorded run, as :func:`profiler.load_run` reads it; usable while it still goes on.

        On the first of several processes it is, at the end, the run of all of them.

        Raises:
            RunError: Its directory cannot be read.
            UsageError: Nothing was recorded.
        """
        from profiler.run import load_run

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
