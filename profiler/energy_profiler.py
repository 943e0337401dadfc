"""Runtime API: ``with EnergyProfiler():`` around a training loop."""

import atexit
import functools
import inspect
import os
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, Self, TypeVar

from profiler._compat import (
    BackgroundCall,
    at_fork_in_child,
    create_exclusively,
    display_path,
    exit_by_interrupt,
    write_message,
    write_stderr,
)
from profiler.budget import Budget
from profiler.config import ProfilerConfig, documentation, usable_settings, with_environment
from profiler.distributed.inheritance import Publication, child_layout, inherited, launched_rank
from profiler.distributed.layout import RunLayout, agree_on_layout
from profiler.distributed.rank import Identity, detect_rank, process_group
from profiler.errors import UsageError
from profiler.monitoring import opentelemetry
from profiler.monitoring.monitor import Monitor
from profiler.monitoring.sinks import Sinks
from profiler.records import Status
from profiler.storage.schema import BATCH_JOB, RESUMED, RUN_FILE, STEPS, TABLES
from profiler.storage.writer import START_SECONDS
from profiler.torch_hooks.first_training import FirstTraining
from profiler.units import format_joules
from profiler.work import WorkCounter

if TYPE_CHECKING:
    from profiler.recording.session import Session
    from profiler.run import Run
    from profiler.sensors.base import Found
    from profiler.storage.reader import StoredRun

_P = ParamSpec("_P")
_R = TypeVar("_R")

_PARENT = "energy_runs"
_SENSORS_SECONDS = 5.0
_EXIT_PRIORITY = 10
"""Finalizers of multiprocessing from 0 on run before a process waits for its own children."""
_TRIFLING_SECONDS = 60.0
"""A longer run is kept although nothing was trained in it: its energy may be of interest."""
JOB_KEY = "energy/job_joules"
_POINT = ("run", "step", "joules")
"""Keys of a checkpoint's state that are stored as the run that this one continues."""
_ATTACHED = ("energy-report.html", "energy-report.json")
_FILES = (RUN_FILE, *(table.filename for table in TABLES))


def _accepts_keywords_of(
    config: Callable[_P, object],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, _P], None]]:
    """Give an ``__init__`` the signature of ``config``, for type checkers, ``help()`` and notebooks."""

    def decorate(function: Callable[..., None]) -> Callable[Concatenate[Any, _P], None]:
        own, *_ = inspect.signature(function).parameters.values()
        keywords = inspect.signature(config).parameters.values()
        function.__signature__ = inspect.Signature([own, *keywords], return_annotation=None)  # type: ignore[attr-defined]
        return function

    return decorate


