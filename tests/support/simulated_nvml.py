"""A stand-in for NVIDIA's management library that the real ``pynvml`` loads: GPUs of exactly known power.

The library is C source in ``nvml_simulator/`` beside this file, compiled with the system's compiler. Anything
that loads ``libnvidia-ml.so.1`` can run on it, other people's tools too::

    library = build_library(Path("build"))
    gpus = [SimulatedGpu(waveform=Waveform.square(low=100, high=400, period_seconds=0.5))]
    script = write_script(Path("gpus.txt"), gpus, epoch_ns=time.monotonic_ns())
    subprocess.run([...], env={**os.environ, **library_environment(library, script, os.environ)})

Within one process, ``simulated_nvml`` does the same around the ``pynvml`` that is already imported.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from profiler.errors import MissingDependencyError
from profiler.testing.clock import FakeClock
from profiler.testing.replay import Waveform

SCRIPT_VARIABLE = "NVML_SIMULATOR_SCRIPT"
LIBRARY_NAME = "libnvidia-ml.so.1"
NO_COMPILER = "the simulated NVML needs a C compiler and there is no cc on this machine"

GPU_IS_LOST = 15
NOT_SUPPORTED = 3
DRIVER_NOT_LOADED = 9

_SOURCES = Path(__file__).parent / "nvml_simulator"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedGpu:
    """One GPU: what it truly draws, and how its sensor shows that.

    Attributes:
        waveform: Its true power.
        name: The model's name.
        uuid: ``GPU-...``; made from its place in the list when empty.
        bus: The PCI address; made from its place in the list when empty.
        architecture: NVML's number: 4 Pascal, 5 Volta, 7 Ampere, 9 Hopper.
        capability: The CUDA compute capability.
        cores: CUDA cores, which with ``clock_mhz`` decide CUDA's order of unlike boards.
        clock_mhz: The highest clock.
        update_seconds: Time between two new values; 0 shows the truth at any time.
        averaging_seconds: The part of each update that is measured; 0 is the power at the tick.
        phase_seconds: When the first tick is.
        counter: ``integral`` of the true power, sum of the ``part_time`` readings, or ``none``.
        usage: What ``nvmlDeviceGetPowerUsage`` means: ``instant``, ``average`` (over 1 s) or ``none``.
        fields: What ``nvmlDeviceGetFieldValues`` supports: ``all``, ``energy``, ``power`` or ``none``.
        samples: How many power readings ``nvmlDeviceGetSamples`` remembers; 0 where it is not supported.
        sample_clock_seconds: How far the clock that stamps them is ahead of the monotonic one.
        gain: What is shown over what is true.
        noise_watts: One standard deviation of the power readings' noise.
        module_watts: What the counter includes beside the GPU.
        start_joules: What the counter shows at time 0.
        latency_seconds: How long each measuring call takes.
        faults: ``(start, end, code)``: every question fails with the code.
        mutes: ``(start, end, code)``: the counter alone fails with the code.
        frozen: ``(start, end)``: the counter stands.
        resets: When the counter starts again at 0.
        fail_every: Every so many measuring calls one fails with ``fail_code``; 0 for never.
        fail_code: With which code.
        instances: Identifiers of MIG instances, ``MIG-...``.
        processes: ``(pid, bytes)``; pid 0 is the process that asks.
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
    instances: tuple[str, ...] = ()
    processes: tuple[tuple[int, int], ...] = field(default=())

    def script(self) -> str:
        """Return its part of a script."""
        return "\n".join(" ".join(str(word) for word in line) for line in (("gpu",), *self._lines())) + "\n"

    def _lines(self) -> Iterator[tuple[object, ...]]:
        yield from ((key, text) for key in ("name", "uuid", "bus") if (text := getattr(self, key)))
        yield from self._settings()
        yield from (("power", repr(seconds), repr(watts)) for seconds, watts in self.waveform.points)
        yield from (("fault", *fault) for fault in self.faults)
        yield from (("mute", *window) for window in self.mutes)
        yield from (("frozen", *window) for window in self.frozen)
        yield from (("reset", seconds) for seconds in self.resets)
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


