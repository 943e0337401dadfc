"""Diagnosis of this machine: every sensor is opened as a recording would open it, and read for a second."""

import hashlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from profiler.clock import MONOTONIC, Clock
from profiler.errors import MissingDependencyError, SensorError
from profiler.records import DOMAIN_KINDS, Domain, Provenance, Reading, Refusal
from profiler.sensors import Sensor, discover
from profiler.sensors.counter_check import CounterCheck, observe
from profiler.sensors.environment import POWERCAP_ROOT
from profiler.sensors.host import Host, describe_host
from profiler.sensors.nvml import SHARED_NOTE
from profiler.sensors.nvml_device import load_nvml
from profiler.units import NANOSECONDS_PER_SECOND

SECONDS = 1.0
"""Time over which power is measured."""
_PERIOD_SECONDS = 0.05
_IDLE_PERIOD_SECONDS = 0.2
_IDLE_CPU_PERCENT = 10.0
"""Load of all processors above which a machine is not idle."""
_OBSERVE_SECONDS = 1.0
_IDENTITY_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchInfo:
    """The installed torch and its devices.

    Attributes:
        version: Version; None if torch is not installed.
        problem: Error of its import; empty if there was none.
        devices: Model and UUID of each CUDA device in torch's order; old versions of torch have no UUID (empty).
        others: Accelerators that no sensor covers: ``mps``, ``xpu``.
    """

    version: str | None = None
    problem: str = ""
    devices: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverInfo:
    """NVIDIA's driver: its version, and the UUID and model of each board."""

    version: str | None = None
    boards: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """Names of one board; None where it is not visible.

    Attributes:
        model: Name of the model.
        identity: Short hash of its UUID.
        cuda_index: Index in torch: ``cuda:0``.
        domain: Name of its domain in a run.
        nvml_index: Index in the driver, as in ``nvidia-smi``.
    """

    model: str
    identity: str
    cuda_index: int | None
    domain: str | None
    nvml_index: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedDomain:
    """Readable domain.

    Attributes:
        domain: The domain.
        watts: Mean power over the second; None if its counter did not change.
        read_seconds: Time of one reading of its sensor, with all domains of that sensor.
    """

    domain: Domain
    watts: float | None
    read_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Result of :func:`diagnose`."""

    host: Host
    torch: TorchInfo
    driver: DriverInfo
    gpus: tuple[Gpu, ...]
    checked: tuple[CheckedDomain, ...]
    refusals: tuple[Refusal, ...]
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def measured(self) -> tuple[CheckedDomain, ...]:
        """Domains that hardware measures and that a run counts."""
        return tuple(
            c for c in self.checked if c.domain.billed and c.domain.provenance is not Provenance.MODELLED
        )

    @property
    def devices_without_sensor(self) -> tuple[str, ...]:
        """Accelerators that torch can use and no sensor covers, as far as known."""
        if any("accelerators" in one.domain.kind.covers for one in self.measured):
            return ()
        types = {one.domain.kind.torch_type for one in self.checked}
        known = [
            gpu for gpu in self.gpus if gpu.cuda_index is not None and (gpu.identity or "cuda" not in types)
        ]
        others = (name for name in self.torch.others if name not in types)
        return (*(f"cuda:{gpu.cuda_index}" for gpu in known if gpu.domain is None), *others)


def diagnose(
    *,
    torch: TorchInfo,
    driver: DriverInfo,
    environ: Mapping[str, str],
    versions: Mapping[str, str],
    powercap_root: Path = POWERCAP_ROOT,
    system_root: Path = Path("/"),
    clock: Clock = MONOTONIC,
) -> Diagnosis:
    """Discover the sensors of this machine and read each for a short time.

    Args:
        torch: Version and devices of the installed torch.
        driver: Version of NVIDIA's driver.
        environ: Environment variables.
        versions: Version of each software package.
        powercap_root: Directory of the powercap zones.
        system_root: Root of the file system, for everything else.
        clock: Clock of the readings.
    """
    uuids = [uuid for _, uuid in torch.devices]
    found = discover(
        environ=environ,
        powercap_root=powercap_root,
        system_root=system_root,
        clock=clock,
        cuda_uuids=uuids if uuids and all(uuids) else None,
    )
    try:
        checked = _measure(found.sensors, clock)
    finally:
        for sensor in found.sensors:
            sensor.close()
    return Diagnosis(
        host=describe_host(system_root, environ),
        torch=torch,
        driver=driver,
        gpus=_gpus(torch, driver, [one.domain for one in checked]),
        checked=checked,
        refusals=found.refusals,
        versions=versions,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Mean power of the measured domains, and the reason why it is not that of an idle machine, if any."""

    watts: Mapping[Domain, float]
    problem: str = ""


