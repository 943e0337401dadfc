"""One recording from start to stop: sensors, hooks, recorder's thread and run directory."""

import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from profiler import lr_plan
from profiler._compat import at_fork_in_child, dropped_messages, write_message
from profiler.distributed.layout import (
    RunLayout,
    directory_name,
    joined_ranks,
    launched_ranks,
    launcher_path,
)
from profiler.distributed.rank import process_group
from profiler.lr_plan import RatePlan
from profiler.recording import metadata
from profiler.recording.annotations import Annotations, OpenPhase
from profiler.recording.inbox import Inbox
from profiler.recording.meter import Meters
from profiler.recording.pipeline import Monitor, Pipeline
from profiler.recording.sampler import GuardedSensor, Sampler
from profiler.recording.sampling_interval import SamplingInterval
from profiler.recording.step_callback import StepCallback
from profiler.recording.warning_log import WarningLog
from profiler.records import CountRule, Domain, Progress, Status, Summary
from profiler.sensors import EXTERNAL
from profiler.sensors.base import Found, Sensor
from profiler.sensors.idle import with_idle_power
from profiler.sensors.totals import NO_NODE, choose_total
from profiler.storage.schema import CONFIG, HARDWARE, RESUMED, RUN_FILE, TABLES
from profiler.storage.writer import EXIT_SECONDS, START_SECONDS, BackgroundWriter, write_run_file
from profiler.torch_hooks import lr_simulation
from profiler.torch_hooks.manager import HookManager
from profiler.units import NANOSECONDS_PER_SECOND
from profiler.work import SECTION as WORK
from profiler.work import WorkCounter, amount_of, is_unit, read_work

_CHECKPOINT_VERSION = 1
_NOT_USED = "{refusal.reason}, so this meter is not used. {refusal.remedy}"
_PLAN_GROWTH = 1.5
"""Growth of the steps after which the plan of the learning rate is simulated again during the run."""
_PLAN_SHARE, _PLAN_FROM_SECONDS = 0.01, 10.0
"""Most processor time of these simulations, as a share of the time since the start, which counts as this at least."""
_JOIN_NS = 10 * NANOSECONDS_PER_SECOND
"""Time after which a rank of the process group that has not begun to record counts as missing."""
_HAND_OVER_NS = NANOSECONDS_PER_SECOND
"""Longest wait, after the end of the window, for the rows of another process that counted shared devices before."""
_HAND_OVER_PAUSE_SECONDS = 0.005
_FRESH_SECONDS = 0.05
"""Longest time between the last reading before the window and its start: a slow disk may take longer to open."""

_LIVE: "weakref.WeakSet[Session]" = weakref.WeakSet()


