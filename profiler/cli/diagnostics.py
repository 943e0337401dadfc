"""Finding out what can be measured on this machine: every sensor is opened and read for a second."""

import hashlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from profiler.errors import SensorError
from profiler.records import Domain, Provenance, Reading, Refusal
from profiler.sensors import Sensor, discover
from profiler.sensors.counter_check import CounterCheck, observe
from profiler.sensors.environment import POWERCAP_ROOT
from profiler.sensors.host import Host, describe_host
from profiler.units import NANOSECONDS_PER_SECOND

SECONDS = 1.0
"""How long power is measured."""
_PERIOD_SECONDS = 0.05
_OBSERVE_SECONDS = 1.0
_IDENTITY_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Torch:
    """What torch says of itself.

    Attributes:
        version: Its version; None when it is not installed.
        problem: Why it cannot be imported; empty when it can.
        devices: The model and the UUID of each CUDA device, in torch's order; the UUID is empty where torch is too
            old to say it.
        others: Accelerators that no sensor covers: ``mps``, ``xpu``.
    """

    version: str | None = None
    problem: str = ""
    devices: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What NVIDIA's driver lists: its version, and the UUID and the model of each board."""

    version: str | None = None
    boards: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One board, as each party calls it; None where a party does not know it.

    Attributes:
        model: Its model's name.
        identity: A short hash of its UUID.
        cuda_index: torch's number: ``cuda:0``.
        domain: The profiler's name.
        nvml_index: The driver's number, which ``nvidia-smi`` shows.
    """

    model: str
    identity: str
    cuda_index: int | None
    domain: str | None
    nvml_index: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One domain that can be read.

    Attributes:
        domain: The domain.
        watts: Its mean power over the second; None where its counter stood still.
        read_seconds: What a reading of its sensor takes, all of the sensor's domains together.
    """

    domain: Domain
    watts: float | None
    read_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """Everything that was found out."""

    host: Host
    torch: Torch
    driver: Driver
    gpus: tuple[Gpu, ...]
    checked: tuple[Checked, ...]
    refusals: tuple[Refusal, ...]
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def measured(self) -> tuple[Checked, ...]:
        """The domains that hardware measures and a run would be billed for."""
        return tuple(
            c for c in self.checked if c.domain.billed and c.domain.provenance is not Provenance.MODELLED
        )

    @property
    def unmetered(self) -> tuple[str, ...]:
        """The accelerators of torch that no sensor covers, as far as that is known."""
        metered = any(one.domain.kind.torch_type == "cuda" for one in self.checked)
        known = [gpu for gpu in self.gpus if gpu.cuda_index is not None and (gpu.identity or not metered)]
        return (*(f"cuda:{gpu.cuda_index}" for gpu in known if gpu.domain is None), *self.torch.others)


def examine(
    *,
    torch: Torch,
    driver: Driver,
    environ: Mapping[str, str],
    versions: Mapping[str, str],
    powercap_root: Path = POWERCAP_ROOT,
    system_root: Path = Path("/"),
    clock: Callable[[], int] = time.monotonic_ns,
    stopwatch: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], object] = time.sleep,
) -> Checkup:
    """Look at the machine and measure it.

    Args:
        torch: What torch says of itself.
        driver: What NVIDIA's driver lists.
        environ: The environment's variables.
        versions: Versions of the software.
        powercap_root: Where the powercap zones are.
        system_root: The root of the file system, for everything else.
        clock: Monotonic nanoseconds, for the readings' times.
        stopwatch: Nanoseconds, for what a reading takes.
        sleep: Waits for so many seconds.
    """
    uuids = [uuid for _, uuid in torch.devices]
    found = discover(
        environ=environ,
        powercap_root=powercap_root,
        system_root=system_root,
        clock=clock,
        sleep=sleep,
        cuda_uuids=uuids if uuids and all(uuids) else None,
    )
    try:
        checked = _measure(found.sensors, clock, stopwatch, sleep)
    finally:
        for sensor in found.sensors:
            sensor.close()
    return Checkup(
        host=describe_host(system_root, environ),
        torch=torch,
        driver=driver,
        gpus=_gpus(torch, driver, [one.domain for one in checked]),
        checked=checked,
        refusals=found.refusals,
        versions=versions,
    )