def measure_idle(
    seconds: float,
    *,
    environ: Mapping[str, str],
    powercap_root: Path = POWERCAP_ROOT,
    system_root: Path = Path("/"),
    clock: Clock = MONOTONIC,
) -> Idle:
    """Measure the power of every measured domain for some time, without starting CUDA, whose contexts raise it."""
    import psutil

    found = discover(environ=environ, powercap_root=powercap_root, system_root=system_root, clock=clock)
    try:
        psutil.cpu_percent()  # starts the interval of the next call
        checked = _measure(found.sensors, clock, seconds=seconds, period_seconds=_IDLE_PERIOD_SECONDS)
        load = psutil.cpu_percent()
    finally:
        for sensor in found.sensors:
            sensor.close()
    used = [one.domain.name for one in checked if SHARED_NOTE in one.domain.notes]
    problems = [
        *([f"the processors were {load:.0f} % busy"] if load > _IDLE_CPU_PERCENT else []),
        *([f"other processes use {', '.join(used)}"] if used else []),
    ]
    return Idle(
        watts={
            one.domain: one.watts
            for one in checked
            if one.watts is not None and one.domain.provenance is not Provenance.MODELLED
        },
        problem=f"{' and '.join(problems)}, so this is not the idle power" if problems else "",
    )


def _measure(
    sensors: Sequence[Sensor],
    clock: Clock,
    *,
    seconds: float = SECONDS,
    period_seconds: float = _PERIOD_SECONDS,
) -> tuple[CheckedDomain, ...]:
    checks = _observe(sensors, clock)
    readings: dict[str, list[Reading]] = {domain.name: [] for s in sensors for domain in s.domains}
    costs: list[list[int]] = [[] for _ in sensors]
    end = clock.now_ns() + round(seconds * NANOSECONDS_PER_SECOND)
    while clock.now_ns() < end:
        for sensor, cost in zip(sensors, costs, strict=True):
            began = perf_counter_ns()
            for reading in _read(sensor):
                readings[reading.domain].append(reading)
            cost.append(perf_counter_ns() - began)
        clock.sleep(period_seconds)
    return tuple(
        CheckedDomain(
            domain=_refined(domain, checks.get(domain.name)),
            watts=_watts(readings[domain.name]),
            read_seconds=statistics.median(cost) / NANOSECONDS_PER_SECOND,
        )
        for sensor, cost in zip(sensors, costs, strict=True)
        for domain in sensor.domains
    )


def _observe(sensors: Sequence[Sensor], clock: Clock) -> dict[str, CounterCheck]:
    """Read the sensors closely whose hardware does not state its update interval."""
    checks: dict[str, CounterCheck] = {}
    for sensor in sensors:
        if any(
            d.update_period_seconds is None and d.provenance is not Provenance.MODELLED
            for d in sensor.domains
        ):
            checks |= observe(sensor, seconds=_OBSERVE_SECONDS, clock=clock)
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
    """Return the mean power between the first and the last change of a counter, or else of the power readings."""
    energies = [(r.time_ns, r.energy_joules) for r in readings if r.energy_joules is not None]
    moves = [after for before, after in pairwise(energies) if after[1] != before[1]]
    if len(moves) > 1:
        (start, first), (end, last) = moves[0], moves[-1]
        return (last - first) / (end - start) * NANOSECONDS_PER_SECOND
    powers = [r.power_watts for r in readings if r.power_watts is not None]
    return statistics.fmean(powers) if powers else None


def _gpus(torch: TorchInfo, driver: DriverInfo, domains: Sequence[Domain]) -> tuple[Gpu, ...]:
    """Return every board that torch or the driver lists, those of torch first."""
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
            domain=names.get(uuid)
            if uuid
            else next((d.name for d in domains if d.name == f"gpu:{index}"), None),
            nvml_index=listed.index(uuid) if uuid in listed else None,
        )
        for index, uuid, model in (*known, *hidden)
    )


def read_torch() -> TorchInfo:
    """Import torch, if it is installed, and list its devices, which starts CUDA."""
    try:
        import torch
    except ImportError as error:
        installed = getattr(error, "name", None) != "torch"
        return TorchInfo(problem=str(error) if installed else "")
    except OSError as error:
        return TorchInfo(problem=str(error))
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    is_rocm = bool(torch.version.hip)  # its identifiers are not those of the driver
    named = tuple(
        (str(one.name), f"GPU-{uuid}" if (uuid := getattr(one, "uuid", None)) and not is_rocm else "")
        for one in devices
    )
    types = [kind.torch_type for kind in DOMAIN_KINDS.values() if kind.torch_type not in (None, "cuda")]
    others = tuple(name for name in map(str, types) if _is_there(getattr(torch, name, None)))
    return TorchInfo(version=str(torch.__version__), devices=named, others=others)


def _is_there(backend: Any) -> bool:
    return backend is not None and hasattr(backend, "device_count") and backend.device_count() > 0


def read_driver() -> DriverInfo:
    """Read the version and the boards of NVIDIA's driver, if there is one."""
    try:
        pynvml = load_nvml("listing NVIDIA GPUs")
    except MissingDependencyError:
        return DriverInfo()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return DriverInfo()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        boards = tuple(
            (_text(pynvml.nvmlDeviceGetUUID(h)), _text(pynvml.nvmlDeviceGetName(h))) for h in handles
        )
        return DriverInfo(version=_text(pynvml.nvmlSystemGetDriverVersion()), boards=boards)
    except pynvml.NVMLError:
        return DriverInfo()
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
