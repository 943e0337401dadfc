"""Display and accelerator devices on the PCI bus."""

from pathlib import Path

_FOLDER = "sys/bus/pci/devices"
_DISPLAY_CLASSES = ("0x03", "0x12")


def has_display(root: Path, vendor: str) -> bool:
    """Return True if the PCI bus lists a display or accelerator device of a vendor.

    Args:
        root: Root of the file system.
        vendor: Number of the vendor, such as ``0x10de``.
    """
    try:
        return any(_is_display(device, vendor) for device in (root / _FOLDER).iterdir())
    except OSError:
        return False


def _is_display(device: Path, vendor: str) -> bool:
    is_vendor = (device / "vendor").read_text().strip() == vendor
    return is_vendor and (device / "class").read_text().startswith(_DISPLAY_CLASSES)