class EnergyProfiler:
    """Recorder of the energy, steps and losses of an unmodified PyTorch training loop.

    Loops of other libraries, such as JAX or scikit-learn, call :meth:`step` after each update; torch is not needed.

    Use it as a context manager, as a decorator, or with :meth:`start` and :meth:`stop`. Profilers may be nested. Errors
    of the profiler are logged to stderr once and never raised into the loop.

    Raises:
        UsageError: A keyword is out of range or contradicts another one.
    """

    @_accepts_keywords_of(ProfilerConfig)
    def __init__(self, **keywords: Any) -> None:
        self._configure(ProfilerConfig(**with_environment(keywords, os.environ)))

    def _configure(self, config: ProfilerConfig) -> None:
        self._config = config
        self._checkpoint: Mapping[str, Any] | None = None
        self._session: Session | None = None
        self._run: Run | None = None
        self._previous_error: BaseException | None = None
        self._new_directories: list[Path] = []
        self._publication: Publication | None = None
        self._joined: RunLayout | None = None
        self._monitor = self._make_monitor()

    def _make_monitor(self) -> Monitor:
        log_to = self._config.log_to
        return Monitor(self._config, None if log_to is None else Sinks(log_to))

    def _copy(self) -> Self:
        """Return a profiler with the same configuration that was never started."""
        other = object.__new__(type(self))
        other._configure(self._config)
        return other

    # -- start and stop -------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start recording; the measured window begins when this returns.

        Raises:
            UsageError: The profiler is already recording.
        """
        if self.is_recording:
            raise UsageError("this profiler is already recording; nest another EnergyProfiler instead.")
        self._run, self._session = None, None
        self._monitor = self._make_monitor()
        begun = time.monotonic()
        try:
            self._session = self._open_session()
            self._begin(self._session, begun)
        except Exception as error:  # noqa: BLE001 - the training matters more than its record
            write_message(
                f"cannot record ({type(error).__name__}: {error}). Training continues without a record"
            )
            if self._session is not None:
                self._session.abandon()
            self._withdraw()
            self._monitor.close()
            self._session = None
        return self

    def _open_session(self) -> "Session":
        from profiler.recording.session import Session
        from profiler.torch_hooks.manager import hook_manager

        config = self._config
        sections = config.run_json_sections()
        if config.resume is not None:
            from profiler.merging.load import resume_point

            sections[RESUMED] = resume_point(Path(config.resume))
        if config.job:
            from profiler.recording.metadata import batch_job

            sections |= {BATCH_JOB: job} if (job := batch_job(os.environ)) else {}
        found = _find_sensors(config) if self._joined is None else _find_sensors_in_time(config)
        identity = detect_rank(os.environ, process_group())
        joined = self._joined or _joined_layout(identity)
        self._new_directories = []
        place = joined or agree_on_layout(identity, self._proposed_path(identity), os.environ)
        return Session(
            place=place,
            name=config.name or _resumed_name(config.resume) or place.run_path.name,
            declared=sections,
            found=found,
            borrowed=config.given_sensors,
            count=config.count,
            hooks=hook_manager(),
            period_seconds=config.sample_period_seconds,
            times_loading=config.time_data_loading,
            monitor=self._monitor,
            work=WorkCounter(config.work_per_step or {}),
        )

    def _proposed_path(self, identity: Identity) -> Path:
        """Return a free directory; a job of several processes reserves none, because one of its proposals wins."""
        if identity.is_distributed:
            return _free_path(self._config)
        return _reserve_path(self._config, self._new_directories)

    def _begin(self, session: "Session", begun: float) -> None:
        self._monitor.attach(session)
        session.prepare()
        self._resume(session)
        is_main = session.is_main
        self._monitor.prints_status &= is_main
        if not is_main:
            self._monitor.sinks = None
        if self._config.budget.energy_joules is not None and not session.countable:
            session.warn("energy_budget= has no effect: no sensor on this machine can be read")
        if is_main:
            domains = [f"{domain.name} ({domain.provenance.words})" for domain in session.countable]
            subject = ", ".join(domains) or "steps only: no sensor on this machine can be read"
            place = f" -> {display_path(session.run_path)}" if session.has_record else ", in memory only"
            write_message(f"recording {subject}{place}")
        self._previous_error = getattr(sys, "last_value", None)
        # pandas needs this module, which cannot be imported while the interpreter ends.
        import concurrent.futures.thread  # noqa: F401

        atexit.register(self._at_exit)
        is_rank = session.place.identity.is_distributed or process_group() is not None
        self._publication = Publication(session.run_path, is_rank=is_rank)
        session.start_seconds = time.monotonic() - begun
        session.begin()
        _RUNNING.append(self)
        try:
            opentelemetry.observe(session.run_path.name, self._monitor)
        except Exception as error:  # noqa: BLE001 - the recording does not depend on the user's provider
            session.warn(f"OpenTelemetry gets no metrics ({type(error).__name__}: {error})")

    def stop(self) -> None:
        """Stop recording and print the report to stderr. A second call does nothing."""
        self._stop(Status.COMPLETED)

    def _stop(self, status: Status, error: BaseException | None = None) -> None:
        atexit.unregister(self._at_exit)
        if self in _RUNNING:
            _RUNNING.remove(self)
        session = self._session
        if session is None or session.status is not Status.RUNNING or session.is_fork:
            return
        session.unrecorded_processes = self._withdraw()
        session.stop(status)
        self._monitor.close()
        if error is not None and self._discard_if_empty(session):
            return
        if session.is_main:
            rates = self._monitor.curve.rates
            rates.plan, rates.refusal = session.plan, session.plan_refusal
            rates.has_ended = session.has_schedule_ended
            whole = self._print_report(session)
            if self._monitor.sinks is not None:
                random_state = random.getstate()
                try:
                    self._log_end(session, self._monitor.sinks, whole)
                except Exception as failure:  # noqa: BLE001 - the run is recorded; the training continues
                    session.warn(f"log_to= got no final values ({type(failure).__name__}: {failure})")
                finally:
                    random.setstate(random_state)

    def _withdraw(self) -> int:
        """Remove what child processes inherit, and return the number of those that trained without being recorded."""
        publication, self._publication = self._publication, None
        if publication is None:
            return 0
        publication.withdraw()
        return publication.inheritance.collect_marks()

    def _join_from_fork(self) -> None:
        """Record a forked child as a rank of the parent's run, if it has a process group of its own."""
        publication = self._publication
        if publication is None or running() is not None:
            return
        with suppress(Exception):  # the mark below reports that it is not recorded
            place = child_layout(publication.inheritance, os.environ)
            if place is not None:
                join_run(place)

    def _mark_fork(self) -> None:
        """Leave a mark for the parent process, in a forked child that has trained without being recorded."""
        if self._publication is not None and running() is None:
            with suppress(OSError):  # without a mark the run only lacks a sentence about this process
                self._publication.inheritance.mark()

    def _discard_if_empty(self, session: "Session") -> bool:
        """Remove the record of a program that soon ended by itself without training, such as ``train.py --help``."""
        if session.summary().window_seconds > _TRIFLING_SECONDS or not session.discard(self._new_directories):
            return False
        if session.is_main:
            write_message("the program ended before any training step; its run was not kept")
        self._session = None
        return True

    def _log_end(self, session: "Session", sinks: Sinks, whole: "StoredRun | None") -> None:
        """Send the final values, and attach the report where a tracker takes files."""
        values = self._monitor.metrics()
        if whole is not None and session.place.identity.is_distributed:
            total = whole.summary().total_joules
            values |= {} if total is None else {JOB_KEY: total}
        with ExitStack() as stack:
            files: list[Path] = []
            try:
                if sinks.take_files:
                    folder = tempfile.TemporaryDirectory(
                        prefix="energy-profiler-", ignore_cleanup_errors=True
                    )
                    files = [Path(stack.enter_context(folder)) / name for name in _ATTACHED]
                for file in files:
                    self.run.report(file)
            except Exception as error:  # noqa: BLE001 - the values do not depend on the report
                files = []
                session.warn(f"no report is attached to the tracker ({type(error).__name__}: {error})")
            for failure in sinks.finish(values, self._monitor.global_step, files):
                session.warn(failure)
        session.update_record()

    def _print_report(self, session: "Session") -> "StoredRun | None":
        """Print the summary at the end, and return the whole run if it is more than this recording."""
        whole = None
        random_state = random.getstate()  # importing rich draws from it, and the training may continue
        try:
            from profiler.merging.finalize import whole_run
            from profiler.reporting import exit_block, render, report_of

            whole, config, curve = whole_run(session), self._config, self._monitor.curve
            if whole is None:
                block = exit_block(session.summary(), curve.bins, curve.rates, config.prices, config.budget)
            else:
                block = render(report_of(whole), ".txt").rstrip("\n")
            if not write_stderr(block):
                session.update_record()
        except Exception as error:  # noqa: BLE001 - everything is recorded; only its printing failed
            command = f"energy-profiler report {shlex.quote(display_path(session.path))}"
            write_message(
                f"cannot print the report ({type(error).__name__}: {error}); the run is recorded, see {command}"
            )
        finally:
            random.setstate(random_state)
        return whole

    def _at_exit(self) -> None:
        """Stop a recording that the script did not stop, because it forgot or an exception ended it."""
        error = getattr(sys, "last_value", None)
        error = None if error is self._previous_error else error
        self._stop(_status_after(error), error)
        if isinstance(error, KeyboardInterrupt):
            exit_by_interrupt()

    def _at_process_end(self) -> None:
        """Stop the recording of a process of multiprocessing, which ends without the functions of atexit."""
        error = sys.exception()
        self._stop(_status_after(error), error)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop(_status_after(error), error)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Decorate a function so that each call of it is recorded as a run of its own.

        Raises:
            UsageError: It is a generator or a coroutine function, whose call ends before its work begins.
        """
        kinds = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        if any(is_kind(function) for is_kind in kinds):
            raise UsageError(
                "the decorator cannot record a generator or a coroutine; use `with EnergyProfiler():` inside it."
            )

        @functools.wraps(function)
        def recorded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with self._copy():
                return function(*args, **kwargs)

        return recorded

    # -- annotations of the training ------------------------------------------------------------------------------

    def step(self, *, loss: Any = None, **work: Any) -> None:
        """End a step here, for updates that the hooks do not see; after a detected step, only record its loss.

        Args:
            loss: Number or one-element tensor. A tensor on a GPU is read asynchronously.
            work: Work that this process did in the step, by unit, such as ``tokens=4096``: numbers in host memory.
        """
        if self._session is not None:
            self._session.manual_step(loss)
            if work:
                self._session.add_work(work)

    def add_work(self, **work: Any) -> None:
        """Count work of a step that the hooks see, by unit, such as ``add_work(tokens=4096)``; ends no step."""
        if self._session is not None:
            self._session.add_work(work)

    def add_settings(self, settings: Mapping[str, Any]) -> None:
        """Store further settings of the training, unless ``config=`` has them.

        Values that are not plain are ignored. Those that look like secrets are dropped with a warning.
        """
        if self._session is not None:
            plain, secrets = usable_settings(settings)
            self._session.add_settings(plain)
            if secrets:
                names = ", ".join(secrets)
                self._session.warn(f"settings that look like secrets are not stored in run.json: {names}")

    def log(self, *values: Any, **named: Any) -> None:
        """Record metrics by name, such as ``log(val_error=0.12)``: numbers or one-element tensors.

        A value without a name is ignored with a warning.
        """
        if self._session is None:
            return
        if values:
            self._session.warn(
                "prof.log() got a value without a name and ignored it; use prof.log(name=value)"
            )
        for name, value in named.items():
            self._session.log(name, value)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name the phase of the steps inside; time outside steps becomes a span of that kind.

        Phases of concurrent tasks or threads may overlap: their common time counts for the one opened first.
        """
        session = self._session
        phase = None if session is None else session.enter_phase(str(name))
        try:
            yield
        finally:
            if session is not None and phase is not None:
                session.leave_phase(phase)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the progress of the run as plain values, to be saved with a checkpoint; empty before the start."""
        return {} if self._session is None else self._session.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint: joules accumulate, and steps that are repeated count as lost work.

        Call it before the start or before the first step, on every rank.

        Raises:
            UsageError: ``state`` was not returned by :meth:`state_dict`.
        """
        self._checkpoint = _checked_state(state)
        if self.is_recording and self._session is not None:
            self._resume(self._session)

    def _resume(self, session: "Session") -> None:
        if self._checkpoint is not None:
            point = {key: self._checkpoint[key] for key in _POINT}
            session.resume(point, None if self._config.name else self._checkpoint["name"])
        resumed = session.resumed or {}
        self._monitor.curve.rates.before = int(resumed.get("step") or 0)
        self._monitor.earlier_joules = resumed.get("joules") or 0.0

    # -- state during the run -------------------------------------------------------------------------------------

    @property
    def is_recording(self) -> bool:
        """True from start to stop, in the process that started it."""
        return self._session is not None and self._session.is_recording

    @property
    def budget(self) -> Budget:
        """Target loss and energy budget of the run."""
        return self._config.budget

    @property
    def should_stop(self) -> bool:
        """True once the energy budget is used, or ``target_loss`` will not be reached within it.

        Each rank decides from its own record: let the ranks agree before one of them leaves the loop.
        """
        return self._monitor.should_stop

    def metrics(self) -> dict[str, float]:
        """Return the progress as a dictionary for an experiment tracker, with keys such as ``energy/total_joules``.

        A call takes about a microsecond, so it can be made in every step. Values that are not known yet are absent:
        all of them before the start, and forecasts during the first seconds after the first call.
        """
        return self._monitor.metrics()

    @property
    def run(self) -> "Run":
        """The recorded run, as :func:`profiler.load_run` returns it; readable during the recording.

        After the end, rank 0 of a job returns the run of all ranks.

        Raises:
            RunError: The run directory cannot be read.
            UsageError: Nothing was recorded.
        """
        from profiler.run import load_run

        if self._session is None:
            raise UsageError(
                "nothing was recorded: the profiler never started, could not start, or saw no training."
            )
        if self._session.status is Status.RUNNING:
            return load_run(self._session.path)
        if self._run is None:
            self._run = load_run(self._session.run_path)
        return self._run

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an EnergyProfiler cannot be pickled or copied, because it records this process; use state_dict() for a "
            "checkpoint, or its run"
        )

    def __repr__(self) -> str:
        session, latest = self._session, self._monitor.latest
        if session is None:
            return "EnergyProfiler(not started)"
        parts = [session.status.value]
        if latest is not None:
            parts.append(f"{latest.steps:,} steps")
            if latest.total_joules is not None:
                parts.append(format_joules(latest.total_joules))
        return f"EnergyProfiler({', '.join([*parts, str(session.path)])})"


