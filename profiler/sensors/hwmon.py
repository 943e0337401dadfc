"""Energy and power of hardware monitoring chips in ``/sys/class/hwmon``.

Supported chips, with the documentation of their files:

- ``power_meter`` (ACPI) on NVIDIA Grace: NVIDIA Grace Performance Tuning Guide, "Power and Thermals";
- ``smpro_hwmon`` on Ampere Altra: ``Documentation/hwmon/smpro-hwmon.rst`` of the Linux kernel;
- ``amd_energy`` on AMD EPYC: ``Documentation/hwmon/amd_energy.rst``;
- ``i915`` and ``xe`` on Intel GPUs: ``Documentation/ABI/testing/sysfs-driver-intel-{i915,xe}-hwmon``;
- ``ina3221`` on NVIDIA Jetson: ``Documentation/hwmon/ina3221.rst`` and the Jetson Linux Developer Guide.

Other chips are ignored, because the meaning of their channels is not known. Energies are in microjoules, powers in
microwatts, voltages in millivolts and currents in milliamperes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.errors import SensorUnavailableError
from profiler.records import Domain, Provenance, Refusal
from profiler.sensors.base import Found
from profiler.sensors.environment import Environment
from profiler.sensors.file_meters import FileMeter, FileSensor, NumberFile, Product, Sum, Value, count_parts

VARIABLE = "ENERGY_PROFILER_HWMON_ROOT"
"""Environment variable with the folder that holds ``hwmonN``."""
_FOLDER = Path("sys/class/hwmon")
_GAIN_UNCERTAINTY = 0.05
"""Relative standard deviation, chosen by this project; the vendors state no tolerance for these readings."""
_MILLI = 1e-3
_GRACE_LABEL = re.compile(r"(Module|Grace|CPU|SysIO) Power Socket (\d+)")
_SOCKET_LABEL = re.compile(r"Esocket(\d+)")
_CHANNELS = (1, 2, 3)
_INPUT_RAILS = ("VDD_IN", "VDD_5V_IN", "POM_5V_IN", "5V_IN")
"""Names of the rail that supplies a whole Jetson module."""
_GRACE_NOTE = "Includes the memory of the socket."
_RAIL_NOTE = "A power rail of the module, which may supply several parts or another rail."
_RAIL_GAIN_UNCERTAINTY = 0.15
"""The same for a rail, because rails may overlap and leave out parts of the module."""
_ORDER_NOTE = "The number is the position in PCI order, which torch is assumed to use as well."


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A value of a chip and the domain that it measures.

    Attributes:
        domain: The domain, before the decision which ones are counted.
        value: The value in joules or watts.
    """

    domain: Domain
    value: Value


def open_hwmon(environment: Environment) -> Found:
    """Open the channels of all supported chips; nothing is found on machines without one.

    Raises:
        SensorUnavailableError: The environment variable names a folder without a readable channel.
    """
    named = environment.environ.get(VARIABLE)
    root = Path(named) if named else environment.system_root / _FOLDER
    channels, refusals = _readable(list(_scan(root)))
    if not channels:
        if named:
            raise SensorUnavailableError(f"{root} has no readable channel of a supported chip")
        return Found(refusals=refusals)
    channels.sort(key=lambda channel: not channel.domain.kind.is_container)
    domains = count_parts([channel.domain for channel in channels], environment.measured, "hwmon")
    meters = [
        FileMeter(domain=domain, value=channel.value)
        for channel, domain in zip(channels, domains, strict=True)
    ]
    return Found(sensors=(FileSensor("hwmon", meters, clock=environment.clock),), refusals=refusals)


def _scan(root: Path) -> Iterator[Channel]:
    try:
        chips = sorted(root.glob("hwmon*"), key=lambda chip: (len(chip.name), chip.name))
    except OSError:
        return
    named = [(chip, _text(chip / "name")) for chip in chips]
    for chip, name in named:
        if name == "power_meter":
            yield from _grace(chip)
        elif name == "amd_energy":
            yield from _amd_energy(chip)
        elif name == "ina3221":
            yield from _jetson(chip)
    for socket, chip in enumerate(chip for chip, name in named if name in ("smpro_hwmon", "smpro")):
        yield from _altra(chip, socket)
    gpus = sorted((chip for chip, name in named if name in ("i915", "xe")), key=_pci_address)
    for index, chip in enumerate(gpus):
        yield from _intel_gpu(chip, index)


