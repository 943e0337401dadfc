"""NVIDIA boards through NVML: the energy counter where there is one, else power."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from profiler.errors import MissingDependencyError, SensorError, SensorUnavailableError
from profiler.records import Domain, Provenance, Reading, Refusal
from profiler.sensors.base import Found
from profiler.sensors.cuda_devices import Board, VisibleBoards, visible_boards
from profiler.sensors.nvml_board import (
    FIELD_ENERGY,
    FIELD_POWER_AVERAGE,
    FIELD_POWER_INSTANT,
    FieldReader,
    Plan,
    describe_board,
    plan_board,
)
from profiler.sensors.nvml_help import why_no_boards, why_no_nvml
from profiler.sensors.surroundings import Surroundings
from profiler.units import NANOSECONDS_PER_SECOND

BOARD_GAIN_UNCERTAINTY = 0.05
"""One standard deviation of a board's gain (Yang, Adamek and Armour, SC24, arXiv 2312.02741: about 5 % a
board, unlike between boards of one model)."""
_RETRY_NS = NANOSECONDS_PER_SECOND
_RESTART_NS = 5 * NANOSECONDS_PER_SECOND
_MIG_NOTE = (
    "Split into instances (MIG): they have no meter of their own, so this is the whole board's energy."
)
_MODULE_NOTE = "On this module the counter includes the processor and memory beside the GPU."
_MODULES = ("GH200", "GB200", "GB300")
_MILLI = 1e-3


class _Gpu:
    """One board while it is read."""

    __slots__ = ("_fields", "_handle", "_nvml", "_plan", "_sought_ns", "domain")

    def __init__(self, nvml: Any, handle: Any, plan: Plan, domain: Domain) -> None:
        self._nvml = nvml
        self._plan = plan
        self._sought_ns: int | None = None
        self.domain = domain
        self._use(handle)

    def _use(self, handle: Any) -> None:
        self._handle = handle
        self._fields = FieldReader(self._nvml, handle, self._plan.fields) if self._plan.fields else None

    def read(self, clock: Callable[[], int]) -> Reading | None:
        before = clock()
        try:
            if self._sought_ns is not None:
                self._find_again(before)
            energy, power = self._amounts()
        except self._nvml.NVMLError:
            self._sought_ns = before if self._sought_ns is None else self._sought_ns
            return None
        self._sought_ns = None
        if energy is None and power is None:
            return None
        return Reading(
            domain=self.domain.name,
            time_ns=(before + clock()) // 2,
            energy_joules=energy,
            power_watts=power,
        )

    def _amounts(self) -> tuple[float | None, float | None]:
        seen = self._fields.read() if self._fields is not None else {}
        energy = seen.get(FIELD_ENERGY)
        power = seen.get(FIELD_POWER_INSTANT, seen.get(FIELD_POWER_AVERAGE))
        if self._plan.energy_call:
            energy = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        if self._plan.usage_call:
            power = self._nvml.nvmlDeviceGetPowerUsage(self._handle)
        return _scaled(energy), _scaled(power)

    def _find_again(self, now_ns: int) -> None:
        """Look a failed board up again, at most once a second: one that returns may have a new handle."""
        assert self._sought_ns is not None
        if now_ns - self._sought_ns >= _RETRY_NS:
            self._sought_ns = now_ns
            self._use(self._nvml.nvmlDeviceGetHandleByUUID(self.domain.device))


def _scaled(milli: int | None) -> float | None:
    return None if milli is None else milli * _MILLI


class NvmlSensor:
    """Reads every visible board.

    Counters are passed on as they are: one that restarts, as on reloading the driver, shows as a decrease.

    Args:
        nvml: The ``pynvml`` module, initialised; the sensor shuts it down.
        gpus: The boards.
        clock: Monotonic nanoseconds.
    """

    def __init__(self, nvml: Any, gpus: Sequence[_Gpu], *, clock: Callable[[], int]) -> None:
        self._nvml = nvml
        self._gpus = tuple(gpus)
        self._clock = clock
        self._process = os.getpid()
        self._closed = False
        self._failed_ns: int | None = None

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The boards it reads."""
        return tuple(gpu.domain for gpu in self._gpus)

    def read(self) -> Sequence[Reading]:
        """Read every board once; one that fails is left out, and sought again a second later.

        Raises:
            SensorError: The sensor is closed, or no board could be read.
        """
        if self._closed:
            raise SensorError("the NVML sensor is closed")
        readings = [reading for gpu in self._gpus if (reading := gpu.read(self._clock)) is not None]
        if not readings:
            self._start_again()
            raise SensorError("no GPU could be read")
        self._failed_ns = None
        return readings

    def _start_again(self) -> None:
        """Start NVML anew every few seconds while nothing can be read: a reloaded driver needs it."""
        now = self._clock()
        if self._failed_ns is None:
            self._failed_ns = now
        elif now - self._failed_ns >= _RESTART_NS:
            self._failed_ns = now
            _shut_down(self._nvml)
            _start_quietly(self._nvml)

    def close(self) -> None:
        """Shut NVML down, in the process that started it."""
        if not self._closed and os.getpid() == self._process:
            _shut_down(self._nvml)
        self._closed = True


