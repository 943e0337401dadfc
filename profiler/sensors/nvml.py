"""NVIDIA boards read through NVML: the energy counter where the board has one, otherwise its power."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from profiler.clock import Clock
from profiler.errors import SensorError, SensorUnavailableError
from profiler.records import Domain, Provenance, Reading, Refusal
from profiler.sensors.base import MODULE_NOTE, Found
from profiler.sensors.counter_check import CounterGuard, over_seconds
from profiler.sensors.cuda_devices import Board, visible_boards
from profiler.sensors.environment import Environment
from profiler.sensors.host import has_display
from profiler.sensors.nvml_device import (
    FIELD_ENERGY,
    FIELD_POWER_AVERAGE,
    FIELD_POWER_INSTANT,
    FieldReader,
    ReadPlan,
    describe_board,
    is_shared,
    load_nvml,
    plan_board,
    power_limit_watts,
    query,
)
from profiler.sensors.nvml_samples import PowerBuffer
from profiler.sensors.nvml_state import StateReader
from profiler.units import NANOSECONDS_PER_SECOND

BOARD_GAIN_UNCERTAINTY = 0.05
"""Relative standard deviation of a board's gain (Yang, Adamek and Armour, SC24, arXiv 2312.02741: about 5 % per board,
different between boards of one model)."""
MIG_NOTE = (
    "Split into instances (MIG), which have no sensor of their own: this is the energy of the whole board."
)
SHARED_NOTE = "Other processes used this board when the run began: its energy includes theirs."
_BUFFERED = "NVML buffered power readings, integrated"
_MODULES = ("GH200", "GB200", "GB300")
_CHECK = "Check it with: nvidia-smi -q"

_RETRY_NS = NANOSECONDS_PER_SECOND
_RESTART_NS = 5 * NANOSECONDS_PER_SECOND
_MILLI = 1e-3

_NVIDIA_VENDOR = "0x10de"
_NO_LIBRARY_IN_CONTAINER = (
    "Start the container with the driver's tools in it: "
    "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."
)
_INSTALL_DRIVER = (
    "Install NVIDIA's driver: sudo ubuntu-drivers install (or your distribution's nvidia-driver package)"
)
_LOAD_DRIVER = "Load it: sudo modprobe nvidia"
_PERMISSION = "Allow access to the device files: sudo chmod a+rw /dev/nvidiactl /dev/nvidia[0-9]*"
_MISMATCH = (
    "Reboot, or reload the kernel module: sudo rmmod nvidia_uvm nvidia_modeset nvidia && sudo modprobe nvidia"
)
_PACKAGE = "pip uninstall -y pynvml && pip install --force-reinstall nvidia-ml-py"
_LIBRARY_NOT_FOUND = 12
"""NVML_ERROR_LIBRARY_NOT_FOUND."""
_KNOWN_ERRORS = {
    4: ("this user has no permission to use the NVIDIA driver", _PERMISSION),
    9: ("the NVIDIA driver is installed but not loaded", _LOAD_DRIVER),
    13: ("the NVML library or its Python bindings are too old", _PACKAGE),
    18: ("the NVIDIA driver was updated and the loaded kernel module is older than the library", _MISMATCH),
}
"""Reason and remedy by NVML return code."""


class GpuMeter:
    """Reads one board.

    Args:
        nvml: The initialised ``pynvml`` module.
        handle: Handle of the board.
        plan: Fields and calls to read.
        domain: Domain of the board.
        buffer: Buffered power readings, to be used instead of ``plan``.

    Attributes:
        domain: Domain of the board.
        unread_ns: Total time in which it could not be read, in nanoseconds.
        failure: Reason why the last read failed; empty if none has failed.
    """

    __slots__ = (
        "_buffer",
        "_fields",
        "_guard",
        "_handle",
        "_last_retry_ns",
        "_lost_ns",
        "_nvml",
        "_plan",
        "_states",
        "domain",
        "failure",
        "unread_ns",
    )

    def __init__(
        self, nvml: Any, handle: Any, plan: ReadPlan, domain: Domain, buffer: PowerBuffer | None = None
    ) -> None:
        self._nvml = nvml
        self._plan = plan
        self._buffer = buffer
        self._guard = CounterGuard(power_limit_watts(nvml, handle))
        self._last_retry_ns: int | None = None
        self._lost_ns = 0
        self._states = StateReader(nvml)
        self.unread_ns = 0
        self.failure = ""
        self.domain = domain
        self._use(handle)

    def _use(self, handle: Any) -> None:
        self._handle = handle
        self._fields = FieldReader(self._nvml, handle, self._plan.fields) if self._plan.fields else None
        if self._buffer is not None:
            self._buffer.use(handle)

    def read(self, clock: Clock) -> Sequence[Reading] | None:
        """Read the board; None if that fails, or if the answer lacks the counter of a board that has one."""
        before = clock.now_ns()
        try:
            if self._last_retry_ns is not None:
                self._refresh_handle(before)
            readings = (
                self._read_present(before, clock)
                if self._buffer is None
                else self._read_buffer(self._buffer, clock)
            )
        except self._nvml.NVMLError as error:
            self.failure = _reason_of(error)[0]
            if self._last_retry_ns is None:
                # The time without readings starts here; the recording bridges it.
                self._last_retry_ns = self._lost_ns = before
            return None
        if self._last_retry_ns is not None:
            self.unread_ns += before - self._lost_ns
            self._last_retry_ns = None
        return readings

    def _read_present(self, before_ns: int, clock: Clock) -> Sequence[Reading] | None:
        energy, power = self._amounts()
        # A reading without its counter would switch the domain from counter to power in the middle of the run.
        if (energy if self._plan.has_energy else power) is None:
            self.failure = "the driver returned no value"
            return None
        # The value belongs to a moment within the call: the middle halves the largest error.
        middle_ns = (before_ns + clock.now_ns()) // 2
        if energy is not None:
            energy = self._guard.update(energy, power, middle_ns)
        state = self._states.read(self._handle, clock)
        name = self.domain.name
        return (
            Reading(domain=name, time_ns=middle_ns, energy_joules=energy, power_watts=power, state=state),
        )

    def _read_buffer(self, buffer: PowerBuffer, clock: Clock) -> Sequence[Reading]:
        name = self.domain.name
        return [Reading(domain=name, time_ns=at, power_watts=watts) for at, watts in buffer.read(clock)]

    def _amounts(self) -> tuple[float | None, float | None]:
        """Return joules and watts."""
        values = self._fields.read() if self._fields is not None else {}
        energy = values.get(FIELD_ENERGY)
        power = values.get(FIELD_POWER_INSTANT, values.get(FIELD_POWER_AVERAGE))
        if self._plan.energy_call:
            energy = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        if self._plan.usage_call:
            power = self._nvml.nvmlDeviceGetPowerUsage(self._handle)
        return _scaled(energy), _scaled(power)

    def _refresh_handle(self, now_ns: int) -> None:
        """Look up a failed board again, at most once per second, because a reset board may have a new handle."""
        assert self._last_retry_ns is not None
        if now_ns - self._last_retry_ns >= _RETRY_NS:
            self._last_retry_ns = now_ns
            self._use(self._nvml.nvmlDeviceGetHandleByUUID(self.domain.device))

    def warnings(self) -> tuple[str, ...]:
        """Return problems as sentences, whose text changes only at a few thresholds."""
        name = self.domain.name
        over = over_seconds(self.unread_ns / NANOSECONDS_PER_SECOND)
        unread = (f"{name} could not be read for over {over} in total.",) if over else ()
        return (*unread, *(f"{name}: {sentence}" for sentence in self._guard.warnings()))


def _scaled(milli: int | None) -> float | None:
    return None if milli is None else milli * _MILLI


class NvmlSensor:
    """Reads every visible board.

    Counters pass through a :class:`CounterGuard`; a reset, as on reloading the driver, appears as a decrease.

    Args:
        nvml: The initialised ``pynvml`` module; the sensor shuts it down.
        gpus: The boards.
        clock: Clock of the readings.
        hardware: Models of the boards and version of the driver.

    Attributes:
        hardware: As given.
    """

    def __init__(
        self, nvml: Any, gpus: Sequence[GpuMeter], *, clock: Clock, hardware: Mapping[str, Any] | None = None
    ) -> None:
        self.hardware = hardware or {}
        self._nvml = nvml
        self._gpus = tuple(gpus)
        self._clock = clock
        self._process = os.getpid()
        self._closed = False
        self._failed_ns: int | None = None

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains of the boards."""
        return tuple(gpu.domain for gpu in self._gpus)

    def read(self) -> Sequence[Reading]:
        """Read every board once. A board that fails is omitted and looked up again after a second.

        Raises:
            SensorError: The sensor is closed, or no board could be read.
        """
        if self._closed:
            raise SensorError("the NVML sensor is closed")
        read = [readings for gpu in self._gpus if (readings := gpu.read(self._clock)) is not None]
        if not read:
            self._restart_nvml()
            reasons = ", ".join(dict.fromkeys(gpu.failure for gpu in self._gpus))
            raise SensorError(f"no GPU could be read: {reasons}")
        self._failed_ns = None
        return read[0] if len(read) == 1 else [reading for readings in read for reading in readings]

    def _restart_nvml(self) -> None:
        """Reinitialise NVML every few seconds while no board can be read; a reloaded driver requires it."""
        now = self._clock.now_ns()
        if self._failed_ns is None:
            self._failed_ns = now
        elif now - self._failed_ns >= _RESTART_NS:
            self._failed_ns = now
            _shut_down(self._nvml)
            try:
                self._nvml.nvmlInit()
            except self._nvml.NVMLError:
                return  # the driver is not loaded yet; retried after a few seconds

    @property
    def warnings(self) -> tuple[str, ...]:
        """Boards that could not be read for a while, and problems of their counters."""
        return tuple(sentence for gpu in self._gpus for sentence in gpu.warnings())

    def close(self) -> None:
        """Shut NVML down, in the process that initialised it."""
        if not self._closed and os.getpid() == self._process:
            _shut_down(self._nvml)
        self._closed = True