def _grace(chip: Path) -> Iterator[Channel]:
    folder = next((f for f in (chip, chip / "device") if (f / "power1_oem_info").exists()), chip)
    match = _GRACE_LABEL.fullmatch(_text(folder / "power1_oem_info"))
    if match is None:
        return
    part, socket = match[1], match[2]
    package = f"cpu:package-{socket}"
    names = {
        "Module": f"node:module-{socket}",
        "Grace": package,
        "CPU": f"core:package-{socket}",
        "SysIO": f"uncore:package-{socket}",
    }
    domain = _domain(
        names[part],
        f"hwmon {chip.name} ({match[0]})",
        is_counted=part in ("Module", "Grace"),
        parent=package if part in ("CPU", "SysIO") else None,
        notes=(_GRACE_NOTE,) if part == "Grace" else (),
    )
    yield Channel(domain=domain, value=NumberFile(folder / "power1_average"))


def _amd_energy(chip: Path) -> Iterator[Channel]:
    for path in sorted(chip.glob("energy*_label")):
        match = _SOCKET_LABEL.fullmatch(_text(path))
        if match:
            value = NumberFile(path.with_name(path.name.replace("_label", "_input")))
            source = f"hwmon {chip.name} ({match[0]})"
            yield Channel(domain=_domain(f"cpu:package-{match[1]}", source, is_energy=True), value=value)


def _altra(chip: Path, socket: int) -> Iterator[Channel]:
    """Yield processor and memory of an Altra socket, each the sum of its voltage regulators."""
    regulators = {"cpu": ("core, SoC and RCA VRD", (1, 2, 5)), "dram": ("DIMM VRD", (3, 4))}
    for kind, (label, numbers) in regulators.items():
        values = tuple(NumberFile(chip / f"power{number}_input") for number in numbers)
        domain = _domain(f"{kind}:package-{socket}", f"hwmon {chip.name} ({label})")
        yield Channel(domain=domain, value=Sum(values))


def _intel_gpu(chip: Path, index: int) -> Iterator[Channel]:
    for number, part in ((1, "card"), (2, "package")):
        path = chip / f"energy{number}_input"
        if path.exists():
            source = f"hwmon {chip.name} ({part} energy)"
            domain = _domain(f"xpu:{index}", source, is_energy=True, notes=(_ORDER_NOTE,))
            yield Channel(domain=domain, value=NumberFile(path))
            return


def _jetson(chip: Path) -> Iterator[Channel]:
    labels = {number: _text(chip / f"in{number}_label") for number in _CHANNELS}
    rails = {number: label for number, label in labels.items() if label and label != "NC"}
    supply = next((label for label in rails.values() if label in _INPUT_RAILS), None)
    node = None if supply is None else f"node:{_slug(supply)}"
    for number, label in rails.items():
        name = node if label == supply and node else f"rail:{_slug(label)}"
        domain = _domain(
            name,
            f"hwmon {chip.name} ({label})",
            is_counted=supply is None or label == supply,
            parent=node if name != node else None,
            notes=() if name == node else (_RAIL_NOTE,),
            gain=_GAIN_UNCERTAINTY if name == node else _RAIL_GAIN_UNCERTAINTY,
        )
        power = _power(chip, number)
        yield Channel(domain=domain, value=power)


def _power(chip: Path, number: int) -> Value:
    path = chip / f"power{number}_input"
    if path.exists():
        return NumberFile(path)
    volts = NumberFile(chip / f"in{number}_input", _MILLI)
    return Product(volts, NumberFile(chip / f"curr{number}_input", _MILLI))


def _domain(
    name: str,
    source: str,
    *,
    is_energy: bool = False,
    is_counted: bool = True,
    parent: str | None = None,
    notes: tuple[str, ...] = (),
    gain: float = _GAIN_UNCERTAINTY,
) -> Domain:
    return Domain(
        name=name,
        source=source,
        provenance=Provenance.COUNTER if is_energy else Provenance.INTEGRATED,
        billed=is_counted,
        parent=parent,
        gain_uncertainty=gain,
        notes=notes,
    )


def _readable(channels: Sequence[Channel]) -> tuple[list[Channel], tuple[Refusal, ...]]:
    """Split channels into readable ones, each domain once, and refusals of those without permission."""
    found: dict[str, Channel] = {}
    refusals: dict[str, Refusal] = {}
    for channel in channels:
        try:
            channel.value.read()
        except PermissionError as error:
            reason = f"{channel.domain.source} can be read by root only"
            refusals[reason] = Refusal(
                source="hwmon", reason=reason, remedy=f"Until the next boot: sudo chmod a+r {error.filename}"
            )
        except (OSError, ValueError):
            continue
        else:
            found.setdefault(channel.domain.name, channel)
    return list(found.values()), tuple(refusals.values())


def _pci_address(chip: Path) -> str:
    try:
        return (chip / "device").resolve().name
    except OSError:
        return chip.name


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
