"""Why processor counters cannot be read here, and the commands that change it."""

from pathlib import Path

from profiler.errors import SensorUnavailableError
from profiler.records import Refusal
from profiler.sensors.host import Host
from profiler.sensors.powercap import Zone

SOURCE = "powercap"
_UDEV_RULE = (
    'ACTION=="add", SUBSYSTEM=="powercap", KERNEL=="intel-rapl*:*", '
    'RUN+="/usr/bin/chgrp rapl /sys%p/energy_uj", RUN+="/usr/bin/chmod g+r /sys%p/energy_uj"'
)
_UNTIL_REBOOT = "sudo chmod a+r {root}/intel-rapl*/energy_uj"
_FOR_GOOD = (
    "sudo groupadd -f rapl && sudo usermod -aG rapl $USER && "
    f"echo '{_UDEV_RULE}' | sudo tee /etc/udev/rules.d/70-rapl.rules && "
    "sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=powercap --action=add"
)
_UNMASK = (
    "Start the container with `docker run --security-opt systempaths=unconfined ...` (or `--privileged`) "
    "as a user that may read the counters, or profile outside the container."
)
_LOAD_MODULE = "Load the driver: sudo modprobe intel_rapl_msr"


def permission_remedy(root: Path) -> str:
    """Return the commands that let a user read the counters below ``root``."""
    until_reboot = _UNTIL_REBOOT.format(root=root)
    return f"Until the next boot: {until_reboot} -- for good, then log in again: {_FOR_GOOD}"


def why_unreadable(zone: Zone, error: Exception) -> Refusal:
    """Say why one zone's counter cannot be read.

    Args:
        zone: The zone.
        error: What reading it raised.
    """
    if isinstance(error, PermissionError):
        reason = f"energy_uj of {zone.name} can be read by root only (the kernel's default since 5.10)"
        return Refusal(source=SOURCE, reason=reason, remedy=permission_remedy(zone.folder.parent))
    return Refusal(source=SOURCE, reason=f"energy_uj of {zone.name} cannot be read: {error}")


def why_no_zones(root: Path, host: Host) -> SensorUnavailableError:
    """Say why a machine shows no zone at all: each cause has its own remedy."""
    if host.system != "Linux":
        return SensorUnavailableError(
            f"{host.system or 'this system'} does not show the processor's energy counters"
        )
    if host.virtual:
        where = "a virtual machine" + (f" ({host.container} container)" if host.container else "")
        return SensorUnavailableError(
            f"this is {where}, and hypervisors do not pass the processor's energy counters on",
            remedy="Profile on the host itself to measure the processor.",
        )
    if host.container or _has_entries(root):
        kind = f"{host.container} container" if host.container else "container"
        return SensorUnavailableError(f"this {kind} hides {root}", remedy=_UNMASK)
    if not host.is_x86:
        return SensorUnavailableError(f"processors of type {host.machine} have no RAPL counters")
    return SensorUnavailableError(f"{root} has no energy zones: the kernel's RAPL driver is not loaded",
                                  remedy=_LOAD_MODULE)  # fmt: skip


def _has_entries(root: Path) -> bool:
    """Whether there are zones whose contents are hidden, as container runtimes do it."""
    try:
        return any(entry.name.startswith("intel-rapl") for entry in root.iterdir())
    except OSError:
        return False
