"""Which domains a run pays for: the CPU's always, and of the GPUs it can see those it uses."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from profiler.records import Domain

_GPU = "gpu:"
UNUSED_GPUS = "This process did not use CUDA before its first step, so every GPU it can see is billed."


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The domains to bill, the devices that work for the run without a meter, and what a reader must know."""

    billed: tuple[str, ...]
    missing: tuple[str, ...]
    notices: tuple[str, ...]


def decide(domains: Iterable[Domain], devices: Iterable[str], used_gpus: Iterable[int]) -> Decision:
    """Choose the billed domains.

    Args:
        domains: Every domain that is sampled.
        devices: Where the parameters of the run's optimizers live: ``cpu``, ``cuda:0``, ``mps``.
        used_gpus: Logical indices of GPUs on which this process holds memory.
    """
    sampled = [domain for domain in domains if domain.billed]
    gpus = [domain.name for domain in sampled if domain.name.startswith(_GPU)]
    working = {_meter_of(device) for device in devices if device not in ("cpu", "meta")}
    working |= {f"{_GPU}{index}" for index in used_gpus}
    all_visible = not any(name.startswith(_GPU) for name in working) and bool(gpus)
    billed = [d.name for d in sampled if d.name not in gpus or d.name in working or all_visible]
    missing = sorted(working - {d.name for d in sampled})
    if not any(name == "psys" or name.startswith("cpu:") for name in billed):
        missing.append("cpu")
    return Decision(
        billed=tuple(billed), missing=tuple(missing), notices=(UNUSED_GPUS,) if all_visible else ()
    )


def _meter_of(device: str) -> str:
    kind, _, index = device.partition(":")
    return f"{_GPU}{index or 0}" if kind == "cuda" else device


def used_gpus() -> list[int]:
    """Logical indices of the GPUs on which torch holds memory in this process. Initialises nothing."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [index for index in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(index) > 0]