def _measure(
    sensors: Sequence[Sensor],
    clock: Callable[[], int],
    stopwatch: Callable[[], int],
    sleep: Callable[[float], object],
) -> tuple[Checked, ...]:
    checks = _observe(sensors, clock, sleep)
    readings: dict[str, list[Reading]] = {domain.name: [] for s in sensors for domain in s.domains}
    costs: list[list[int]] = [[] for _ in sensors]
    end = clock() + round(SECONDS * NANOSECONDS_PER_SECOND)
    while clock() < end:
        for sensor, cost in zip(sensors, costs, strict=True):
            began = stopwatch()
            for reading in _read(sensor):
                readings[reading.domain].append(reading)
            cost.append(stopwatch() - began)
        sleep(_PERIOD_SECONDS)
    return tuple(
        Checked(
            domain=_refined(domain, checks.get(domain.name)),
            watts=_watts(readings[domain.name]),
            read_seconds=statistics.median(cost) / NANOSECONDS_PER_SECOND,
        )
        for sensor, cost in zip(sensors, costs, strict=True)
        for domain in sensor.domains
    )


def _observe(
    sensors: Sequence[Sensor], clock: Callable[[], int], sleep: Callable[[float], object]
) -> dict[str, CounterCheck]:
    """Read the sensors closely whose hardware does not state its update interval."""
    checks: dict[str, CounterCheck] = {}
    for sensor in sensors:
        if any(
            d.update_period_seconds is None and d.provenance is not Provenance.MODELLED
            for d in sensor.domains
        ):
            checks |= observe(sensor, seconds=_OBSERVE_SECONDS, clock=clock, sleep=sleep)
    return checks


def _refined(domain: Domain, check: CounterCheck | None) -> Domain:
    if check is None:
        return domain
    period = domain.update_period_seconds or check.update_period_seconds
    return replace(domain, update_period_seconds=period, notes=(*domain.notes, *check.warnings()))


def _read(sensor: Sensor) -> Sequence[Reading]:
    try:
        return sensor.read()
    except SensorError:
        return ()


def _watts(readings: Sequence[Reading]) -> float | None:
    """Mean power between the first and the last moment at which a counter was seen to move; else of the readings."""
    energies = [(r.time_ns, r.energy_joules) for r in readings if r.energy_joules is not None]
    moves = [after for before, after in pairwise(energies) if after[1] != before[1]]
    if len(moves) > 1:
        (start, first), (end, last) = moves[0], moves[-1]
        return (last - first) / (end - start) * NANOSECONDS_PER_SECOND
    powers = [r.power_watts for r in readings if r.power_watts is not None]
    return statistics.fmean(powers) if powers else None


def _gpus(torch: Torch, driver: Driver, domains: Sequence[Domain]) -> tuple[Gpu, ...]:
    """Every board that torch or the driver knows, torch's first."""
    names = {domain.device: domain.name for domain in domains if domain.device}
    listed = [uuid for uuid, _ in driver.boards]
    visible = [uuid for _, uuid in torch.devices]
    known = [(index, uuid, model) for index, (model, uuid) in enumerate(torch.devices)]
    hidden = [(None, uuid, model) for uuid, model in driver.boards if uuid not in visible]
    return tuple(
        Gpu(
            model=model,
            identity=hashlib.sha256(uuid.encode()).hexdigest()[:_IDENTITY_DIGITS] if uuid else "",
            cuda_index=index,
            domain=names.get(uuid),
            nvml_index=listed.index(uuid) if uuid in listed else None,
        )
        for index, uuid, model in (*known, *hidden)
    )


def ask_torch() -> Torch:
    """Import torch, if it is installed, and ask it for its devices. This starts CUDA."""
    try:
        import torch
    except ImportError as error:
        installed = getattr(error, "name", None) != "torch"
        return Torch(problem=str(error) if installed else "")
    except OSError as error:
        return Torch(problem=str(error))
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    named = tuple(
        (str(one.name), f"GPU-{uuid}" if (uuid := getattr(one, "uuid", None)) else "") for one in devices
    )
    others = tuple(name for name in ("mps", "xpu") if _is_there(getattr(torch, name, None)))
    return Torch(version=str(torch.__version__), devices=named, others=others)


def _is_there(backend: Any) -> bool:
    return backend is not None and hasattr(backend, "device_count") and backend.device_count() > 0


def ask_driver() -> Driver:
    """Ask NVIDIA's driver, if it is there, for its version and its boards."""
    try:
        import pynvml
    except ImportError:
        return Driver()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return Driver()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        boards = tuple(
            (_text(pynvml.nvmlDeviceGetUUID(h)), _text(pynvml.nvmlDeviceGetName(h))) for h in handles
        )
        return Driver(version=_text(pynvml.nvmlSystemGetDriverVersion()), boards=boards)
    except pynvml.NVMLError:
        return Driver()
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