if EnergyProfiler.__doc__:  # python -OO removes it
    _head, _raises, _tail = EnergyProfiler.__doc__.partition("    Raises:")
    EnergyProfiler.__doc__ = f"{_head}{documentation()}\n\n{_raises}{_tail}"

_RUNNING: list[EnergyProfiler] = []


def _after_fork_in_child() -> None:
    """Wait for the first training of a forked child, of which its parent's record has no steps."""
    if (
        _RUNNING and "torch.optim.optimizer" in sys.modules
    ):  # torch may be blocked, or be imported at this moment
        parent = _RUNNING[-1]
        # A process group that exists already is that of the parent.
        join = parent._join_from_fork if process_group() is None else None  # noqa: SLF001 - the class above
        FirstTraining(on_update=parent._mark_fork, on_backward=join).install()  # noqa: SLF001


at_fork_in_child(_after_fork_in_child)


def running() -> EnergyProfiler | None:
    """Return the profiler that was started last and still records in this process; None if there is none."""
    return next((profiler for profiler in reversed(_RUNNING) if profiler.is_recording), None)


def join_run(place: RunLayout) -> EnergyProfiler:
    """Record this process until its end, as a rank of a run that the process which started it records."""
    from multiprocessing.util import Finalize

    profiler = EnergyProfiler()
    profiler._joined = place  # noqa: SLF001 - the class above
    profiler.start()
    Finalize(None, profiler._at_process_end, exitpriority=_EXIT_PRIORITY)  # noqa: SLF001
    return profiler