def _shut_down(nvml: Any) -> None:
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return  # already shut down elsewhere, or the driver is gone


def open_nvml(environment: Environment) -> Found:
    """Initialise NVML and open the boards that this process can use.

    Raises:
        MissingDependencyError: nvidia-ml-py is not installed.
        SensorUnavailableError: No board can be read; with reason and remedy.
    """
    nvml = _initialise(environment)
    try:
        return _open_visible(nvml, environment)
    except BaseException:
        _shut_down(nvml)
        raise


def _initialise(environment: Environment) -> Any:
    pynvml = load_nvml("reading NVIDIA GPUs")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise nvml_error(error.value, str(error), environment) from error
    return pynvml


def _open_visible(nvml: Any, environment: Environment) -> Found:
    try:
        boards, refusals = _list_boards(nvml)
    except nvml.NVMLError as error:
        raise nvml_error(error.value, str(error), environment) from error
    visible = visible_boards([b for b, _ in boards], environment.environ, cuda_uuids=environment.cuda_uuids)
    if not visible.boards and refusals:
        raise SensorUnavailableError(refusals[0].reason, remedy=refusals[0].remedy)
    if not visible.boards:
        raise no_boards_error(len(boards), environment.environ.get("CUDA_VISIBLE_DEVICES"))
    handles = {board.uuid: handle for board, handle in boards}
    has_context = environment.cuda_uuids is not None
    meters: list[GpuMeter] = []
    for index, board in visible.boards:
        try:
            handle = handles[board.uuid]
            meters.append(
                _open_board(nvml, handle, index, board, notes=visible.notes, has_context=has_context)
            )
        except (nvml.NVMLError, SensorUnavailableError) as error:
            refusals.append(_refusal(f"gpu:{index}", error))
    if not meters:
        raise SensorUnavailableError(refusals[-1].reason, remedy=refusals[-1].remedy)
    models = {f"gpu:{index}": board.model for index, board in visible.boards}
    hardware = {
        "boards": {meter.domain.name: models[meter.domain.name] for meter in meters},
        "driver": query(nvml, lambda: str(nvml.nvmlSystemGetDriverVersion()), ""),
    }
    sensor = NvmlSensor(nvml, meters, clock=environment.clock, hardware=hardware)
    return Found(sensors=(sensor,), refusals=tuple(refusals))


