"""Identity of a board and its readable NVML fields."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from profiler.errors import MissingDependencyError
from profiler.sensors.counter_check import DEFAULT_LIMIT_WATTS
from profiler.sensors.cuda_devices import Board

FIELD_ENERGY = 83
FIELD_POWER_AVERAGE = 185
FIELD_POWER_INSTANT = 186
VALUE_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Members of ``nvmlValue_t`` in the order of ``nvmlValueType_t``."""
_AVERAGING_USAGE_SINCE = 7
"""NVML_DEVICE_ARCH_AMPERE. From this one on, the power usage is an average over one second, except on GA100."""
_GA100_MODELS = ("A100", "A30", "A800")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    """Fields and calls that read one board, chosen when it is opened.

    Attributes:
        fields: Field numbers to read in one call, in order.
        energy_call: True if the energy is read by its own call because the field does not work.
        usage_call: True if the power is read by its own call because neither power field works.
        source: Description of the readings, for people.
    """

    fields: tuple[int, ...]
    energy_call: bool
    usage_call: bool
    source: str

    @property
    def has_energy(self) -> bool:
        """True if an energy counter is read."""
        return self.energy_call or FIELD_ENERGY in self.fields

    @property
    def has_power(self) -> bool:
        """True if a power is read."""
        return self.usage_call or len(self.fields) > (FIELD_ENERGY in self.fields)


