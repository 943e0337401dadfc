"""Which domains a run pays for: the CPU's always, and of the GPUs it can see those it uses."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from profiler.records import Domain
from profiler.sensors.nvml import MIG_NOTE

_GPU = "gpu:"
_CUDA = "cuda"
UNUSED_GPUS = "This process did not use CUDA before its first step, so every GPU it can see is billed."


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The domains to bill, the devices that work for the run without a meter, and what a reader must know."""

    billed: tuple[str, ...]
    missing: tuple[str, ...]
    notices: tuple[str, ...]

    def says_more_than(self, other: "Decision") -> bool:
        """Whether a device without a meter, or a notice, is new."""
        return bool({*self.missing, *self.notices} - {*other.missing, *other.notices})


def decide(
    domains: Iterable[Domain],
    devices: Iterable[str],
    used_gpus: Iterable[int],
    cuda_uuids: Sequence[str] | None = None,
) -> Decision:
    """Choose the billed domains.

    Domains were named before CUDA could say how it numbers its devices. Once it can, its identifiers decide.

    Args:
        domains: Every domain that is sampled.
        devices: Where the parameters of the run's optimizers live: ``cpu``, ``cuda:0``, ``mps``.
        used_gpus: Logical indices of GPUs on which this process holds memory.
        cuda_uuids: The identifiers of CUDA's devices in its own order, once it can say.
    """
    sampled = [domain for domain in domains if domain.billed]
    gpus = {domain.name: domain for domain in sampled if domain.name.startswith(_GPU)}
    used = {_index(device) for device in devices if device.startswith(_CUDA)} | set(used_gpus)
    meters = {index: _meter(index, gpus, cuda_uuids) for index in sorted(used)}
    working = {device for device in devices if device not in ("cpu", "meta") and not device.startswith(_CUDA)}
    working |= set(meters.values())
    all_visible = not meters and bool(gpus)
    billed = [d.name for d in sampled if d.name not in gpus or d.name in working or all_visible]
    missing = sorted(working - {d.name for d in sampled})
    if not any(name == "psys" or name.startswith("cpu:") for name in billed):
        missing.append("cpu")
    notices = [UNUSED_GPUS] if all_visible else [*_renumbered(meters)]
    return Decision(billed=tuple(billed), missing=tuple(missing), notices=tuple(notices))


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _meter(index: int, gpus: Mapping[str, Domain], cuda_uuids: Sequence[str] | None) -> str:
    """The domain that measures one of CUDA's devices; the device itself where no sampled board is it."""
    foreseen = f"{_GPU}{index}"
    if cuda_uuids is None or index >= len(cuda_uuids):
        return foreseen
    wanted = _bare(cuda_uuids[index])
    own = next((name for name, gpu in gpus.items() if gpu.device and _bare(gpu.device) == wanted), None)
    there = gpus.get(foreseen)
    # The device of an instance (MIG) has an identifier of its own, and its board's meter.
    is_other_board = there is not None and there.device is not None and MIG_NOTE not in there.notes
    return own or (f"{_CUDA}:{index}" if is_other_board else foreseen)


def _bare(uuid: str) -> str:
    return uuid.removeprefix("GPU-").removeprefix("MIG-").lower()


def _renumbered(meters: Mapping[int, str]) -> Iterator[str]:
    """Say which boards CUDA numbers otherwise than the domains are."""
    for index, name in meters.items():
        if name.startswith(_CUDA):
            yield f"{name} is a board that was not visible when the recording began, so nothing measures it."
        elif name != f"{_GPU}{index}":
            yield (
                f"CUDA numbers the boards otherwise than could be foreseen when the recording began: its device "
                f"{index} is recorded as {name}, and so billed."
            )


def cuda_uuids() -> list[str] | None:
    """The identifiers of the process's GPUs in torch's own order; None until CUDA is initialised and so can say."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    cuda = torch.cuda
    found = [getattr(cuda.get_device_properties(index), "uuid", None) for index in range(cuda.device_count())]
    return None if None in found else [f"GPU-{uuid}" for uuid in found]


def used_gpus() -> list[int]:
    """Logical indices of the GPUs on which torch holds memory in this process. Initialises nothing."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [index for index in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(index) > 0]
