"""Simulated NVML library, loaded by the real ``pynvml``: GPUs of exactly known power.

The library is compiled from ``nvml_simulator/`` with the system's C compiler. Any program that loads
``libnvidia-ml.so.1`` can use it::

    library = build_library(Path("build"))
    gpus = [SimulatedGpu(waveform=Waveform.square(low=100, high=400, period_seconds=0.5))]
    script = write_script(Path("gpus.txt"), gpus, epoch_ns=time.monotonic_ns())
    subprocess.run([...], env={**os.environ, **library_environment(library, script, os.environ)})

Within a process, ``simulated_nvml`` replaces the library of the imported ``pynvml``.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from profiler.clock import Clock
from profiler.errors import MissingDependencyError
from profiler.testing.clock import FakeClock
from profiler.testing.replay import Waveform

SCRIPT_VARIABLE = "NVML_SIMULATOR_SCRIPT"
LIBRARY_NAME = "libnvidia-ml.so.1"
NO_COMPILER = "the simulated NVML needs a C compiler and there is no cc on this machine"

GPU_IS_LOST = 15
NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9

_SOURCES = Path(__file__).parent / "nvml_simulator"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedGpu:
    """True power of one GPU, and the behaviour of its sensor.

    Attributes:
        waveform: True power.
        name: Name of the model.
        uuid: ``GPU-...``; derived from the position in the list if empty.
        bus: PCI address; derived from the position in the list if empty.
        architecture: NVML's architecture number: 4 Pascal, 5 Volta, 7 Ampere, 9 Hopper.
        capability: CUDA compute capability.
        cores: CUDA cores, which with ``clock_mhz`` determine CUDA's order of different boards.
        clock_mhz: Maximum clock.
        update_seconds: Update interval; 0 for a continuous value.
        averaging_seconds: Measured part of each update interval; 0 for the power at the tick.
        phase_seconds: Time of the first tick.
        counter: ``integral`` of the true power, sum of the ``part_time`` readings, or ``none``.
        usage: Meaning of ``nvmlDeviceGetPowerUsage``: ``instant``, ``average`` (over 1 s) or ``none``.
        fields: Fields supported by ``nvmlDeviceGetFieldValues``: ``all``, ``energy``, ``power`` or ``none``.
        samples: Number of readings buffered by ``nvmlDeviceGetSamples``; 0 if it is not supported.
        sample_clock_seconds: Offset of the samples' clock from the monotonic clock.
        gain: Ratio of the reading to the true value.
        noise_watts: Standard deviation of the noise of power readings.
        module_watts: Power that the counter includes in addition to the GPU's.
        start_joules: Value of the counter at time 0.
        latency_seconds: Duration of each measuring call.
        faults: ``(start, end, code)``: every call fails with the code.
        mutes: ``(start, end, code)``: only the counter fails, with the code.
        frozen: ``(start, end)``: the counter does not change.
        resets: Times at which the counter restarts at 0.
        fail_every: Every n-th measuring call fails with ``fail_code``; 0 for never.
        fail_code: Code of those failures.
        limits: ``(start, watts)``: enforced power limit from then on; 700 W before the first.
        clocks: ``(start, megahertz)``: SM clock from then on; ``clock_mhz`` before the first.
        throttles: ``(start, bits)``: throttle reasons from then on; none before the first.
        is_privileged: True if programs may set the power limit.
        has_states: True if limit, clock, throttle reasons and violation counters are supported.
        instances: Identifiers of MIG instances, ``MIG-...``.
        processes: ``(pid, bytes)``; pid 0 is the calling process.
    """

    waveform: Waveform
    name: str = "Simulated H100"
    uuid: str = ""
    bus: str = ""
    architecture: int = 9
    capability: tuple[int, int] = (9, 0)
    cores: int = 16_896
    clock_mhz: int = 1_980
    update_seconds: float = 0.1
    averaging_seconds: float = 0.0
    phase_seconds: float = 0.0
    counter: str = "integral"
    usage: str = "average"
    fields: str = "all"
    samples: int = 120
    sample_clock_seconds: float = 0.0
    gain: float = 1.0
    noise_watts: float = 0.0
    module_watts: float = 0.0
    start_joules: float = 1_000.0
    latency_seconds: float = 0.0
    faults: tuple[tuple[float, float, int], ...] = ()
    mutes: tuple[tuple[float, float, int], ...] = ()
    frozen: tuple[tuple[float, float], ...] = ()
    resets: tuple[float, ...] = ()
    fail_every: int = 0
    fail_code: int = 999
    limits: tuple[tuple[float, float], ...] = ()
    clocks: tuple[tuple[float, float], ...] = ()
    throttles: tuple[tuple[float, int], ...] = ()
    is_privileged: bool = False
    has_states: bool = True
    instances: tuple[str, ...] = ()
    processes: tuple[tuple[int, int], ...] = field(default=())

    def script(self) -> str:
        """Return the GPU's section of a script."""
        return "\n".join(" ".join(str(word) for word in line) for line in (("gpu",), *self._lines())) + "\n"

    def _lines(self) -> Iterator[tuple[object, ...]]:
        yield from ((key, text) for key in ("name", "uuid", "bus") if (text := getattr(self, key)))
        yield from self._settings()
        yield from (("power", repr(seconds), repr(watts)) for seconds, watts in self.waveform.points)
        yield from (("fault", *fault) for fault in self.faults)
        yield from (("mute", *window) for window in self.mutes)
        yield from (("frozen", *window) for window in self.frozen)
        yield from (("reset", seconds) for seconds in self.resets)
        yield from (("limit", *step) for step in self.limits)
        yield from (("sm", *step) for step in self.clocks)
        yield from (("throttle", *step) for step in self.throttles)
        yield from (("mig", uuid) for uuid in self.instances)
        yield from (("process", *process) for process in self.processes)

    def _settings(self) -> Iterator[tuple[object, ...]]:
        yield "repeat", self.waveform.period_seconds or 0
        yield "update", self.update_seconds
        yield "averaging", self.averaging_seconds
        yield "phase", self.phase_seconds
        yield "counter", self.counter
        yield "usage", self.usage
        yield "fields", self.fields
        yield "samples", self.samples, self.sample_clock_seconds
        yield "gain", self.gain
        yield "noise", self.noise_watts
        yield "module", self.module_watts
        yield "start", self.start_joules
        yield "latency", self.latency_seconds
        yield "every", self.fail_every, self.fail_code
        yield "architecture", self.architecture
        yield "capability", *self.capability
        yield "cores", self.cores
        yield "clock", self.clock_mhz
        yield "privileged", int(self.is_privileged)
        yield "states", int(self.has_states)


