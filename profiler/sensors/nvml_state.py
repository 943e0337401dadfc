"""Power limit, SM clock and throttle reasons of a board, read at most once per second."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from profiler.clock import Clock
from profiler.records import BoardState
from profiler.units import NANOSECONDS_PER_SECOND

_REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""Names of the bits, as in ``nvidia-smi -q``."""
_PERIOD_NS = NANOSECONDS_PER_SECOND
_MOST_SHARE = 0.005
"""Largest share of the time that the calls may take; slower boards are read less often."""


class StateReader:
    """Reads the state of one board. Calls that the board does not support are made once.

    Args:
        nvml: The initialised ``pynvml`` module.
    """

    __slots__ = ("_due_ns", "_nvml", "_unsupported")

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._unsupported: set[str] = set()
        self._due_ns = 0

    def read(self, handle: Any, clock: Clock) -> BoardState | None:
        """Return the state; None if it was read less than a second ago, or nothing of it is supported."""
        before = clock.now_ns()
        if before < self._due_ns:
            return None
        nvml = self._nvml
        limit = self._ask("limit", partial(nvml.nvmlDeviceGetEnforcedPowerLimit, handle))
        mhz = self._ask("clock", partial(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM))
        bits = self._ask("reasons", partial(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle))
        throttled = self._violations(handle)
        self._due_ns = before + max(_PERIOD_NS, round((clock.now_ns() - before) / _MOST_SHARE))
        if limit is None and mhz is None and bits is None and not throttled:
            return None
        return BoardState(
            limit_watts=limit and limit * 1e-3,
            sm_mhz=mhz,
            throttle=None if bits is None else describe_reasons(bits),
            throttled_seconds=throttled,
        )

    def _violations(self, handle: Any) -> Mapping[str, float]:
        policies = {
            "power": self._nvml.NVML_PERF_POLICY_POWER,
            "thermal": self._nvml.NVML_PERF_POLICY_THERMAL,
        }
        call = self._nvml.nvmlDeviceGetViolationStatus
        found = {cause: self._ask(cause, partial(call, handle, policy)) for cause, policy in policies.items()}
        return {
            cause: time.violationTime / NANOSECONDS_PER_SECOND
            for cause, time in found.items()
            if time is not None
        }

    def _ask(self, name: str, call: Callable[[], Any]) -> Any:
        """Return the answer of a call; None if it fails. One that is not supported is not made again."""
        if name in self._unsupported:
            return None
        try:
            return call()
        except (self._nvml.NVMLError_NotSupported, self._nvml.NVMLError_FunctionNotFound):
            self._unsupported.add(name)
            return None
        except self._nvml.NVMLError:
            return None  # the reading of the energy handles lost boards


def describe_reasons(bits: int) -> str:
    """Return throttle reasons as ``sw_power_cap|hw_slowdown``, and ``none`` without any."""
    known = [name for bit, name in _REASONS.items() if bits & bit]
    unknown = bits & ~sum(_REASONS)
    return "|".join([*known, *([hex(unknown)] if unknown else [])]) or "none"
