"""What NVML says of one board: its identity, and which of its fields can be read."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from profiler.sensors.cuda_devices import Board

FIELD_ENERGY = 83
FIELD_POWER_AVERAGE = 185
FIELD_POWER_INSTANT = 186
VALUE_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Members of ``nvmlValue_t`` in the order of ``nvmlValueType_t``."""
_AVERAGING_USAGE_SINCE = 7
"""NVML_DEVICE_ARCH_AMPERE: from there on the power usage is the average over one second, except on GA100."""
_GA100_MODELS = ("A100", "A30", "A800")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one board is read, settled when it is opened.

    Attributes:
        fields: Fields to ask for in one call, in order.
        energy_call: Whether the energy comes from its own call, because the field does not work.
        usage_call: Whether the power comes from its own call, because neither power field works.
        source: What is read, for people.
    """

    fields: tuple[int, ...]
    energy_call: bool
    usage_call: bool
    source: str

    @property
    def has_energy(self) -> bool:
        """Whether an energy counter is read."""
        return self.energy_call or FIELD_ENERGY in self.fields

    @property
    def has_power(self) -> bool:
        """Whether a power is read."""
        return self.usage_call or len(self.fields) > (FIELD_ENERGY in self.fields)


def describe_board(nvml: Any, handle: Any) -> Board:
    """Ask a board for its identity.

    Args:
        nvml: The initialised ``pynvml`` module.
        handle: The board's handle.

    Raises:
        nvml.NVMLError: It does not even give its UUID.
    """
    uuid = nvml.nvmlDeviceGetUUID(handle)
    cores = optional(nvml, lambda: nvml.nvmlDeviceGetNumGpuCores(handle), 0)
    clock = optional(nvml, lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM), 0)
    mig = optional(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle)[0] == 1, default=False)
    return Board(
        uuid=uuid,
        bus_id=optional(nvml, lambda: str(nvml.nvmlDeviceGetPciInfo(handle).busId), ""),
        model=optional(nvml, lambda: str(nvml.nvmlDeviceGetName(handle)), "unknown model"),
        speed=float(cores * clock),
        mig=mig,
        mig_uuids=_instances(nvml, handle) if mig else (),
    )


def _instances(nvml: Any, handle: Any) -> tuple[str, ...]:
    count = optional(nvml, lambda: int(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)), 0)
    found = (optional(nvml, partial(_instance_uuid, nvml, handle, index), "") for index in range(count))
    return tuple(uuid for uuid in found if uuid)


def _instance_uuid(nvml: Any, handle: Any, index: int) -> str:
    return str(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)))


def is_shared(nvml: Any, handle: Any, *, has_context: bool) -> bool:
    """Whether other processes use the board.

    Args:
        nvml: The initialised ``pynvml`` module.
        handle: The board's handle.
        has_context: Whether this process uses CUDA by now. In a container it may be listed under a number that it
            does not know as its own; one unknown process is then taken to be this one.
    """
    processes: Sequence[Any] = optional(nvml, lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle), [])
    listed = {process.pid for process in processes}
    others = listed - {os.getpid()}
    return len(others) > (has_context and others == listed)


def optional(nvml: Any, ask: Callable[[], _T], default: _T) -> _T:
    """Return an answer that a board may refuse, or what stands for its absence."""
    try:
        return ask()
    except nvml.NVMLError:
        return default


class FieldReader:
    """Reads several fields of one board in one call, into memory that is made once.

    Args:
        nvml: The initialised ``pynvml`` module.
        handle: The board's handle.
        fields: The fields' numbers.

    Raises:
        nvml.NVMLError: The driver's library has no such call.
    """

    __slots__ = ("_answers", "_handle", "_nvml", "_values")

    def __init__(self, nvml: Any, handle: Any, fields: Sequence[int]) -> None:
        self._nvml = nvml
        self._handle = handle
        self._values = (nvml.c_nvmlFieldValue_t * len(fields))()
        # ctypes makes a new object each time an element is looked at.
        self._answers = [
            (number, value, value.value) for number, value in zip(fields, self._values, strict=True)
        ]
        for number, value, _ in self._answers:
            value.fieldId = number

    def read(self) -> dict[int, int]:
        """Read the fields.

        A power of 0 is no power: some boards answer so when asked faster than they measure.

        Returns:
            Milliwatts or millijoules by field; a field that fails is left out.

        Raises:
            nvml.NVMLError: The call as a whole failed.
        """
        code = self._ask(self._handle, len(self._values), self._values)
        if code != 0:
            raise self._nvml.NVMLError(code)
        seen: dict[int, int] = {}
        for number, answer, value in self._answers:
            if answer.nvmlReturn == 0:
                amount = int(getattr(value, VALUE_MEMBERS[answer.valueType]))
                if amount > 0 or number == FIELD_ENERGY:
                    seen[number] = amount
        return seen

    def _ask(self, *arguments: Any) -> int:
        # pynvml's own function builds the array anew in every call, which doubles the time of a read.
        try:
            return int(self._nvml.nvmlLib.nvmlDeviceGetFieldValues(*arguments))
        except AttributeError:
            return int(self._nvml.NVML_ERROR_FUNCTION_NOT_FOUND)


def plan_board(nvml: Any, handle: Any) -> Plan | None:
    """Try every way to read a board's energy and power, and choose.

    A counter that stands at 0 is none: boards without one have been seen to report that.

    Returns:
        The plan, or None when neither energy nor power can be read.

    Raises:
        nvml.NVMLError: The board is lost or forbidden, and not merely without these readings.
    """
    wanted = (FIELD_ENERGY, FIELD_POWER_INSTANT, FIELD_POWER_AVERAGE)
    seen: Mapping[int, int] = optional(nvml, FieldReader(nvml, handle, wanted).read, {})
    energy_field = seen.get(FIELD_ENERGY, 0) > 0
    power_field = next((f for f in wanted[1:] if f in seen), None)
    energy_call = not energy_field and _works(nvml, lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    usage_call = power_field is None and _works(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    fields = (FIELD_ENERGY,) * energy_field + (() if power_field is None else (power_field,))
    plan = Plan(
        fields=fields,
        energy_call=energy_call,
        usage_call=usage_call,
        source=_source(nvml, handle, energy=energy_field or energy_call, power_field=power_field),
    )
    return plan if plan.has_energy or plan.has_power else None


def _works(nvml: Any, ask: Callable[[], int]) -> bool:
    """Whether a call gives a value above 0. What is merely not supported is an answer; all else is raised."""
    try:
        return ask() > 0
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
    architecture = optional(nvml, lambda: nvml.nvmlDeviceGetArchitecture(handle), 0)
    model = optional(nvml, lambda: str(nvml.nvmlDeviceGetName(handle)), "")
    averaged = architecture >= _AVERAGING_USAGE_SINCE and not any(ga100 in model for ga100 in _GA100_MODELS)
    return "power averaged over 1 s" if averaged else "instantaneous power"