def pascal(waveform: Waveform, **changes: Any) -> SimulatedGpu:
    """Return a board without an energy counter, with instantaneous power updated every 20 ms."""
    plain = SimulatedGpu(waveform=waveform, name="Simulated P100", architecture=4, capability=(6, 0))
    sensor = replace(plain, update_seconds=0.02, averaging_seconds=0.01, counter="none", usage="instant")
    return replace(sensor, **{"fields": "none", **changes})


def volta(waveform: Waveform, **changes: Any) -> SimulatedGpu:
    """Return a board with a counter updated every 20 ms."""
    plain = SimulatedGpu(waveform=waveform, name="Simulated V100", architecture=5, capability=(7, 0))
    sensor = replace(plain, update_seconds=0.02, averaging_seconds=0.01, usage="instant")
    return replace(sensor, **{"fields": "energy", **changes})


def hopper(waveform: Waveform, **changes: Any) -> SimulatedGpu:
    """Return a board whose power is updated every 100 ms from a quarter of the time; its counter is an integral."""
    return replace(SimulatedGpu(waveform=waveform, averaging_seconds=0.025), **changes)


def build_library(folder: Path) -> Path:
    """Compile the library into ``folder``, unless it exists.

    Returns:
        The library's path.

    Raises:
        MissingDependencyError: There is no C compiler.
        subprocess.CalledProcessError: It does not compile.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise MissingDependencyError(
            "cc", needed_for="The simulated NVML", install="sudo apt-get install gcc"
        )
    library = folder / LIBRARY_NAME
    sources = sorted(_SOURCES.glob("*.c"))
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Compiled under a temporary name, because two test processes may share the folder.
        unfinished = folder / f"{os.getpid()}.so"
        flags = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-fvisibility=hidden")
        command = [compiler, *flags, f"-Wl,-soname,{LIBRARY_NAME}", *map(str, sources), "-o", str(unfinished)]
        subprocess.run([*command, "-lm", "-lpthread"], check=True, capture_output=True)
        _write_command(folder / "nvidia-smi")
        unfinished.replace(library)
    return library


def _write_command(path: Path) -> None:
    """Write an empty ``nvidia-smi``, without which some tools do not look for NVIDIA boards."""
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def write_script(
    path: Path,
    gpus: Sequence[SimulatedGpu],
    *,
    epoch_ns: int = 0,
    init_code: int = 0,
    driver: str = "550.54.15",
) -> Path:
    """Write the script that describes the machine.

    Args:
        path: Path of the script.
        gpus: The GPUs, in the driver's order.
        epoch_ns: Time 0 of the waveforms on the monotonic clock; 0 for the first start of NVML.
        init_code: Code with which starting NVML fails; 0 for success.
        driver: Version of the driver.

    Returns:
        The path.
    """
    head = f"driver {driver}\nepoch {epoch_ns}\ninit {init_code}\n"
    path.write_text(head + "".join(gpu.script() for gpu in gpus))
    return path


def library_environment(library: Path, script: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables with which a new process loads the simulated library."""
    folder = str(library.parent)
    first = {
        name: os.pathsep.join([folder, *filter(None, [environ.get(name)])])
        for name in ("LD_LIBRARY_PATH", "PATH")
    }
    return {**first, SCRIPT_VARIABLE: str(script)}


