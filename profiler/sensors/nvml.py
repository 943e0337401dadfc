"""Finds NVIDIA boards through NVML: the energy counter where there is one, else power."""

from typing import Any

from profiler.errors import MissingDependencyError, SensorUnavailableError
from profiler.records import Domain, Provenance, Refusal
from profiler.sensors.base import Found
from profiler.sensors.cuda_devices import Board, visible_boards
from profiler.sensors.environment import Surroundings
from profiler.sensors.nvml_board import Plan, describe_board, is_shared, plan_board
from profiler.sensors.nvml_errors import why_no_boards, why_no_nvml
from profiler.sensors.nvml_samples import PowerBuffer, known_clocks
from profiler.sensors.nvml_sensor import GpuMeter, NvmlSensor, shut_down

BOARD_GAIN_UNCERTAINTY = 0.05
"""One standard deviation of a board's gain (Yang, Adamek and Armour, SC24, arXiv 2312.02741: about 5 % a
board, unlike between boards of one model)."""
MIG_NOTE = "Split into instances (MIG): they have no meter of their own, so this is the whole board's energy."
_SHARED_NOTE = "Other processes used this board as well when the run began: its energy includes theirs."
_MODULE_NOTE = "On this module the counter includes the processor and memory beside the GPU."
_BUFFERED = "NVML buffered power readings, integrated"
_MODULES = ("GH200", "GB200", "GB300")


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
        shut_down(nvml)
        raise


def _open_visible(nvml: Any, surroundings: Surroundings) -> Found:
    boards, refusals = _all_boards(nvml)
    visible = visible_boards([b for b, _ in boards], surroundings.environ, cuda_uuids=surroundings.cuda_uuids)
    if not visible.boards:
        raise why_no_boards(len(boards), surroundings.environ.get("CUDA_VISIBLE_DEVICES"))
    handles = {board.uuid: handle for board, handle in boards}
    in_use = surroundings.cuda_uuids is not None
    meters: list[GpuMeter] = []
    for index, board in visible.boards:
        try:
            handle = handles[board.uuid]
            meters.append(_open_board(nvml, handle, index, board, notes=visible.notes, has_context=in_use))
        except (nvml.NVMLError, SensorUnavailableError) as error:
            refusals.append(_refusal(f"gpu:{index}", error))
    if not meters:
        raise SensorUnavailableError(refusals[-1].reason, remedy=refusals[-1].remedy)
    return Found(sensors=(NvmlSensor(nvml, meters, clock=surroundings.clock),), refusals=tuple(refusals))


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


def _open_board(
    nvml: Any, handle: Any, index: int, board: Board, *, notes: tuple[str, ...], has_context: bool
) -> GpuMeter:
    """Open one board.

    Raises:
        nvml.NVMLError: It is lost or forbidden.
        SensorUnavailableError: It reports nothing.
    """
    plan = plan_board(nvml, handle)
    if plan is None:
        raise SensorUnavailableError("it reports neither energy nor power")
    shared = is_shared(nvml, handle, has_context=has_context)
    buffer = None if plan.has_energy else _buffer(nvml, handle)
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


def _buffer(nvml: Any, handle: Any) -> PowerBuffer | None:
    """Return what the board remembers of its power, where it does."""
    buffer = PowerBuffer(nvml, handle, known_clocks())
    return buffer if buffer.probe() else None


def _notes(board: Board, plan: Plan, *, shared: bool) -> tuple[str, ...]:
    """Say what a reader must know to trust a board's joules."""
    module = plan.has_energy and any(name in board.model for name in _MODULES)
    known = ((MIG_NOTE, board.mig), (_MODULE_NOTE, module), (_SHARED_NOTE, shared))
    return tuple(note for note, applies in known if applies)


def _refusal(what: str, error: Exception) -> Refusal:
    return Refusal(
        source="nvml", reason=f"{what} cannot be read: {error}", remedy="Check it with: nvidia-smi -q"
    )
