"""A fake of the package ``amdsmi`` on a fake clock: the calls that the sensor makes, with the results of amdsmi 7.0.2.

A library in place of AMD's own cannot be used, because the package binds every function of it when it is imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType

from profiler.testing.clock import FakeClock
from profiler.testing.replay import Waveform
from profiler.units import NANOSECONDS_PER_SECOND

RESOLUTION_MICROJOULES = 15.259
"""Unit of the accumulator, as published for AMD's boards."""
UNKNOWN = "N/A"


class AmdSmiException(Exception):  # noqa: N818 - the name in the package
    """Base of the package's errors."""


class AmdSmiLibraryException(AmdSmiException):
    """Error of the library."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.err_code = code

    def get_error_code(self) -> int:
        """Return the code of the library."""
        return self.err_code

    def __str__(self) -> str:
        return f"Error code:\n\t{self.err_code} | AMDSMI_STATUS"


@dataclass(slots=True, kw_only=True)
class FakeAmdGpu:
    """One device.

    Attributes:
        waveform: True power; of the whole board on the first device of a double-die board.
        model: Name of the model.
        serial: Unique identifier.
        node: Number of its compute node, which determines HIP's order; None if it is not supported.
        has_counter: False if the accumulator is not supported.
        has_power: False if the power is not supported, as on some virtual functions.
        is_silent: True for the second device of a double-die board, which returns 0.
        power_key: Key under which the power is returned; the others are ``N/A``.
        frozen_from: Time in seconds from which the accumulator does not change.
        fails_from: Time in seconds from which every call fails.
    """

    waveform: Waveform
    model: str = "AMD Instinct MI300X"
    serial: str = "0x1234ABCD00000000"
    node: int | None = None
    has_counter: bool = True
    has_power: bool = True
    is_silent: bool = False
    power_key: str = "current_socket_power"
    frozen_from: float = float("inf")
    fails_from: float = float("inf")
    cap_watts: float = 750.0


@dataclass
class FakeAmdSmi(ModuleType):
    """The module.

    Attributes:
        gpus: The devices in the library's order.
        clock: The clock; its present time is time 0 of the waveforms.
        init_code: Code with which the initialisation fails; 0 for success.
        is_running: True between initialisation and shut-down.
    """

    gpus: Sequence[FakeAmdGpu]
    clock: FakeClock
    init_code: int = 0
    is_running: bool = field(default=False, init=False)

    AmdSmiException = AmdSmiException
    AmdSmiLibraryException = AmdSmiLibraryException

    def __post_init__(self) -> None:
        """Initialise the module."""
        ModuleType.__init__(self, "amdsmi")
        self._origin_ns = self.clock.now_ns()

    @property
    def _seconds(self) -> float:
        return (self.clock.now_ns() - self._origin_ns) / NANOSECONDS_PER_SECOND

    def _answer(self, gpu: FakeAmdGpu) -> FakeAmdGpu:
        if not self.is_running:
            raise AmdSmiLibraryException(32)  # AMDSMI_STATUS_NOT_INIT
        if self._seconds >= gpu.fails_from:
            raise AmdSmiLibraryException(10)  # AMDSMI_STATUS_NO_PERM
        return gpu

    def amdsmi_init(self) -> None:
        """Start."""
        if self.init_code:
            raise AmdSmiLibraryException(self.init_code)
        self.is_running = True

    def amdsmi_shut_down(self) -> None:
        """Stop."""
        self.is_running = False

    def amdsmi_get_processor_handles(self) -> list[FakeAmdGpu]:
        """Return the devices."""
        return list(self.gpus)

    def amdsmi_get_gpu_asic_info(self, gpu: FakeAmdGpu) -> dict[str, object]:
        """Return the identity of a device."""
        gpu = self._answer(gpu)
        return {"market_name": gpu.model, "vendor_id": "0x1002", "asic_serial": gpu.serial}

    def amdsmi_get_gpu_kfd_info(self, gpu: FakeAmdGpu) -> dict[str, object]:
        """Return the compute node of a device."""
        node = self._answer(gpu).node
        return {"kfd_id": 1, "node_id": UNKNOWN if node is None else node, "current_partition_id": 0}

    def amdsmi_get_power_cap_info(self, gpu: FakeAmdGpu) -> dict[str, int]:
        """Return the power limit in microwatts."""
        cap = round(self._answer(gpu).cap_watts * 1e6)
        return {
            "power_cap": cap,
            "default_power_cap": cap,
            "dpm_cap": 0,
            "min_power_cap": 0,
            "max_power_cap": cap,
        }

    def amdsmi_get_energy_count(self, gpu: FakeAmdGpu) -> dict[str, float]:
        """Return the accumulator, its unit in microjoules and a time in nanoseconds."""
        gpu = self._answer(gpu)
        if not gpu.has_counter:
            raise AmdSmiLibraryException(2)  # AMDSMI_STATUS_NOT_SUPPORTED
        joules = 0.0 if gpu.is_silent else 1_000.0 + gpu.waveform.joules(min(self._seconds, gpu.frozen_from))
        return {
            "energy_accumulator": int(joules * 1e6 / RESOLUTION_MICROJOULES),
            "counter_resolution": RESOLUTION_MICROJOULES,
            "timestamp": self.clock.now_ns(),
        }

    def amdsmi_get_power_info(self, gpu: FakeAmdGpu) -> dict[str, object]:
        """Return the power in watts."""
        gpu = self._answer(gpu)
        if not gpu.has_power:
            raise AmdSmiLibraryException(2)  # AMDSMI_STATUS_NOT_SUPPORTED
        known = dict.fromkeys(("socket_power", "current_socket_power", "average_socket_power"), UNKNOWN)
        watts = 0 if gpu.is_silent else round(gpu.waveform.watts(self._seconds))
        return {**known, gpu.power_key: watts, "power_limit": gpu.cap_watts}
