"""Why NVIDIA boards cannot be read here, and the commands that change it."""

from pathlib import Path

from profiler.errors import SensorUnavailableError
from profiler.sensors.environment import Surroundings

_NVIDIA_VENDOR = "0x10de"
_DISPLAY_CLASSES = ("0x03", "0x12")

_NO_LIBRARY_IN_CONTAINER = (
    "Start the container with the driver's tools in it: "
    "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."
)
_INSTALL_DRIVER = (
    "Install NVIDIA's driver: sudo ubuntu-drivers install (or your distribution's nvidia-driver package)"
)
_LOAD_DRIVER = "Load it: sudo modprobe nvidia"
_PERMISSION = "Give yourself the device files: sudo chmod a+rw /dev/nvidiactl /dev/nvidia[0-9]*"
_MISMATCH = (
    "Reboot, or reload the kernel module: sudo rmmod nvidia_uvm nvidia_modeset nvidia && sudo modprobe nvidia"
)
_PACKAGE = "pip uninstall -y pynvml && pip install --force-reinstall nvidia-ml-py"


def why_no_nvml(code: int, text: str, surroundings: Surroundings) -> SensorUnavailableError:
    """Say why NVML does not start.

    Args:
        code: NVML's return code.
        text: NVML's own words for it.
        surroundings: The machine.
    """
    if code == 12:  # noqa: PLR2004 - NVML_ERROR_LIBRARY_NOT_FOUND
        return _without_library(surroundings)
    known = {
        9: ("the NVIDIA driver is installed but not loaded", _LOAD_DRIVER),
        4: ("this user may not talk to the NVIDIA driver", _PERMISSION),
        18: (
            "the NVIDIA driver was updated and the loaded kernel module is older than the library",
            _MISMATCH,
        ),
        13: ("the NVML library or its Python bindings are too old", _PACKAGE),
    }
    reason, remedy = known.get(code, (f"NVML does not start: {text} (code {code})", ""))
    return SensorUnavailableError(reason, remedy=remedy)


def why_no_boards(total: int, selection: str | None) -> SensorUnavailableError:
    """Say why there is no board to read although NVML works.

    Args:
        total: Boards that the driver lists.
        selection: The value of CUDA_VISIBLE_DEVICES, or None when it is not set.
    """
    if total == 0:
        return SensorUnavailableError("the NVIDIA driver lists no GPU")
    if selection is None:
        return SensorUnavailableError("none of this process's CUDA devices is a board that NVML lists")
    return SensorUnavailableError(
        f"CUDA_VISIBLE_DEVICES={selection!r} hides every one of the {total} GPUs from this process",
        remedy="Training that uses a GPU unsets it or names one: unset CUDA_VISIBLE_DEVICES",
    )


def _without_library(surroundings: Surroundings) -> SensorUnavailableError:
    root = surroundings.system_root
    if (root / "proc/driver/nvidia").exists():
        reason = "the NVIDIA driver is loaded, and its library libnvidia-ml.so.1 cannot be found"
        contained = surroundings.host().container is not None
        return SensorUnavailableError(
            reason, remedy=_NO_LIBRARY_IN_CONTAINER if contained else _INSTALL_DRIVER
        )
    if _has_nvidia_board(root / "sys/bus/pci/devices"):
        return SensorUnavailableError("there is an NVIDIA GPU and no driver for it", remedy=_INSTALL_DRIVER)
    return SensorUnavailableError("there is no NVIDIA driver and no NVIDIA GPU to be seen")


def _has_nvidia_board(devices: Path) -> bool:
    """Whether the PCI bus shows an NVIDIA display or accelerator device."""
    try:
        return any(_is_nvidia_board(device) for device in devices.iterdir())
    except OSError:
        return False


def _is_nvidia_board(device: Path) -> bool:
    vendor = (device / "vendor").read_text().strip()
    return vendor == _NVIDIA_VENDOR and (device / "class").read_text().startswith(_DISPLAY_CLASSES)
