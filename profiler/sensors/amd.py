"""AMD GPUs read through ``amdsmi``: the energy accumulator where the board has one, otherwise its power."""

import ctypes
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from profiler.clock import Clock
from profiler.errors import MissingDependencyError, SensorUnavailableError
from profiler.records import Domain, Provenance, Reading, Refusal
from profiler.sensors.base import Found, MeterSensor
from profiler.sensors.counter_check import DEFAULT_LIMIT_WATTS, CounterGuard
from profiler.sensors.environment import Environment
from profiler.sensors.host import has_display

_SOURCE = "amdsmi"
_VENDOR = "0x1002"
_GAIN_UNCERTAINTY = 0.05
"""Relative standard deviation, chosen by this project; AMD states no tolerance."""
_MICRO = 1e-6
_LIBRARY = "libamd_smi.so"
_VISIBLE = ("ROCR_VISIBLE_DEVICES",), ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
"""Variables that select devices: each group selects among those that the group before has left."""
_POWERS = ("socket_power", "current_socket_power", "average_socket_power")
"""Keys of the power; which of them holds a number depends on the board and the version of the package."""
_SHARED_NOTE = "One board with several devices, here {devices}. Its only counter is that of the first one."
_REMEDY = "Add the user to the groups render and video, load the driver with: sudo modprobe amdgpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    """A device in the order of HIP: its handle, model, serial number, and first values."""

    handle: Any
    model: str
    serial: str
    joules: float | None
    watts: float | None

    @property
    def is_silent(self) -> bool:
        """True for the second device of a double-die board, which reports neither energy nor power."""
        return not self.joules and not self.watts


class AmdMeter:
    """Reads one board.

    Args:
        smi: The initialised ``amdsmi`` module.
        device: The device with the counter.
        domain: Domain of the board. Its provenance determines whether the counter or the power is read.
    """

    def __init__(self, smi: Any, device: _Device, domain: Domain) -> None:
        self.domain = domain
        self._smi = smi
        self._handle = device.handle
        self._guard = CounterGuard(_limit_watts(smi, device.handle))

    def read(self, clock: Clock) -> Reading | None:
        """Read the board; None if that fails."""
        has_counter = self.domain.provenance is Provenance.COUNTER
        before = clock.now_ns()
        try:
            energy = _joules(self._smi, self._handle) if has_counter else None
            # A virtual function may have a counter without a power, which then only checks the counter.
            power = (
                _tried(self._smi, _watts, self._handle) if has_counter else _watts(self._smi, self._handle)
            )
        except self._smi.AmdSmiException:
            return None
        time_ns = (before + clock.now_ns()) // 2
        if (energy if has_counter else power) is None:
            return None
        if energy is not None:
            energy = self._guard.update(energy, power, time_ns)
        return Reading(domain=self.domain.name, time_ns=time_ns, energy_joules=energy, power_watts=power)

    def warnings(self) -> tuple[str, ...]:
        """Return problems of the counter as sentences."""
        return tuple(f"{self.domain.name}: {sentence}" for sentence in self._guard.warnings())


class AmdSensor(MeterSensor[AmdMeter]):
    """Reads every visible board.

    Args:
        smi: The initialised ``amdsmi`` module; the sensor shuts it down.
        meters: The boards.
        clock: Clock of the readings.
    """

    def __init__(self, smi: Any, meters: Sequence[AmdMeter], *, clock: Clock) -> None:
        super().__init__("amdsmi", meters, clock=clock)
        self._smi = smi
        self._process = os.getpid()

    def _readings(self) -> Iterable[Reading | None]:
        return (meter.read(self._clock) for meter in self._meters)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Problems of the counters."""
        return tuple(sentence for meter in self._meters for sentence in meter.warnings())

    def close(self) -> None:
        """Shut amdsmi down, in the process that initialised it."""
        if not self._closed and os.getpid() == self._process:
            _shut_down(self._smi)
        super().close()


