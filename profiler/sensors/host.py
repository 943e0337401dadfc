"""Description of the machine, as far as it determines which sensors can exist."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PCI_DEVICES = "sys/bus/pci/devices"
_DISPLAY_CLASSES = ("0x03", "0x12")
"""Beginnings of the PCI classes of display controllers and of processing accelerators."""
_CONTAINER_FILES = (
    ("Docker", ".dockerenv"),
    ("Podman", "run/.containerenv"),
    ("Apptainer", ".singularity.d"),
)
_CONTAINER_VARIABLES = (
    ("Kubernetes", "KUBERNETES_SERVICE_HOST"),
    ("Apptainer", "APPTAINER_CONTAINER"),
    ("Apptainer", "SINGULARITY_CONTAINER"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine as described by its kernel.

    Attributes:
        system: The operating system: ``Linux``, ``Windows``, ``Darwin``, ...
        machine: The instruction set: ``x86_64``, ``aarch64``, ...
        cpu_model: Name of the processor, or None if the kernel does not report it.
        vendor: ``GenuineIntel``, ``AuthenticAMD``, ..., or None.
        sockets: Number of processor packages; at least 1.
        threads: Number of hardware threads; at least 1.
        virtual: True if the processor reports a hypervisor.
        container: Type of the container, or None outside of one.
    """

    system: str
    machine: str
    cpu_model: str | None
    vendor: str | None
    sockets: int
    threads: int
    virtual: bool
    container: str | None

    @property
    def is_x86(self) -> bool:
        """True for the processor family that has RAPL counters."""
        return self.machine.lower() in ("x86_64", "amd64", "i386", "i686")


def describe_host(root: Path, environ: Mapping[str, str]) -> Host:
    """Describe the machine from ``/proc/cpuinfo`` and the usual markers of containers.

    Args:
        root: Root of the file system.
        environ: Environment variables.
    """
    fields, threads = _cpuinfo(root / "proc/cpuinfo")
    return Host(
        system=platform.system(),
        machine=platform.machine(),
        cpu_model=_first(fields, "model name"),
        vendor=_first(fields, "vendor_id"),
        sockets=max(len(fields.get("physical id", ())), 1),
        threads=threads or os.cpu_count() or 1,
        virtual=any("hypervisor" in flags.split() for flags in fields.get("flags", ())),
        container=_container(root, environ),
    )


def _cpuinfo(path: Path) -> tuple[dict[str, set[str]], int]:
    """Return the distinct values of each field, and the number of processors."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}, 0
    fields: dict[str, set[str]] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), set()).add(value.strip())
    return fields, len(fields.get("processor", ()))


def _first(fields: Mapping[str, set[str]], key: str) -> str | None:
    return min(fields.get(key, ()), default=None) or None


def _container(root: Path, environ: Mapping[str, str]) -> str | None:
    for kind, variable in _CONTAINER_VARIABLES:
        if variable in environ:
            return kind
    for kind, name in _CONTAINER_FILES:
        if (root / name).exists():
            return kind
    return environ.get("container") or None


def has_display(root: Path, vendor: str) -> bool:
    """Return True if the PCI bus lists a display or accelerator device of a vendor.

    Args:
        root: Root of the file system.
        vendor: Number of the vendor, such as ``0x10de``.
    """
    try:
        return any(_is_display(device, vendor) for device in (root / _PCI_DEVICES).iterdir())
    except OSError:
        return False


def _is_display(device: Path, vendor: str) -> bool:
    is_vendor = (device / "vendor").read_text().strip() == vendor
    return is_vendor and (device / "class").read_text().startswith(_DISPLAY_CLASSES)