@contextmanager
def simulated_nvml(library: Path, script: Path, *, clock: Clock | None = None) -> Iterator[ctypes.CDLL]:
    """Make the ``pynvml`` of this process use the simulated library, and restore it at the end.

    Args:
        library: Result of ``build_library``.
        script: Result of ``write_script``. It is read when NVML is first started inside the context.
        clock: A ``FakeClock`` to follow; by default the real monotonic clock.

    Yields:
        The loaded library.
    """
    import pynvml

    loaded = ctypes.CDLL(str(library))
    cache = pynvml._nvmlGetFunctionPointer_cache
    before, cached, variable = pynvml.nvmlLib, dict(cache), os.environ.get(SCRIPT_VARIABLE)
    pynvml.nvmlLib = loaded
    cache.clear()
    os.environ[SCRIPT_VARIABLE] = str(script)
    _follow(loaded, clock)
    try:
        yield loaded
    finally:
        while loaded.nvmlShutdown() == 0:
            pass
        _follow(loaded, None)
        pynvml.nvmlLib = before
        cache.clear()
        cache.update(cached)
        _restore_variable(variable)


def _follow(library: ctypes.CDLL, clock: Clock | None) -> None:
    set_time = library.nvmlSimulatorSetTime
    set_time.argtypes, set_time.restype = [ctypes.c_longlong], None
    set_time(-1 if clock is None else clock.now_ns())
    if isinstance(clock, FakeClock):
        clock.watch(set_time)


def _restore_variable(value: str | None) -> None:
    if value is None:
        os.environ.pop(SCRIPT_VARIABLE, None)
    else:
        os.environ[SCRIPT_VARIABLE] = value
