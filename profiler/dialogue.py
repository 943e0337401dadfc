"""What a training and its profiler say to each other while it goes on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from profiler.budget import Goals
from profiler.config import Options, resume_point
from profiler.forecasting.lr_trace import RateTrace
from profiler.monitoring.monitor import LiveView
from profiler.records import Status
from profiler.units import format_joules

if TYPE_CHECKING:
    from profiler.recording.session import Session


class Dialogue:
    """The half of :class:`profiler.EnergyProfiler` that is of use between its start and its end.

    Args:
        options: What the user says of the run.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._resume_point: Mapping[str, Any] | None = None
        self._session: Session | None = None
        self._live = self._new_live()

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
        resumed = session.resumed or {}
        self._live.curve.rates.before = int(resumed.get("step") or 0)
        self._live.earlier_joules = resumed.get("joules") or 0.0

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
            rates=RateTrace(),
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