def pascal(waveform: Waveform, **changes: Any) -> SimulatedGpu:
    """A board without an energy counter, whose power is instantaneous and renewed every 20 ms."""
    plain = SimulatedGpu(waveform=waveform, name="Simulated P100", architecture=4, capability=(6, 0))
    sensor = replace(plain, update_seconds=0.02, averaging_seconds=0.01, counter="none", usage="instant")
    return replace(sensor, **{"fields": "none", **changes})


def volta(waveform: Waveform, **changes: Any) -> SimulatedGpu:
    """A board whose counter is renewed every 20 ms."""
    plain = SimulatedGpu(waveform=waveform, name="Simulated V100", architecture=5, capability=(7, 0))
    sensor = replace(plain, update_seconds=0.02, averaging_seconds=0.01, usage="instant")
    return replace(sensor, **{"fields": "energy", **changes})


def hopper(waveform: Waveform, **changes: Any) -> SimulatedGpu:
    """A board whose power is renewed every 100 ms from a quarter of the time; its counter is an integral."""
    return replace(SimulatedGpu(waveform=waveform, averaging_seconds=0.025), **changes)


def build_library(folder: Path) -> Path:
    """Compile the library into ``folder``, unless it is there already.

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
        # Compiled under another name first: two test processes may share the folder.
        unfinished = folder / f"{os.getpid()}.so"
        flags = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-fvisibility=hidden")
        command = [compiler, *flags, f"-Wl,-soname,{LIBRARY_NAME}", *map(str, sources), "-o", str(unfinished)]
        subprocess.run([*command, "-lm", "-lpthread"], check=True, capture_output=True)
        _write_command(folder / "nvidia-smi")
        unfinished.replace(library)
    return library


def _write_command(path: Path) -> None:
    """Write an empty ``nvidia-smi``: some tools look for NVIDIA boards only where that command exists."""
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
        path: Where to.
        gpus: Its GPUs, in the driver's order.
        epoch_ns: The waves' time 0 on the monotonic clock; 0 for when NVML is first started.
        init_code: The code that starting NVML fails with; 0 for none.
        driver: The driver's version.

    Returns:
        The path.
    """
    head = f"driver {driver}\nepoch {epoch_ns}\ninit {init_code}\n"
    path.write_text(head + "".join(gpu.script() for gpu in gpus))
    return path


def library_environment(library: Path, script: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables under which a new process finds the simulated library."""
    folder = str(library.parent)
    first = {
        name: os.pathsep.join([folder, *filter(None, [environ.get(name)])])
        for name in ("LD_LIBRARY_PATH", "PATH")
    }
    return {**first, SCRIPT_VARIABLE: str(script)}


@contextmanager
def simulated_nvml(
    library: Path, script: Path, *, clock: Callable[[], int] | None = None
) -> Iterator[ctypes.CDLL]:
    """Make the ``pynvml`` of this process use the simulated library, and undo it at the end.

    Args:
        library: What ``build_library`` returned.
        script: What ``write_script`` returned. It is read when NVML is started for the first time inside.
        clock: A ``FakeClock`` to follow; the real monotonic clock without.

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


def _follow(library: ctypes.CDLL, clock: Callable[[], int] | None) -> None:
    set_time = library.nvmlSimulatorSetTime
    set_time.argtypes, set_time.restype = [ctypes.c_longlong], None
    set_time(-1 if clock is None else clock())
    if isinstance(clock, FakeClock):
        clock.watch(set_time)


def _restore_variable(value: str | None) -> None:
    if value is None:
        os.environ.pop(SCRIPT_VARIABLE, None)
    else:
        os.environ[SCRIPT_VARIABLE] = value