def _joined_layout(identity: Identity) -> RunLayout | None:
    """Return the place of a process that a recording one started as a further rank of its run; None for others."""
    inheritance = inherited(os.environ)
    launched = None if inheritance is None else launched_rank(os.environ, inheritance.pid)
    if inheritance is None or launched is None:
        return None
    rank, world_size = (identity.rank, identity.world_size) if identity.is_distributed else launched
    return inheritance.layout(rank, world_size) if rank else None


def _resumed_name(resume: "str | os.PathLike[str] | None") -> str | None:
    """Return the name that the user gave to the run that this one continues; None if there is none."""
    if resume is None:
        return None
    from profiler.merging.load import given_name

    return given_name(Path(resume))


def _find_sensors(config: ProfilerConfig) -> "Found":
    from profiler.recording.device_selection import cuda_uuids
    from profiler.sensors import EXTERNAL, discover
    from profiler.sensors.base import Found
    from profiler.sensors.external import VARIABLE

    given, meter = config.given_sensors, config.external_meter
    environ = os.environ if meter is None else {**os.environ, VARIABLE: meter}
    if not given and (config.sensors is None or meter is not None):
        return discover(environ=environ, cuda_uuids=cuda_uuids())
    named = discover(environ=environ, sources=(EXTERNAL,)) if meter is not None else Found()
    return Found(sensors=(*given, *named.sensors), refusals=named.refusals)


