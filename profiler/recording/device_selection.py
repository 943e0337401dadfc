"""Selection of the domains that count for a run: the CPU's always, and of the visible GPUs those it uses."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profiler.records import DOMAIN_KINDS, Domain, kind_of
from profiler.sensors.base import covers
from profiler.sensors.nvml import MIG_NOTE

_CUDA = "cuda"
_KIND_OF_TORCH_TYPE = {kind.torch_type: kind.name for kind in DOMAIN_KINDS.values() if kind.torch_type}
UNUSED_GPUS = "This process did not use CUDA before its first step, so every visible GPU is counted."


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Counted domains, devices of the run without a meter, and warnings."""

    billed: tuple[str, ...]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]

    def adds_to(self, other: "Selection") -> bool:
        """Return whether a device without a meter or a warning is new."""
        return bool({*self.missing, *self.warnings} - {*other.missing, *other.warnings})


def select(
    domains: Iterable[Domain],
    devices: Iterable[str],
    used_gpus: Iterable[int],
    cuda_uuids: Sequence[str] | None = None,
) -> Selection:
    """Select the counted domains.

    Domains were named before CUDA had numbered its devices. Once it has, its identifiers decide.

    Args:
        domains: All sampled domains.
        devices: Devices of the parameters of the run's optimizers: ``cpu``, ``cuda:0``, ``mps``.
        used_gpus: Logical indices of GPUs on which this process holds memory.
        cuda_uuids: Identifiers of CUDA's devices in its own order; None until CUDA is initialised.
    """
    sampled = [domain for domain in domains if domain.billed]
    accelerators = {domain.name: domain for domain in sampled if domain.kind.is_accelerator}
    gpus = {name: domain for name, domain in accelerators.items() if domain.kind.torch_type == _CUDA}
    used = {_index(device) for device in devices if device.startswith(_CUDA)} | set(used_gpus)
    meters = {index: _meter(index, gpus, cuda_uuids) for index in sorted(used)}
    others = {device for device in devices if device not in ("cpu", "meta") and not device.startswith(_CUDA)}
    working = {_domain_name(device) for device in others} | set(meters.values())
    uses_accelerator = bool(meters) or any(kind_of(name).is_accelerator for name in working)
    all_visible = bool(accelerators) and not uses_accelerator
    billed = [d.name for d in sampled if d.name not in accelerators or d.name in working or all_visible]
    covered = frozenset[str]().union(*(covers(d) for d in sampled if d.name in billed))
    missing = [] if "accelerators" in covered else sorted(working - {d.name for d in sampled})
    if "cpu" not in covered:
        missing.append("cpu")
    warnings = [UNUSED_GPUS] if all_visible else [*_renumbered(meters)]
    return Selection(billed=tuple(billed), missing=tuple(missing), warnings=tuple(warnings))


def _domain_name(device: str) -> str:
    """Return the domain of a torch device; the device itself if no sensor measures its type."""
    kind = _KIND_OF_TORCH_TYPE.get(device.partition(":")[0])
    return device if kind is None else f"{kind}:{_index(device)}"


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _meter(index: int, gpus: Mapping[str, Domain], cuda_uuids: Sequence[str] | None) -> str:
    """Return the domain that measures one of CUDA's devices; the device itself if no sampled board does."""
    default = _domain_name(f"{_CUDA}:{index}")
    if cuda_uuids is None or index >= len(cuda_uuids):
        return default
    wanted = _bare(cuda_uuids[index])
    own = next((name for name, gpu in gpus.items() if gpu.device and _bare(gpu.device) == wanted), None)
    there = gpus.get(default)
    # A MIG instance has an identifier of its own and is measured by its board's meter.
    is_other_board = there is not None and there.device is not None and MIG_NOTE not in there.notes
    return own or (f"{_CUDA}:{index}" if is_other_board else default)


def _bare(uuid: str) -> str:
    return uuid.removeprefix("GPU-").removeprefix("MIG-").lower()


def _renumbered(meters: Mapping[int, str]) -> Iterator[str]:
    """Yield a warning for each board that CUDA numbers differently."""
    for index, name in meters.items():
        if name.startswith(_CUDA):
            yield f"{name} was not visible when the recording began, so it is not measured."
        elif name != _domain_name(f"{_CUDA}:{index}"):
            yield (
                f"CUDA numbers the boards differently than expected when the recording began: its device {index} is "
                f"recorded and counted as {name}."
            )


def cuda_uuids() -> list[str] | None:
    """Return the identifiers of the process's GPUs in torch's order; None until CUDA is initialised.

    They are None for ROCm too, whose identifiers in torch are not those of the driver.
    """
    cuda = _initialised_cuda()
    if cuda is None or _is_rocm(sys.modules.get("torch")):
        return None
    found = [getattr(cuda.get_device_properties(index), "uuid", None) for index in range(cuda.device_count())]
    return None if None in found else [f"GPU-{uuid}" for uuid in found]


def _is_rocm(torch: Any) -> bool:
    return bool(getattr(getattr(torch, "version", None), "hip", None))


def used_gpus() -> list[int]:
    """Return the logical indices of GPUs on which torch holds memory in this process. Initialises nothing."""
    cuda = _initialised_cuda()
    if cuda is None:
        return []
    return [index for index in range(cuda.device_count()) if cuda.memory_reserved(index) > 0]


def _initialised_cuda() -> Any:
    """Return ``torch.cuda``; None until CUDA is initialised."""
    # The program's thread may be importing torch at this moment, which then lacks attributes.
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    is_initialised = getattr(cuda, "is_initialized", None)
    return cuda if is_initialised is not None and is_initialised() else None