def _list_boards(nvml: Any) -> tuple[list[tuple[Board, Any]], list[Refusal]]:
    boards: list[tuple[Board, Any]] = []
    refusals: list[Refusal] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            boards.append((describe_board(nvml, handle), handle))
        except nvml.NVMLError as error:
            refusals.append(_refusal(f"GPU {index} of the driver's list", error))
    return boards, refusals


def _open_board(
    nvml: Any, handle: Any, index: int, board: Board, *, notes: tuple[str, ...], has_context: bool
) -> GpuMeter:
    """Open one board.

    Raises:
        nvml.NVMLError: The board is lost or access is denied.
        SensorUnavailableError: The board reports neither energy nor power.
    """
    plan = plan_board(nvml, handle)
    if plan is None:
        raise SensorUnavailableError("it reports neither energy nor power")
    shared = is_shared(nvml, handle, has_context=has_context)
    buffer = None if plan.has_energy else _power_buffer(nvml, handle)
    domain = Domain(
        name=f"gpu:{index}",
        source=f"{plan.source if buffer is None else _BUFFERED} ({board.model})",
        provenance=Provenance.COUNTER if plan.has_energy else Provenance.INTEGRATED,
        gain_uncertainty=BOARD_GAIN_UNCERTAINTY,
        update_period_seconds=buffer.period_seconds if buffer else None,
        buffered_seconds=buffer.seconds if buffer else 0.0,
        device=board.uuid,
        notes=(*_notes(board, plan, shared=shared), *notes),
    )
    return GpuMeter(nvml, handle, plan, domain, buffer)