def _find_sensors_in_time(config: ProfilerConfig) -> "Found":
    """Find sensors on another thread: a fork may have copied a lock of a driver's library that stays locked.

    Raises:
        TimeoutError: It took too long.
    """
    call = BackgroundCall(lambda: _find_sensors(config))
    if not call.wait(_SENSORS_SECONDS):
        raise TimeoutError("the sensors do not respond")
    return call.result()


def _status_after(error: BaseException | None) -> Status:
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return Status.COMPLETED
    return Status.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Status.FAILED


def _checked_state(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """Check a state for :meth:`EnergyProfiler.load_state_dict`; None if it is empty."""
    if not state:
        return None
    try:
        run, step, joules = str(state["run"]), int(state["step"]), state["joules"]
        total = None if joules is None else float(joules)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"this is not a state of EnergyProfiler.state_dict(): {error!r}.") from None
    if step < 0 or not 0.0 <= (total or 0.0) < float("inf"):
        raise UsageError(f"this is not a state of EnergyProfiler.state_dict(): step {step} at {total} J.")
    name = state.get("name")
    return {"run": run, "step": step, "joules": total, "name": name if isinstance(name, str) else None}


def _free_path(config: ProfilerConfig) -> Path:
    """Return a directory without files of a run: the configured one, or ``path-2``, ``path-3``, ... beside it.

    The path is absolute, because the training may change the current directory.
    """
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    path = Path(config.run_dir or Path(_PARENT) / f"{stamp}-{os.urandom(3).hex()}").absolute()
    free, number = path, 2
    while any(os.path.lexists(free / name) for name in _FILES) or any(free.glob("rank-*-attempt-*")):
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free


def _reserve_path(config: ProfilerConfig, created: list[Path]) -> Path:
    """Return such a directory after creating a file in it, so that concurrent processes choose different ones.

    The directories that did not exist before are added to ``created``, the innermost first.

    If the disk does not respond in time, the name is made unique by a random number instead.
    """
    reservation = BackgroundCall(lambda: _reserve(config, created))
    if reservation.wait(START_SECONDS):
        return reservation.result()
    path = Path(config.run_dir or Path(_PARENT) / "run").absolute()
    return path.with_name(f"{path.name}-{os.urandom(3).hex()}")


def _reserve(config: ProfilerConfig, created: list[Path]) -> Path:
    while True:
        path = _free_path(config)
        new = [one for one in (path, path.parent) if not one.exists()]
        if create_exclusively(path / STEPS.filename):
            created += new
            return path