def load_nvml(needed_for: str) -> Any:
    """Import ``pynvml``, the module of nvidia-ml-py, without the warning of a deprecated package of its name.

    That package, which others still require, contains the same module and warns when it is imported. Where the user
    turns warnings into errors, the boards would not be read.

    Args:
        needed_for: Purpose of the import, for the error.

    Raises:
        MissingDependencyError: nvidia-ml-py is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="The pynvml package is deprecated", category=FutureWarning
            )
            import pynvml
    except ImportError as error:
        raise MissingDependencyError(
            "nvidia-ml-py", needed_for=needed_for, install="pip install nvidia-ml-py"
        ) from error
    return pynvml


def describe_board(nvml: Any, handle: Any) -> Board:
    """Read the identity of a board.

    Args:
        nvml: The initialised ``pynvml`` module.
        handle: Handle of the board.

    Raises:
        nvml.NVMLError: The UUID cannot be read.
    """
    uuid = nvml.nvmlDeviceGetUUID(handle)
    cores = query(nvml, lambda: nvml.nvmlDeviceGetNumGpuCores(handle), 0)
    clock = query(nvml, lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM), 0)
    mig = query(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle)[0] == 1, default=False)
    return Board(
        uuid=uuid,
        bus_id=query(nvml, lambda: str(nvml.nvmlDeviceGetPciInfo(handle).busId), ""),
        model=query(nvml, lambda: str(nvml.nvmlDeviceGetName(handle)), "unknown model"),
        speed=float(cores * clock),
        mig=mig,
        mig_uuids=_instances(nvml, handle) if mig else (),
    )


def _instances(nvml: Any, handle: Any) -> tuple[str, ...]:
    count = query(nvml, lambda: int(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)), 0)
    found = (query(nvml, partial(_instance_uuid, nvml, handle, index), "") for index in range(count))
    return tuple(uuid for uuid in found if uuid)


def _instance_uuid(nvml: Any, handle: Any, index: int) -> str:
    return str(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)))


def is_shared(nvml: Any, handle: Any, *, has_context: bool) -> bool:
    """Return True if other processes use the board.

    Args:
        nvml: The initialised ``pynvml`` module.
        handle: Handle of the board.
        has_context: True if this process already uses CUDA. A container may list it under another process number; a
            single unknown process is then assumed to be this one.
    """
    processes: Sequence[Any] = query(nvml, lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle), [])
    listed = {process.pid for process in processes}
    others = listed - {os.getpid()}
    return len(others) > (has_context and others == listed)


def query(nvml: Any, call: Callable[[], _T], default: _T) -> _T:
    """Return the result of a call, or ``default`` if the board does not support it."""
    try:
        return call()
    except nvml.NVMLError:
        return default


class FieldReader:
    """Reads several fields of one board in one call, into preallocated memory.

    Args:
        nvml: The initialised ``pynvml`` module.
        handle: Handle of the board.
        fields: Field numbers.
    """

    __slots__ = ("_answers", "_handle", "_nvml", "_values")

    def __init__(self, nvml: Any, handle: Any, fields: Sequence[int]) -> None:
        self._nvml = nvml
        self._handle = handle
        self._values = (nvml.c_nvmlFieldValue_t * len(fields))()
        # ctypes creates a new object on every access to an element, so the elements are kept.
        self._answers = [
            (number, value, value.value) for number, value in zip(fields, self._values, strict=True)
        ]
        for number, value, _ in self._answers:
            value.fieldId = number

    def read(self) -> dict[int, int]:
        """Read the fields.

        A power of 0 is treated as missing: some boards return it when polled faster than they measure.

        Returns:
            Milliwatts or millijoules by field, without fields that failed.

        Raises:
            nvml.NVMLError: The whole call failed, or the library does not have it.
        """
        code = self._call(self._handle, len(self._values), self._values)
        if code != 0:
            raise self._nvml.NVMLError(code)
        seen: dict[int, int] = {}
        for number, answer, value in self._answers:
            if answer.nvmlReturn == 0:
                amount = int(getattr(value, VALUE_MEMBERS[answer.valueType]))
                if amount > 0 or number == FIELD_ENERGY:
                    seen[number] = amount
        return seen

    def _call(self, *arguments: Any) -> int:
        # pynvml's own wrapper allocates the array in every call, which doubles the time of a read.
        try:
            return int(self._nvml.nvmlLib.nvmlDeviceGetFieldValues(*arguments))
        except AttributeError:
            return int(self._nvml.NVML_ERROR_FUNCTION_NOT_FOUND)


def plan_board(nvml: Any, handle: Any) -> ReadPlan | None:
    """Choose how to read a board's energy and power.

    A counter of exactly 0 is treated as missing, because boards without a counter have been observed to report it.

    Returns:
        The plan, or None if neither energy nor power can be read.

    Raises:
        nvml.NVMLError: The board is lost or access is denied.
    """
    wanted = (FIELD_ENERGY, FIELD_POWER_INSTANT, FIELD_POWER_AVERAGE)
    seen: Mapping[int, int] = query(nvml, FieldReader(nvml, handle, wanted).read, {})
    energy_field = seen.get(FIELD_ENERGY, 0) > 0
    power_field = next((f for f in wanted[1:] if f in seen), None)
    # The field is preferred because one call then reads energy and power at the same moment; a driver or board may lack
    # it and have the call.
    energy_call = not energy_field and _works(nvml, lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    usage_call = power_field is None and _works(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    fields = (FIELD_ENERGY,) * energy_field + (() if power_field is None else (power_field,))
    plan = ReadPlan(
        fields=fields,
        energy_call=energy_call,
        usage_call=usage_call,
        source=_source(nvml, handle, energy=energy_field or energy_call, power_field=power_field),
    )
    return plan if plan.has_energy or plan.has_power else None


def _works(nvml: Any, call: Callable[[], int]) -> bool:
    """Return True if a call returns a value above 0, False if it is not supported; other errors are raised."""
    try:
        return call() > 0
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        return False


def _source(nvml: Any, handle: Any, *, energy: bool, power_field: int | None) -> str:
    if energy:
        return "NVML total energy counter"
    names = {FIELD_POWER_INSTANT: "instantaneous power", FIELD_POWER_AVERAGE: "power averaged over 1 s"}
    return (
        f"NVML {names[power_field] if power_field is not None else _usage_meaning(nvml, handle)}, integrated"
    )


def _usage_meaning(nvml: Any, handle: Any) -> str:
    architecture = query(nvml, lambda: nvml.nvmlDeviceGetArchitecture(handle), 0)
    model = query(nvml, lambda: str(nvml.nvmlDeviceGetName(handle)), "")
    averaged = architecture >= _AVERAGING_USAGE_SINCE and not any(ga100 in model for ga100 in _GA100_MODELS)
    return "power averaged over 1 s" if averaged else "instantaneous power"


def power_limit_watts(nvml: Any, handle: Any) -> float:
    """Return the enforced power limit of a board in watts, or a typical maximum if it is unknown."""
    milliwatts = query(nvml, lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle), 0)
    return milliwatts * 1e-3 or DEFAULT_LIMIT_WATTS