def open_amd(environment: Environment) -> Found:
    """Open the AMD GPUs that this process can use; nothing is found on machines without one.

    Raises:
        MissingDependencyError: amdsmi is not installed.
        SensorUnavailableError: There is a GPU and none can be read; with reason and remedy.
    """
    if not has_display(environment.system_root, _VENDOR):
        return Found()
    if any(domain.kind.torch_type == "cuda" for domain in environment.measured):
        refusal = Refusal(
            source=_SOURCE, reason="torch's devices are the NVIDIA GPUs of this machine, which are measured"
        )
        return Found(refusals=(refusal,))
    smi = _import(environment.environ)
    try:
        smi.amdsmi_init()
    except smi.AmdSmiException as error:
        raise SensorUnavailableError(f"amdsmi does not start: {_short(error)}", remedy=_REMEDY) from error
    try:
        meters = list(_open_visible(smi, environment))
    except BaseException:
        _shut_down(smi)
        raise
    if not meters:
        _shut_down(smi)
        raise SensorUnavailableError(
            "no AMD GPU that this process can use reports energy or power", remedy=_REMEDY
        )
    return Found(sensors=(AmdSensor(smi, meters, clock=environment.clock),))


def _import(environ: Mapping[str, str]) -> Any:
    if "amdsmi" not in sys.modules:
        spec = find_spec("amdsmi")
        if spec is None or spec.origin is None:
            raise MissingDependencyError(
                "amdsmi", needed_for="reading AMD GPUs", install="pip install amdsmi"
            )
        # Without its library, importing the package prints to stdout and raises KeyError.
        if not _has_library(environ, Path(spec.origin).parent):
            raise SensorUnavailableError(
                f"the library {_LIBRARY} cannot be loaded", remedy="Install ROCm's package amd-smi-lib"
            )
    try:
        import amdsmi
    except Exception as error:
        raise SensorUnavailableError(f"amdsmi cannot be imported: {_short(error)}", remedy=_REMEDY) from error
    return amdsmi


def _has_library(environ: Mapping[str, str], package: Path) -> bool:
    rocm = environ.get("ROCM_HOME") or environ.get("ROCM_PATH") or "/opt/rocm"
    for place in (_LIBRARY, package / _LIBRARY, Path(rocm) / "lib" / _LIBRARY):
        try:
            ctypes.CDLL(str(place))
        except OSError:
            continue
        return True
    return False


def _open_visible(smi: Any, environment: Environment) -> Iterator[AmdMeter]:
    """Yield a meter per visible board. The devices of one board share a meter."""
    try:
        devices = _devices(smi)
    except smi.AmdSmiException as error:
        raise SensorUnavailableError(f"the GPUs cannot be listed: {_short(error)}", remedy=_REMEDY) from error
    visible = visible_devices([device.serial for device in devices], environment.environ)
    for number, board in enumerate(_boards(devices)):
        shown = [visible.index(index) for index in board if index in visible]
        first = devices[board[0]]
        if not shown or first.is_silent:
            continue
        has_counter = bool(first.joules)
        what = "energy accumulator" if has_counter else "power, integrated"
        is_shared = len(board) > 1
        names = ", ".join(f"cuda:{index}" for index in sorted(shown))
        domain = Domain(
            # Boards of several devices are numbered by place, because processes see different devices of them.
            name=f"accel:{number}" if is_shared else f"gpu:{shown[0]}",
            source=f"amdsmi {what} ({first.model})",
            provenance=Provenance.COUNTER if has_counter else Provenance.INTEGRATED,
            gain_uncertainty=_GAIN_UNCERTAINTY,
            device=f"AMD-{first.serial}" if first.serial else None,
            notes=(_SHARED_NOTE.format(devices=names),) if is_shared else (),
        )
        yield AmdMeter(smi, first, domain)


def _boards(devices: Sequence[_Device]) -> list[tuple[int, ...]]:
    """Return the indices of the devices of each board: a silent device belongs to the board before it."""
    boards: list[tuple[int, ...]] = []
    for index, device in enumerate(devices):
        first = devices[boards[-1][0]] if boards else device
        if device.is_silent and not first.is_silent and device.model == first.model:
            boards[-1] = (*boards[-1], index)
        else:
            boards.append((index,))
    return boards