class Session:
    """A recording from :meth:`begin` to :meth:`stop`. None of its methods raises into the training.

    Args:
        place: Run directory and position of this process among those of the job.
        name: Name of the run.
        declared: Sections of ``run.json`` that the user's arguments give.
        found: Sensors, and reasons why others were refused.
        borrowed: Sensors that are not closed at the end.
        count: Which domains make up the total.
        hooks: Hooks of the process.
        period_seconds: Time between polls of the sensors; None adapts to them.
        times_loading: Whether to hook into data loaders.
        monitor: Receives rows and progress on the recorder's thread.
        work: Counter of the units of work.

    Attributes:
        place: As given.
        path: Directory of this process's record.
        status: Status of the run.
        has_record: Whether the run directory could be created.
        is_fork: Whether this is the copy in a forked child, which must not touch anything of the parent's.
        start_seconds: Time that the start took.
        stop_seconds: Time that the end took.
        unrecorded_processes: Number of child processes that trained without being recorded.
        launched_ranks: Number of processes started by this one that record its run as its ranks.
    """

    def __init__(
        self,
        *,
        place: RunLayout,
        name: str,
        declared: Mapping[str, Any],
        found: Found,
        borrowed: Sequence[Sensor] = (),
        count: CountRule = "parts",
        hooks: HookManager,
        period_seconds: float | None,
        times_loading: bool,
        monitor: Monitor,
        work: WorkCounter | None = None,
    ) -> None:
        self.place = place
        self.path = place.path
        self.status = Status.RUNNING
        self.has_record = self.is_fork = False
        self.start_seconds = self.stop_seconds = 0.0
        self.unrecorded_processes = self.launched_ranks = self._separate_ranks = 0
        self._group, self._group_ns = (0, 1), 0
        self._warnings = WarningLog(write_message if place.is_main else _ignore)
        self._monitor = monitor
        self._hooks, self._times_loading = hooks, times_loading
        self._found, self._borrowed = found, borrowed
        self._name = name
        self._head = {
            **metadata.head(
                name=name, started=_now(), identity=place.identity, refusals=found.refusals, job=place.key
            ),
            HARDWARE: metadata.hardware(found.sensors),
            **declared,
        }
        self._work = WorkCounter({}) if work is None else work
        self._sensors = [GuardedSensor(sensor, self._warnings) for sensor in found.sensors]
        sampled = tuple(domain for sensor in found.sensors for domain in sensor.domains)
        domains = with_idle_power(choose_total(sampled, count), environ=os.environ)
        self._unused_meters = [
            *(_NOT_USED.format(refusal=one) for one in found.refusals if one.source == EXTERNAL.name),
            *(
                [NO_NODE]
                if count == "node" and not any(d.billed and d.kind.is_container for d in domains)
                else []
            ),
        ]
        self._election = place.election(domains)
        self._meters = Meters(domains, self._election)
        self._writer = BackgroundWriter(self.path, self._on_disk_failure)
        self._inbox = Inbox()
        self._sink = self._inbox.events.append
        self._annotations = Annotations(self._inbox, hooks.scalars, self._warnings)
        self._step_callback = StepCallback(hooks, self._warnings)
        self._pipeline = Pipeline(
            meters=self._meters, writer=self._writer, inbox=self._inbox, hooks=hooks, monitor=monitor
        )
        self._sampler = Sampler(self._sensors, self._pipeline, SamplingInterval(period_seconds))
        self._thread = threading.Thread(target=self._record, name="energy-profiler", daemon=True)
        self._progress: Progress | None = None
        self._declares_plan = lr_plan.SECTION in self._head
        self._plan_lock, self._next_plan, self._plan_seconds = threading.Lock(), 0, 0.0
        self._dropped_before = dropped_messages()
        self._written_state: tuple[object, ...] = ()

    # Start and end, on the training thread

    def prepare(self) -> None:
        """Read the sensors until their counters have moved, and create the run directory."""
        self._sampler.pre_roll()
        self._head |= metadata.start_time(_now())
        _LIVE.add(self)
        begun = time.monotonic()
        self._writer.open(self._metadata())
        if time.monotonic() - begun > _FRESH_SECONDS:
            self._sampler.poll_again()
        self.has_record = self._writer.failure is None
        for message in self._unused_meters:
            self.warn(message)
        if self._writer.is_late:
            self.warn(
                f"the disk of the run directory did not respond within {START_SECONDS:g} s; rows wait in memory. "
                "Choose a faster disk with run_dir= or --run-dir"
            )

    def begin(self) -> None:
        """Open the window: it starts when this returns."""
        self._pipeline.begin(time.monotonic_ns())
        self._head["clock"] = metadata.clock(self._pipeline.start_ns)
        self._hooks.attach(self._sink, times_loading=self._times_loading)
        self._thread.start()

    def abandon(self) -> None:
        """Release everything after a failed start."""
        self._hooks.detach(self._sink)
        closing = (self._writer.close, self._election.close, self._close_sensors, self.place.leave)
        for action in (self._stop_sampling, *closing):
            self._guarded(action)
        _LIVE.discard(self)

    def stop(self, status: Status) -> None:
        """End the window at the time of the call. Does nothing the second time, or in a forked child."""
        if not self.is_recording:
            return
        end_ns = time.monotonic_ns()
        self._meters.close(end_ns)
        self._meters.announce_end(end_ns)
        self._find_group(end_ns)
        schedule = self._hooks.schedulers.most_active()
        self._step_callback.leave()  # the end of the window sends events, and on_budget= may raise SystemExit
        self._hooks.detach(self._sink)
        self.status = status
        try:
            self._finish(end_ns)
            if schedule is not None and not self._declares_plan:
                section = lr_simulation.plan_section(
                    schedule,
                    step=self._steps_before + self._pipeline.totals.steps,
                    total_steps=self._head.get(lr_plan.TOTAL),
                )
                with self._plan_lock:
                    self._head[lr_plan.SECTION] = section
        except Exception as error:  # noqa: BLE001 - the numbers may be incomplete; the training's result is not
            self.warn(
                f"finishing the record failed ({type(error).__name__}: {error}); its last rows are missing"
            )
        finally:
            self._release(end_ns)

    def _finish(self, end_ns: int) -> None:
        self._read_last(end_ns)
        self._await_leader(end_ns)
        self._pipeline.finish(end_ns)
        self._find_group(end_ns)  # now that every step is known
        self._monitor.advance(self._pipeline.progress(end_ns))
        self._collect_warnings()

    def _read_last(self, end_ns: int) -> None:
        """Read until the counters have shown their energy at the end of the window, if they do so in time."""
        try:
            is_stopped = self._stop_sampling()
            is_settled = is_stopped and self._sampler.settle(end_ns)
        except Exception as error:  # noqa: BLE001 - the rows are written without these readings too
            self.warn(f"the last readings failed ({type(error).__name__}: {error}); they are estimated")
            return
        if not is_settled:
            self.warn("a sensor hangs; energy after its last reading is estimated at the neighbouring power")

    def _await_leader(self, end_ns: int) -> None:
        """Wait for the last rows of a process that counted shared devices and ended shortly before this one.

        If it is killed before they are written, this process counts those devices from its last written row.
        """
        deadline = end_ns + _HAND_OVER_NS
        while self._pipeline.awaits_leader(end_ns):
            if time.monotonic_ns() > deadline:
                self._pipeline.follow_leader(end_ns)
                return
            time.sleep(_HAND_OVER_PAUSE_SECONDS)

    def _stop_sampling(self) -> bool:
        """End the recorder's thread. Return False if it does not end in time, because a sensor hangs."""
        return self._sampler.stop(self._thread)

    def _release(self, end_ns: int) -> None:
        """Release every part, regardless of errors in the others."""
        self._guarded(self._step_callback.close)
        self._guarded(self._writer.sync)
        self._guarded(self._meters.release)
        self._guarded(self._close_sensors)
        self.stop_seconds = (time.monotonic_ns() - end_ns) / NANOSECONDS_PER_SECOND
        self._guarded(self._write_end)
        self._guarded(self._close_writer)
        self._guarded(self.place.leave)
        _LIVE.discard(self)

    def _write_end(self) -> None:
        self._writer.sync()  # so that the metadata counts the rows that a failing disk has refused
        if self._writer.was_closed:
            self.warn("the program closed files of the profiler; they were opened again")
        self._writer.write_meta(self._metadata())

    def _close_writer(self) -> None:
        self._writer.close()
        if self._writer.is_unfinished:
            self.warn(
                f"the disk of the run directory is too slow: the totals and {self._writer.rows_late:,} rows were not "
                f"written within {EXIT_SECONDS:g} s of the end and may be lost"
            )
        elif (
            self._writer.meta_failure is not None and self.has_record and not (self.path / RUN_FILE).exists()
        ):
            self.has_record = False
            self.warn(
                "the run directory was removed during the run, or renamed; only this summary is complete"
            )
        elif self._writer.meta_failure is not None and self.has_record:
            self.warn(
                f"the totals could not be written to run.json ({self._writer.meta_failure}), so its status is"
                " still 'running'"
            )

    def discard(self, directories: Iterable[Path]) -> bool:
        """Remove the record after the end if it holds nothing but setup; return whether it was removed.

        Args:
            directories: Directories that were created for it, the innermost first; removed where they are empty.
        """
        others = self.launched_ranks + self.unrecorded_processes
        has_content = self._pipeline.has_content or others or self.resumed
        if has_content or not self.has_record or self._writer.is_unfinished:
            return False
        try:
            for name in (RUN_FILE, *(table.filename for table in TABLES)):
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            self.warn(f"the record of a program without training could not be removed: {error}")
            return False
        for directory in directories:
            with suppress(OSError):  # it holds files of other programs
                directory.rmdir()
        self.has_record = False
        return True

    def update_record(self) -> None:
        """Write ``run.json`` again after the end, because a message could not be written to stderr."""
        if self.has_record and not self._writer.is_unfinished:
            self._guarded(lambda: write_run_file(self.path, self._metadata()))

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - the training's result does not depend on it
            self.warn(f"ending the record failed ({type(error).__name__}: {error})")

    def _close_sensors(self) -> None:
        for guarded, sensor in zip(self._sensors, self._found.sensors, strict=True):
            if not any(sensor is borrowed for borrowed in self._borrowed):
                guarded.close()

    def after_fork_in_child(self) -> None:
        """Leave everything that belongs to the parent process alone."""
        self.is_fork = True
        self._writer.after_fork_in_child()
        self._election.after_fork_in_child()

    # Reports from the user's code, on any thread

    def manual_step(self, loss: Any) -> None:
        """End a step now, or set the loss of the step that ended last; do nothing after the end."""
        # The hooks belong to the process: a later recording would count the step.
        if self.status is Status.RUNNING:
            self._hooks.manual_step(loss)

    def log(self, name: str, value: Any) -> None:
        """Record a value at this moment."""
        self._annotations.log(name, value)

    def add_work(self, amounts: Mapping[str, Any]) -> None:
        """Count the work of a step while recording, by unit; an amount that is not a number makes the total unknown."""
        if not self.is_recording:
            return
        for unit, value in amounts.items():
            amount = amount_of(value)
            if not is_unit(unit):
                self._warnings.warn(
                    f"prof.step() got {unit!r:.100}, which is not the name of a unit of work, and ignored it"
                )
            elif amount is not None:
                self._work.add(unit, amount)
            else:
                self._work.miss(unit)
            if amount is None and value is not None:
                self._warnings.warn(
                    f"prof.step({unit}=...) got {type(value).__name__} that is not a positive number; the {unit} of "
                    "the run are unknown"
                )

    def add_settings(self, settings: Mapping[str, Any]) -> None:
        """Add settings of the training that the user did not give."""
        self._head[CONFIG] = {**settings, **self._head.get(CONFIG, {})}
        self._written_state = ()

    def enter_phase(self, name: str) -> OpenPhase | None:
        """Begin a phase. Return None when it is not recorded because phases follow each other too fast."""
        return self._annotations.enter_phase(name)

    def leave_phase(self, phase: OpenPhase) -> None:
        """End a phase."""
        self._annotations.leave_phase(phase)

    def warn(self, message: str) -> None:
        """Record a warning about the run as a whole, and emit it the first time."""
        self._warnings.warn(message, is_severe=True)

    def call_after_step(self, name: str, action: Callable[[], object]) -> None:
        """Run ``action`` on the training thread when the next step ends; ``name`` is for warnings."""
        self._step_callback.schedule(name, action)

    # State of the run

    @property
    def is_recording(self) -> bool:
        """True from the constructor to :meth:`stop`, in the process that records."""
        return self.status is Status.RUNNING and not self.is_fork

    @property
    def is_main(self) -> bool:
        """True if this process reports for all processes of the job."""
        return self.place.is_main

    @property
    def resumed(self) -> Mapping[str, Any] | None:
        """Run and step that this run continues; None if it continues none."""
        found: Mapping[str, Any] | None = self._head.get(RESUMED)
        return found

    def resume(self, point: Mapping[str, Any], name: str | None = None) -> None:
        """Continue an earlier run from a step, from now on, under its name if that is given."""
        self._head[RESUMED] = dict(point)
        if name:
            self._name = self._head["name"] = name
        self._written_state = ()

    @property
    def run_path(self) -> Path:
        """Directory of the whole run on the main process; that of its own record on others."""
        return self.place.run_path if self.is_main else self.path

    @property
    def countable(self) -> tuple[Domain, ...]:
        """The sampled domains whose energy may count in totals."""
        return tuple(domain for domain in self._meters.domains if domain.billed)

    @property
    def plan(self) -> RatePlan | None:
        """Planned learning rate: as declared or simulated."""
        return RatePlan.read(self._head)

    @property
    def plan_refusal(self) -> str:
        """Reason why the scheduler could not be simulated at the end; empty where it could, or there is none."""
        return lr_plan.refusal(self._head)

    @property
    def has_schedule_ended(self) -> bool:
        """True if the scheduler had ended when the recording stopped."""
        return lr_plan.has_ended(self._head)

    @property
    def can_plan(self) -> bool:
        """True if a scheduler is at work and the user has declared no plan of the learning rate."""
        return not (self._declares_plan or self._hooks.schedulers.is_empty)

    def update_plan(self, is_over: threading.Event) -> None:
        """Simulate the scheduler at work, again after half as many further steps. For the monitor's thread.

        A simulation that would cost too much of the training's time waits until the run is longer.

        Args:
            is_over: Ends the simulation when it is set.
        """
        steps = self._pipeline.count_steps()
        schedule = (
            self._hooks.schedulers.most_active() if self.can_plan and steps >= self._next_plan else None
        )
        if schedule is None:
            return
        plan, step, total = self.plan, self._steps_before + steps, self._head.get(lr_plan.TOTAL)
        if plan is not None and lr_simulation.is_followed(plan, schedule, step=step):
            self._next_plan = math.ceil(_PLAN_GROWTH * steps)
            return
        elapsed = (time.monotonic_ns() - self._pipeline.start_ns) / NANOSECONDS_PER_SECOND
        cost = self._plan_seconds + lr_simulation.most_seconds(schedule, step=step, total_steps=total)
        if cost > _PLAN_SHARE * max(elapsed, _PLAN_FROM_SECONDS):
            return
        self._next_plan = math.ceil(_PLAN_GROWTH * steps)
        begun = time.thread_time()
        section = lr_simulation.plan_section_meanwhile(
            schedule, step=step, total_steps=total, is_over=is_over
        )
        self._plan_seconds += time.thread_time() - begun
        with self._plan_lock:
            if section is not None and self.status is Status.RUNNING:
                self._head[lr_plan.SECTION] = section

    @property
    def _steps_before(self) -> int:
        """Steps of the runs that this one continues."""
        return int((self.resumed or {}).get("step") or 0)

    def state(self) -> dict[str, Any]:
        """Return the step and joules so far, for a checkpoint, counted from the first of the resumed runs.

        Joules are None where this process does not know those of all processes.
        """
        resumed = self.resumed or {}
        joules, before = self._joules_now(), resumed.get("joules", 0.0)
        return {
            "version": _CHECKPOINT_VERSION,
            "run": str(self.place.run_path.absolute()),
            "step": self._pipeline.count_steps() + int(resumed.get("step") or 0),
            "joules": joules + before
            if not self.place.identity.is_distributed and before is not None
            else None,
            "name": self._name if self._name != self.place.run_path.name else None,
        }

    def _joules_now(self) -> float:
        """Return the joules used so far; those since the last drain are estimated at its power."""
        written, latest = self._pipeline.written_joules, self._progress
        if self.status is not Status.RUNNING or latest is None or latest.total_joules is None:
            return written
        now_seconds = (time.monotonic_ns() - self._pipeline.start_ns) / NANOSECONDS_PER_SECOND
        unwritten = (now_seconds - latest.seconds) * sum(latest.watts.values())
        return max(written, latest.total_joules + unwritten)

    def summary(self) -> Summary:
        """Return the totals so far."""
        pipeline, totals = self._pipeline, self._pipeline.totals
        return Summary(
            path=str(self.path) if self.has_record else "",
            name=self._name,
            status=self.status,
            started_at=self._head["started_at"],
            metered=self._meters.metered(),
            missing=pipeline.selection.missing if pipeline.selection else (),
            refusals=self._found.refusals,
            warnings=tuple(self._warnings.lines),
            **totals.as_summary_fields(metered=bool(self._meters.counted)),
            edge_joules=pipeline.edge_joules,
            sampler_cpu_seconds=self._sampler.cost.cpu_seconds,
            libraries=self._hooks.libraries,
            convolutional=self._hooks.is_convolutional,
            missing_ranks=self._missing_ranks,
            work=read_work({WORK: self._work_section()}, totals.steps, is_continued=self.resumed is not None),
            parameters=self._hooks.parameter_count,
            alternating_steps=pipeline.alternating_steps,
            unrecorded_processes=self.unrecorded_processes,
        )

    def _work_section(self) -> dict[str, Any]:
        steps = None if self.status is Status.RUNNING else self._pipeline.totals.steps
        return self._work.section(steps, self._hooks.parameter_count)

    def _levels(self) -> dict[str, float]:
        """Return the last level of the loss and of each logged metric."""
        level = self._monitor.level()
        loss = {} if level is None else {"loss": level}
        return loss | self._pipeline.last_metrics

    def _nonfinite_ends(self) -> dict[str, int]:
        """Return the number of values that are not finite at the end of each such metric."""
        count = self._monitor.nonfinite_end()
        return ({"loss": count} if count else {}) | self._pipeline.nonfinite_ends

    def _metadata(self) -> dict[str, Any]:
        selection, cost = self._pipeline.selection, self._sampler.cost
        return self._head | metadata.body(
            status=self.status,
            domains=self._meters.as_dicts(),
            missing=selection.missing if selection else (),
            warnings=self._warnings.lines,
            totals=None
            if self.status is Status.RUNNING
            else metadata.totals(self.summary(), self._levels(), self._nonfinite_ends()),
            overhead={
                "sampler_cpu_seconds": cost.cpu_seconds,
                "samples": cost.samples,
                "longest_read_seconds": cost.longest_read_seconds,
                "late_samples": cost.late_samples,
                "missed_samples": cost.missed_samples,
                "delayed_seconds": cost.delayed_seconds,
                "longest_delay_seconds": cost.longest_delay_seconds,
                "failed_reads": sum(sensor.failed_reads for sensor in self._sensors),
                "start_seconds": self.start_seconds,
                "stop_seconds": self.stop_seconds,
                "bytes_written": self._writer.bytes_written,
                "messages_dropped": dropped_messages() - self._dropped_before,
                **self._monitor.overhead(),
            },
            rows_lost=self._writer.rows_lost,
            alternating_steps=self._pipeline.alternating_steps,
            libraries=self._hooks.libraries,
            convolutional=self._hooks.is_convolutional,
            overlapping_phases=sorted(self._annotations.overlapping),
            inferred_steps=self._hooks.inferred_steps,
            missing_ranks=self._missing_ranks,
            unrecorded_processes=self.unrecorded_processes,
            launched_ranks=self.launched_ranks,
            work=self._work_section(),
        )

    # Recorder's thread

    def _record(self) -> None:
        """Body of the recorder's thread."""
        try:
            for now_ns in self._sampler.drain_times():
                self._drain(now_ns)
        except Exception as error:  # noqa: BLE001 - the training continues without its record
            self._hooks.detach(self._sink)
            self.warn(
                f"the sampler failed ({type(error).__name__}: {error}); nothing is recorded from now on"
            )

    def _drain(self, now_ns: int) -> None:
        self._find_group(now_ns)
        self._pipeline.drain(now_ns)
        self._progress = self._pipeline.progress(now_ns)
        self._monitor.advance(self._progress)
        self._collect_warnings()
        state = (
            len(self._warnings.lines),
            len(self._meters.counted),
            self._pipeline.selection is None,
            self._group,
            self.launched_ranks,
            self._head.get(lr_plan.SECTION),
        )
        if state != self._written_state:
            self._written_state = state
            self._writer.write_meta(self._metadata())

    def _collect_warnings(self) -> None:
        for line in self._severe_findings():
            self._warnings.update(line, is_severe=True)
        for line in self._findings():
            self._warnings.update(line)

    def _severe_findings(self) -> Iterator[str]:
        """Yield the states that the numbers of the whole run depend on."""
        if self._hooks.failure is not None:
            yield f"the hooks failed and were removed ({self._hooks.failure}); later steps are not recorded"
        yield from self._absent_ranks()
        yield from self._sampler.findings()
        yield from self._pipeline.severe_findings()

    def _find_group(self, now_ns: int) -> None:
        """Note the largest process group that this process was a member of although it started as the only rank."""
        group = None if self.place.identity.is_distributed else process_group()
        if group is not None and group[1] > self._group[1]:
            self._group, self._group_ns = group, now_ns
            self._head["rank"] = group[0]
        may_launch = self._group[1] == 1 and not (self.place.identity.is_distributed or self.place.is_joined)
        ranks = launched_ranks(self.path) if may_launch else 0
        # A process that trains too is not only the launcher of its children: their steps would be mixed with its own.
        has_steps = ranks > 0 and self._pipeline.count_steps() > 0
        self.launched_ranks, self._separate_ranks = (0, ranks) if has_steps else (ranks, 0)

    @property
    def _missing_ranks(self) -> int:
        """Number of ranks of the process group without a record in the run."""
        world_size = self._group[1]
        return max(world_size - 1 - joined_ranks(self.path, world_size), 0) if world_size > 1 else 0

    @property
    def has_further_ranks(self) -> bool:
        """True if this process is rank 0 and processes that its framework started have records in its run."""
        return self._group[0] == 0 and joined_ranks(self.path, self._group[1]) > 0

    def move_beside_ranks(self) -> None:
        """Move the finished record into a directory of rank 0, beside those of the ranks that joined.

        Raises:
            OSError: It cannot be moved.
        """
        path, world_size = self.path / directory_name(0, 0), self._group[1]
        path.mkdir()
        for name in (RUN_FILE, *(table.filename for table in TABLES)):
            (self.path / name).rename(path / name)
        self.place = replace(
            self.place, identity=replace(self.place.identity, world_size=world_size), path=path
        )
        self.path, self._group = path, (0, 1)
        self._head["world_size"] = world_size
        write_run_file(path, self._metadata())

    def move_beside_launched(self) -> None:
        """Move the finished record of a launcher into a directory beside those of the ranks that it started.

        Raises:
            OSError: It cannot be moved.
        """
        path = launcher_path(self.path)
        path.mkdir()
        for name in (RUN_FILE, *(table.filename for table in TABLES)):
            (self.path / name).rename(path / name)
        self.place, self.path = replace(self.place, path=path), path

    def _absent_ranks(self) -> Iterator[str]:
        """Yield the ranks and children without a record: after a while, because they start later than this process."""
        world_size, missing = self._group[1], self._missing_ranks
        is_over = self.status is not Status.RUNNING
        if missing and (is_over or time.monotonic_ns() - self._group_ns > _JOIN_NS):
            yield (
                f"{missing} of the {world_size} ranks of the process group are not recorded, so totals are "
                "incomplete. Launch with torchrun, or start the profiler in each rank after init_process_group"
            )
        if self._separate_ranks:
            yield (
                f"{self._separate_ranks} child processes trained beside this one and recorded themselves: their steps "
                "and GPUs are not in these totals. Their records are in rank-* of the run directory"
            )
        if self.unrecorded_processes:
            children = (
                "1 child process trained; its"
                if self.unrecorded_processes == 1
                else f"{self.unrecorded_processes} child processes trained; their"
            )
            yield (
                f"{children} steps were not recorded. Start a profiler inside the function or script that each child "
                "process runs"
            )

    def _findings(self) -> Iterator[str]:
        yield from tuple(self._hooks.scalars.warnings)
        for sensor in self._sensors:
            yield from sensor.findings()
        yield from self._pipeline.findings()

    def _on_disk_failure(self, reason: str) -> None:
        self.warn(
            f"cannot write the run directory: {reason}. Training continues and energy is totalled in memory only; "
            "choose another place with run_dir= or --run-dir"
        )


def _now() -> datetime:
    return datetime.now(tz=UTC).astimezone()


def _ignore(_message: str) -> None:
    pass


def _after_fork_in_child() -> None:
    for session in tuple(_LIVE):
        session.after_fork_in_child()


at_fork_in_child(_after_fork_in_child)
