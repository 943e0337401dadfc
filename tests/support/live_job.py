"""A running training whose GPU obeys the power limit of the simulated NVML library, on a fake clock."""

from pathlib import Path
from typing import Any

import pytest

from profiler.records import Status
from profiler.storage.schema import SAMPLES, STEPS, SampleRow, StepRow
from profiler.storage.writer import RunWriter, write_run_file
from profiler.testing.clock import FakeClock
from profiler.units import NANOSECONDS_PER_SECOND as SECOND

PEAK_WATTS, HOST_WATTS, STEP_SECONDS = 650.0, 150.0, 0.25


def step_seconds(limit: float) -> float:
    """Return the time of a step: the clock of the GPU, and so its speed, falls with the cube root of its power."""
    return STEP_SECONDS * max(PEAK_WATTS / limit, 1.0) ** (1 / 3)


def step_joules(limit: float) -> float:
    """Return the energy of a step, that of the rest of the machine included."""
    return step_seconds(limit) * (min(limit, PEAK_WATTS) + HOST_WATTS)


class LiveJob:
    """Writes steps and samples as the clock advances.

    Args:
        path: Run directory to make.
        clock: The clock.
        nvml: The initialised ``pynvml`` module, which returns the enforced limit of its first board.
        seconds: Time after which the run ends.
        meta: Entries of ``run.json`` to add or replace.
    """

    def __init__(
        self, path: Path, clock: FakeClock, nvml: Any, *, seconds: float, meta: dict[str, Any]
    ) -> None:
        self.path = path
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByIndex(0)
        self._meta = meta | {"status": Status.RUNNING.value, "totals": None}
        self._writer = RunWriter(path, pytest.fail)
        self._writer.open(self._meta)
        self._begun_ns = clock.now_ns()
        self._end_ns = round(seconds * SECOND)
        self._time_ns = self._steps = 0
        self._uj = self._seen = 0
        clock.watch(self._advance)

    @property
    def limit_watts(self) -> float:
        """The enforced power limit."""
        return float(self._nvml.nvmlDeviceGetEnforcedPowerLimit(self._handle)) * 1e-3

    def _advance(self, now_ns: int) -> None:
        if self._meta["status"] != Status.RUNNING.value:
            return
        limit = self.limit_watts
        length, used = round(step_seconds(limit) * SECOND), round(step_joules(limit) * 1e6)
        while self._time_ns + length <= now_ns - self._begun_ns:
            self._step(length, used)
            if self._time_ns // SECOND > self._seen:
                self._seen = self._time_ns // SECOND
                self._sample(limit)
        if now_ns - self._begun_ns >= self._end_ns:
            self._meta["status"] = Status.COMPLETED.value
        self._writer.flush()
        write_run_file(self.path, self._meta)

    def _step(self, length: int, used: int) -> None:
        self._steps += 1
        self._time_ns += length
        self._uj += used
        self._writer.append(
            STEPS,
            StepRow(
                step=self._steps, step_count=1, start_seconds=self._time_ns - length, end_seconds=self._time_ns,
                loss=1.0 + 1.0 / self._steps, nonfinite_count=0, backwards=1, learning_rate=None, gpu_joules=used,
                cpu_joules=None, dram_joules=None, other_joules=None, total_joules=used, modelled_joules=0,
                cumulative_joules=self._uj, uncertainty_joules=None, data_seconds=None, forward_seconds=None,
                backward_seconds=None, optimizer_seconds=None, phase="",
            ),
        )  # fmt: skip

    def _sample(self, limit: float) -> None:
        self._writer.append(
            SAMPLES,
            SampleRow(
                time_seconds=self._time_ns, domain="gpu:0", power_watts=None, energy_joules=self._uj,
                provenance="counter", limit_watts=limit,
            ),
        )  # fmt: skip