def _devices(smi: Any) -> list[_Device]:
    """Return all devices in the order in which HIP numbers them, which is that of the kernel's compute nodes."""
    found = []
    for position, handle in enumerate(smi.amdsmi_get_processor_handles()):
        info = _ask(smi, smi.amdsmi_get_gpu_asic_info, handle)
        node = _number(_ask(smi, smi.amdsmi_get_gpu_kfd_info, handle).get("node_id"))
        device = _Device(
            handle=handle,
            model=str(info.get("market_name", "unknown model")),
            serial=_hex(info.get("asic_serial")),
            joules=_tried(smi, _joules, handle),
            watts=_tried(smi, _watts, handle),
        )
        found.append((node, position, device))
    has_order = all(node is not None for node, *_ in found)
    found.sort(key=lambda one: (one[0] if has_order and one[0] is not None else 0.0, one[1]))
    return [device for *_, device in found]


def visible_devices(serials: Sequence[str], environ: Mapping[str, str]) -> list[int]:
    """Return the indices of the devices that HIP shows to this process, in its order.

    Args:
        serials: Unique identifiers of all devices, as hexadecimal digits.
        environ: Environment variables.
    """
    chosen = list(range(len(serials)))
    for group in _VISIBLE:
        value = next((environ[name] for name in group if name in environ), None)
        if value is not None:
            chosen = list(_selected(value, chosen, serials))
    return chosen


def _selected(value: str, devices: Sequence[int], serials: Sequence[str]) -> Iterator[int]:
    """Yield the devices that a variable names; an invalid entry hides all that follow it."""
    for entry in (part.strip() for part in value.split(",")):
        if re.fullmatch(r"[0-9]+", entry) and int(entry) < len(devices):
            yield devices[int(entry)]
            continue
        wanted = entry.lower().removeprefix("gpu-")
        named = [device for device in devices if wanted and serials[device] == wanted]
        if not named:
            return
        yield named[0]


def _joules(smi: Any, handle: Any) -> float | None:
    """Return the accumulated energy, whose unit is the counter's resolution in microjoules."""
    answer = smi.amdsmi_get_energy_count(handle)
    # Before version 6 of ROCm the accumulator had the key "power".
    count = _number(answer.get("energy_accumulator", answer.get("power")))
    resolution = _number(answer.get("counter_resolution"))
    return count * resolution * _MICRO if count is not None and resolution else None


def _watts(smi: Any, handle: Any) -> float | None:
    answer = smi.amdsmi_get_power_info(handle)
    known = [power for key in _POWERS if (power := _number(answer.get(key))) is not None]
    return max(known, default=None)


def _limit_watts(smi: Any, handle: Any) -> float:
    cap = _number(_ask(smi, smi.amdsmi_get_power_cap_info, handle).get("power_cap"))
    return cap * _MICRO if cap else DEFAULT_LIMIT_WATTS


def _ask(smi: Any, call: Any, handle: Any) -> Mapping[str, Any]:
    """Return an answer; empty if the board or the version of the package does not support the call."""
    try:
        answer: Mapping[str, Any] = call(handle)
    except smi.AmdSmiException:
        return {}
    return answer


def _tried(smi: Any, call: Any, handle: Any) -> float | None:
    try:
        value: float | None = call(smi, handle)
    except smi.AmdSmiException:
        return None
    return value


def _number(value: object) -> float | None:
    """Return a number; None for ``N/A`` and other texts."""
    return float(value) if isinstance(value, int | float) and value >= 0 else None


def _hex(value: object) -> str:
    return str(value).lower().removeprefix("0x") if re.fullmatch(r"(0x)?[0-9a-fA-F]+", str(value)) else ""


def _short(error: Exception) -> str:
    return " ".join(str(error).split())


def _shut_down(smi: Any) -> None:
    try:
        smi.amdsmi_shut_down()
    except smi.AmdSmiException:
        return  # already shut down elsewhere