def open_nvml(surroundings: Surroundings) -> Found:
    """Start NVML and find the boards that this process can use.

    Raises:
        SensorUnavailableError: There is none, with the reason: no bindings, library, driver, permission or
            board.
    """
    nvml = _started(surroundings)
    try:
        return _open_visible(nvml, surroundings)
    except BaseException:
        _shut_down(nvml)
        raise


def _open_visible(nvml: Any, surroundings: Surroundings) -> Found:
    boards, refusals = _all_boards(nvml)
    visible = visible_boards([b for b, _ in boards], surroundings.environ, cuda_uuids=surroundings.cuda_uuids)
    if not visible.boards:
        raise why_no_boards(len(boards), surroundings.environ.get("CUDA_VISIBLE_DEVICES"))
    gpus, unreadable = _open_boards(nvml, visible, {board.uuid: handle for board, handle in boards})
    if not gpus:
        raise SensorUnavailableError(unreadable[0].reason, remedy=unreadable[0].remedy)
    sensor = NvmlSensor(nvml, gpus, clock=surroundings.clock)
    return Found(sensors=(sensor,), refusals=(*refusals, *unreadable))


def _started(surroundings: Surroundings) -> Any:
    try:
        import pynvml
    except ImportError as error:
        raise MissingDependencyError(
            "nvidia-ml-py", needed_for="reading NVIDIA GPUs", install="pip install nvidia-ml-py"
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise why_no_nvml(error.value, str(error), surroundings) from error
    return pynvml


def _shut_down(nvml: Any) -> None:
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return  # somebody else shut it down, or the driver is gone: nothing is left to release


def _start_quietly(nvml: Any) -> None:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return  # the driver is not back yet: the next try comes in a few seconds


def _all_boards(nvml: Any) -> tuple[list[tuple[Board, Any]], list[Refusal]]:
    boards: list[tuple[Board, Any]] = []
    refusals: list[Refusal] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            boards.append((describe_board(nvml, handle), handle))
        except nvml.NVMLError as error:
            refusals.append(_refusal(f"GPU {index} of the driver's list", error))
    return boards, refusals


def _open_boards(
    nvml: Any, visible: VisibleBoards, handles: Mapping[str, Any]
) -> tuple[list[_Gpu], list[Refusal]]:
    gpus: list[_Gpu] = []
    refusals: list[Refusal] = []
    for index, board in visible.boards:
        try:
            plan = plan_board(nvml, handles[board.uuid])
        except nvml.NVMLError as error:
            refusals.append(_refusal(f"gpu:{index}", error))
            continue
        if plan is None:
            refusals.append(Refusal(source="nvml", reason=f"gpu:{index} reports neither energy nor power"))
            continue
        domain = _domain(index, board, plan, visible.notes)
        gpus.append(_Gpu(nvml, handles[board.uuid], plan, domain))
    return gpus, refusals


def _refusal(what: str, error: Exception) -> Refusal:
    return Refusal(
        source="nvml", reason=f"{what} cannot be read: {error}", remedy="Check it with: nvidia-smi -q"
    )


def _domain(index: int, board: Board, plan: Plan, notes: tuple[str, ...]) -> Domain:
    module = plan.has_energy and any(name in board.model for name in _MODULES)
    return Domain(
        name=f"gpu:{index}",
        source=f"{plan.source} ({board.model})",
        provenance=Provenance.COUNTER if plan.has_energy else Provenance.INTEGRATED,
        gain_uncertainty=BOARD_GAIN_UNCERTAINTY,
        device=board.uuid,
        notes=(*((_MIG_NOTE,) if board.mig else ()), *((_MODULE_NOTE,) if module else ()), *notes),
    )
