"""One recording from start to stop: what is read and hooked, and what happens when something fails."""

import time
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from profiler import lr_plan
from profiler._compat import at_fork_in_child
from profiler.distributed.layout import RunLayout
from profiler.lr_plan import RatePlan
from profiler.recording import checkpoint, metadata
from profiler.recording.annotations import Remarks
from profiler.recording.diagnostics import findings
from profiler.recording.meter import Meters
from profiler.recording.pipeline import Inbox, Recorder
from profiler.recording.progress import progress_of
from profiler.recording.sampler import GuardedSensor, Sampler
from profiler.recording.sampling_interval import Pace
from profiler.recording.step_callback import NextStep
from profiler.recording.warnings import Notices
from profiler.records import Domain, Progress, Status, Summary
from profiler.sensors.base import Found
from profiler.storage.schema import RESUMED, StepRow
from profiler.storage.writer import RunWriter
from profiler.torch_hooks import lr_simulation
from profiler.torch_hooks.manager import HookManager
from profiler.units import NANOSECONDS_PER_SECOND

_LIVE: "weakref.WeakSet[Session]" = weakref.WeakSet()


class Session:
    """Records from :meth:`start` to :meth:`stop`. Neither raises into the training, whatever fails.

    Args:
        place: Where it records, and who counts what it shares with other processes.
        name: The run's name.
        declared: What the user said of the run: sections of ``run.json``.
        found: The sensors, and why others were refused.
        owns_sensors: Whether to close them at the end.
        hooks: The process's hooks.
        period_seconds: Time between samples; None adapts it to the sensors.
        times_loading: Whether to hook into data loaders.
        observe: Called, on the sampler's thread, with each finished row of steps.
        advance: Called, there too, with where the run stands, and once more at its end.
        say: Called with each warning once.
    """

    def __init__(
        self,
        *,
        place: RunLayout,
        name: str,
        declared: Mapping[str, Any],
        found: Found,
        owns_sensors: bool,
        hooks: HookManager,
        period_seconds: float | None,
        times_loading: bool,
        observe: Callable[[StepRow], None],
        advance: Callable[[Progress], None],
        say: Callable[[str], None],
    ) -> None:
        self.place = place
        self.path = place.path
        self.status = Status.RUNNING
        self.notice = Notices(say if place.identity.is_main else lambda _: None)  # one process speaks for all
        self._advance = advance
        self.next_step = NextStep(hooks, self.notice)
        self._hooks, self._times_loading = hooks, times_loading
        self._found = found
        self._owns_sensors = owns_sensors
        self._name = name
        self._declared = declared
        self._inbox = Inbox()
        self._remarks = Remarks(self._inbox, hooks.scalars.read, self.notice)
        self._latest: Progress | None = None
        self.is_fork = False
        self._sensors = [GuardedSensor(sensor, self.notice) for sensor in found.sensors]
        domains = tuple(domain for sensor in found.sensors for domain in sensor.domains)
        self._election = place.election(domains)
        self._meters = Meters(domains, self._election)
        self._writer = RunWriter(self.path, self._disk_failed)
        self._recorder = Recorder(
            meters=self._meters,
            writer=self._writer,
            inbox=self._inbox,
            poll=hooks.poll,
            glance=hooks.poll_flags,
            devices=lambda: tuple(hooks.devices),
            observe=observe,
        )
        self._sampler = Sampler(
            self._sensors,
            on_readings=self._recorder.read,
            has_moved=self._meters.have_moved,
            drain=self._drain,
            on_crash=self._crashed,
            is_full=self._recorder.is_full,
            periods=self._meters.periods,
            pace=Pace(period_seconds),
        )
        self._sink = self._inbox.events.append
        self._written_state: tuple[object, ...] = ()
        self.start_seconds = self.stop_seconds = 0.0

    # -- the training thread --------------------------------------------------------------------------------------

    @property
    def resumed(self) -> Mapping[str, Any] | None:
        """Which run this one goes on from, and from which step."""
        found: Mapping[str, Any] | None = self._head.get(RESUMED)
        return found

    @property
    def run_path(self) -> Path:
        """The directory of the whole run, on the process that speaks for it; another's own."""
        return self.place.run_path if self.place.identity.is_main else self.path

    def resume(self, point: Mapping[str, Any]) -> None:
        """Go on from a step of an earlier run, from this moment on."""
        self._head[RESUMED] = dict(point)
        self._written_state = ()

    def state(self) -> dict[str, Any]:
        """Where the run stands, for a checkpoint."""
        latest = self._latest if self.status is Status.RUNNING else None
        return checkpoint.state(self._recorder, self._inbox, self.place, self.resumed or {}, latest)

    @property
    def billable(self) -> tuple[Domain, ...]:
        """The sampled domains that may be billed."""
        return tuple(domain for domain in self._meters.domains.values() if domain.billed)

    @property
    def plan(self) -> RatePlan | None:
        """The learning rate to come, declared or, once the run has ended, foreseen."""
        return RatePlan.read(self._head)

    def prepare(self) -> None:
        """Read the sensors until their counters have moved, and make the run directory."""
        self._sampler.pre_roll()
        started = datetime.now(tz=UTC).astimezone()
        self._head = {
            **metadata.head(
                name=self._name, started=started, identity=self.place.identity, refusals=self._found.refusals
            ),
            **self._declared,
        }
        self._started_at = self._head["started_at"]
        _LIVE.add(self)
        self._writer.open(self._meta())
        self.has_record = self._writer.failure is None

    def begin(self) -> None:
        """Open the window: it starts when this returns."""
        self._recorder.begin(time.monotonic_ns())
        self._head["clock"] = metadata.clock(self._recorder.start_ns)
        self._hooks.attach(self._sink, times_loading=self._times_loading)
        self._sampler.start()

    def abandon(self) -> None:
        """Give up after a failed start, leaving nothing behind that runs."""
        self._hooks.detach(self._sink)
        closing = (self._writer.close, self._election.close, self._close_sensors, self.place.leave)
        for part in (self._sampler.stop, *closing):
            self._guarded(part)
        _LIVE.discard(self)

    def stop(self, status: Status) -> None:
        """End: the window ends when this is called. Does nothing the second time, or in a forked child."""
        if self.is_fork or self.status is not Status.RUNNING:
            return
        end_ns = time.monotonic_ns()
        self._meters.close(end_ns)
        schedule = self._hooks.schedulers.most_active()
        self._hooks.detach(self._sink)
        self.status = status
        try:
            self._finish(end_ns)
            if schedule is not None and lr_plan.SECTION not in self._head:
                before = (self.resumed or {}).get("step") or 0
                self._head[lr_plan.SECTION] = lr_simulation.plan_section(
                    schedule,
                    step=before + self._recorder.totals.steps,
                    total_steps=self._head.get(lr_plan.TOTAL),
                )
        except Exception as error:  # noqa: BLE001 - the numbers may be incomplete; the training's result is not
            self.notice(
                f"finishing the record failed ({type(error).__name__}: {error}); its last rows are missing"
            )
        finally:
            self._release(end_ns)

    def _finish(self, end_ns: int) -> None:
        self._settle(end_ns)
        self._recorder.finish(end_ns)
        self._advance(progress_of(self._recorder, self._meters, end_ns))
        self._note_hooks()

    def _settle(self, end_ns: int) -> None:
        """Let the counters show what they held at the end. The rows are written without it too."""
        try:
            settled = self._sampler.stop() and self._sampler.settle(lambda: self._meters.have_settled(end_ns))
        except Exception as error:  # noqa: BLE001 - what is known by now is all there is
            self.notice(f"the last readings failed ({type(error).__name__}: {error}); they are estimated")
            return
        if not settled:
            self.notice(
                "a sensor hangs; what it held after its last reading is estimated at the neighbouring power"
            )

    def _release(self, end_ns: int) -> None:
        """Let go of everything, each part whatever becomes of the others."""
        self._guarded(self.next_step.close)
        self._guarded(lambda: self._election.mark_counted(end_ns))
        self._guarded(self._election.close)
        self._guarded(self._close_sensors)
        self.stop_seconds = (time.monotonic_ns() - end_ns) / NANOSECONDS_PER_SECOND
        self._guarded(self._end_record)
        self._guarded(self._writer.close)
        self._guarded(self.place.leave)
        _LIVE.discard(self)

    def _end_record(self) -> None:
        self._writer.write_meta(self._meta())

    def _guarded(self, part: Callable[[], object]) -> None:
        try:
            part()
        except Exception as error:  # noqa: BLE001 - the training's result does not depend on it
            self.notice(f"ending the record failed ({type(error).__name__}: {error})")

    def _close_sensors(self) -> None:
        if self._owns_sensors:
            for sensor in self._sensors:
                sensor.close()

    def manual_step(self, loss: Any) -> None:
        """End a step at this moment, or hand a loss to the one that ended last. Never raises."""
        self._hooks.manual_step(loss)

    def log(self, name: str, value: Any) -> None:
        """Record a value of the user's at this moment. Never raises."""
        self._remarks.log(name, value)

    def enter_phase(self, name: str) -> bool:
        """Begin a phase. Returns whether it is recorded: phases that follow each other too fast are not."""
        return self._remarks.enter_phase(name)

    def leave_phase(self) -> None:
        """End the innermost recorded phase."""
        self._remarks.leave_phase()

    # -- the sampler's thread -------------------------------------------------------------------------------------

    def _drain(self, now_ns: int) -> None:
        self._recorder.drain(now_ns)
        self._latest = progress_of(self._recorder, self._meters, now_ns)
        self._advance(self._latest)
        self._election.mark_counted(self._recorder.billed_ns)
        self._note_hooks()
        state = (len(self.notice.lines), len(self._meters.billed_from_ns), self._recorder.decision is None)
        if state != self._written_state:
            self._written_state = state
            self._writer.write_meta(self._meta())

    def _note_hooks(self) -> None:
        if self._recorder.has_lost:
            self.notice("a sensor hung for so long that the earliest of the waiting steps are lost")
        for line in findings(self._hooks, self._found.sensors, self._meters, self._recorder):
            self.notice(line)

    def _disk_failed(self, reason: str) -> None:
        self.notice(
            f"cannot write the run directory: {reason}. Training goes on; energy is totalled in memory only; "
            "choose another place with run_dir= or --run-dir"
        )

    def _crashed(self, error: BaseException) -> None:
        self._hooks.detach(self._sink)
        self.notice(
            f"the sampler ended ({type(error).__name__}: {error}); nothing after this moment is recorded"
        )

    # -- what it came to ------------------------------------------------------------------------------------------

    def _meta(self) -> dict[str, Any]:
        recorder, cost = self._recorder, self._sampler.cost
        decision = recorder.decision
        return self._head | metadata.body(
            status=self.status,
            listed=metadata.domains(self._meters, recorder.start_ns),
            missing=decision.missing if decision else (),
            warnings=self.notice.lines,
            totals=None if self.status is Status.RUNNING else metadata.totals(self.summary()),
            overhead={
                "sampler_cpu_seconds": cost.cpu_seconds,
                "samples": cost.samples,
                "longest_read_seconds": cost.longest_read_seconds,
                "start_seconds": self.start_seconds,
                "stop_seconds": self.stop_seconds,
                "bytes_written": self._writer.bytes_written,
            },
            rows_lost=self._writer.rows_lost,
        )

    def summary(self) -> Summary:
        """What the run comes to so far."""
        recorder, totals = self._recorder, self._recorder.totals
        return Summary(
            path=str(self.path) if self.has_record else "",
            name=self._name,
            status=self.status,
            started_at=self._started_at,
            metered=self._meters.metered(),
            missing=recorder.decision.missing if recorder.decision else (),
            refusals=self._found.refusals,
            warnings=tuple(self.notice.lines),
            **totals.as_summary_fields(metered=bool(self._meters.ledger.domains)),
            edge_joules=self._recorder.edge_joules,
            sampler_cpu_seconds=self._sampler.cost.cpu_seconds,
        )

    def forget(self) -> None:
        """In a forked child: touch nothing that belongs to the parent."""
        self.is_fork = True
        self._writer.after_fork_in_child()
        self._election.after_fork_in_child()


def _forget_all() -> None:
    for session in tuple(_LIVE):
        session.forget()


at_fork_in_child(_forget_all)