def _power_buffer(nvml: Any, handle: Any) -> PowerBuffer | None:
    buffer = PowerBuffer(nvml, handle)
    return buffer if buffer.probe() else None


def _notes(board: Board, plan: ReadPlan, *, shared: bool) -> tuple[str, ...]:
    module = plan.has_energy and any(name in board.model for name in _MODULES)
    notes = ((MIG_NOTE, board.mig), (MODULE_NOTE, module), (SHARED_NOTE, shared))
    return tuple(note for note, applies in notes if applies)


def _reason_of(error: Exception) -> tuple[str, str]:
    """Return the reason of an error of NVML, and its remedy."""
    return _KNOWN_ERRORS.get(getattr(error, "value", 0)) or (str(error), _CHECK)


def _refusal(what: str, error: Exception) -> Refusal:
    reason, remedy = _reason_of(error)
    return Refusal(source="nvml", reason=f"{what} cannot be read: {reason}", remedy=remedy)


def nvml_error(code: int, text: str, environment: Environment) -> SensorUnavailableError:
    """Explain why NVML does not start.

    Args:
        code: NVML's return code.
        text: NVML's own message for it.
        environment: The machine.
    """
    if code == _LIBRARY_NOT_FOUND:
        return _no_library_error(environment)
    reason, remedy = _KNOWN_ERRORS.get(code, (f"NVML does not start: {text} (code {code})", ""))
    return SensorUnavailableError(reason, remedy=remedy)


def no_boards_error(total: int, selection: str | None) -> SensorUnavailableError:
    """Explain why there is no board to read although NVML works.

    Args:
        total: Number of boards that the driver lists.
        selection: Value of CUDA_VISIBLE_DEVICES, or None if it is not set.
    """
    if total == 0:
        return SensorUnavailableError("the NVIDIA driver lists no GPU")
    if selection is None:
        return SensorUnavailableError("none of this process's CUDA devices is a board that NVML lists")
    return SensorUnavailableError(
        f"CUDA_VISIBLE_DEVICES={selection!r} hides every one of the {total} GPUs from this process",
        remedy="Training that uses a GPU unsets it or names one: unset CUDA_VISIBLE_DEVICES",
    )


def _no_library_error(environment: Environment) -> SensorUnavailableError:
    root = environment.system_root
    if (root / "proc/driver/nvidia").exists():
        reason = "the NVIDIA driver is loaded, but its library libnvidia-ml.so.1 cannot be found"
        in_container = environment.host().container is not None
        return SensorUnavailableError(
            reason, remedy=_NO_LIBRARY_IN_CONTAINER if in_container else _INSTALL_DRIVER
        )
    if has_display(root, _NVIDIA_VENDOR):
        return SensorUnavailableError("there is an NVIDIA GPU, but no driver for it", remedy=_INSTALL_DRIVER)
    return SensorUnavailableError("this machine has no NVIDIA driver and no NVIDIA GPU")
