"""Power limits of NVIDIA boards that are set for a while and then restored, also after the process was killed."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from profiler._compat import process_start, write_atomically
from profiler.errors import SensorUnavailableError, UsageError

STATE_VARIABLE = "ENERGY_PROFILER_STATE_DIR"
"""Environment variable with the folder of the file of limits to restore."""
_FOLDER = "/run/energy-profiler"
"""Emptied when the machine starts, as the limits of boards are reset then too."""
_FILE = "power-limits.json"
_VERSION = 1
_MILLI = 1e-3
_RESTORE = "energy-profiler cap --restore"


class Board:
    """One board whose limit can be set.

    Args:
        nvml: The initialised ``pynvml`` module.
        uuid: Its UUID.
        name: Its domain, for messages.

    Raises:
        SensorUnavailableError: There is no such board, or its limit cannot be read.
    """

    def __init__(self, nvml: Any, uuid: str, name: str) -> None:
        self.uuid = uuid
        self.name = name
        self._nvml = nvml
        try:
            self._handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
            low, high = nvml.nvmlDeviceGetPowerManagementLimitConstraints(self._handle)
            self.limit_milliwatts = int(nvml.nvmlDeviceGetPowerManagementLimit(self._handle))
        except nvml.NVMLError as error:
            raise SensorUnavailableError(f"the power limit of {name} cannot be read: {error}") from error
        self.least_watts, self.most_watts = low * _MILLI, high * _MILLI

    def set_limit(self, milliwatts: int) -> None:
        """Set the limit.

        Raises:
            SensorUnavailableError: It cannot be set, for instance because the user may not.
        """
        nvml = self._nvml
        try:
            nvml.nvmlDeviceSetPowerManagementLimit(self._handle, milliwatts)
        except nvml.NVMLError_NoPermission as error:
            raise SensorUnavailableError(
                f"this user may not set the power limit of {self.name}", remedy="Run the command with sudo."
            ) from error
        except nvml.NVMLError as error:
            raise SensorUnavailableError(f"the power limit of {self.name} cannot be set: {error}") from error

    def processes(self) -> set[int]:
        """Return the numbers of the processes that compute on the board.

        Raises:
            SensorUnavailableError: They cannot be listed.
        """
        try:
            found = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError as error:
            raise SensorUnavailableError(f"the processes on {self.name} cannot be listed: {error}") from error
        return {int(process.pid) for process in found}


def state_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the file of limits to restore."""
    return Path(environ.get(STATE_VARIABLE) or _FOLDER) / _FILE


def save_limits(boards: Sequence[Board], path: Path) -> None:
    """Write the present limits to disk, before they are changed.

    Raises:
        UsageError: Another process changes limits, one has not restored them, or the file cannot be written.
    """
    known = read_saved(path)
    if known is not None:
        if is_owner_alive(known):
            raise UsageError(f"process {known['pid']} is changing power limits; wait until it ends.")
        raise UsageError(f"an earlier process did not restore the power limits it set; first run {_RESTORE}.")
    pid = os.getpid()
    content = {
        "version": _VERSION,
        "pid": pid,
        "started": process_start(pid),
        "milliwatts": {board.uuid: board.limit_milliwatts for board in boards},
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content).encode())
        _sync(path)
    except OSError as error:
        raise UsageError(
            f"the present power limits cannot be saved in {path} ({error.strerror}), so none was changed; "
            f"run the command with sudo, or name another folder with {STATE_VARIABLE}."
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_saved(path: Path) -> dict[str, Any] | None:
    """Return the saved limits and the process that saved them; None if all limits are restored.

    Raises:
        UsageError: The file is damaged.
    """
    try:
        content = json.loads(path.read_text())
        limits = {str(uuid): int(limit) for uuid, limit in content["milliwatts"].items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"{path}, which holds the power limits to restore, is damaged ({error}); set them with nvidia-smi -pl and "
            "remove the file."
        ) from None
    return {**content, "milliwatts": limits}


def is_owner_alive(saved: Mapping[str, Any]) -> bool:
    """Return True if the process that saved limits still runs."""
    pid, started = saved.get("pid"), saved.get("started")
    return isinstance(pid, int) and pid > 0 and started is not None and process_start(pid) == started


def restore_limits(nvml: Any, path: Path) -> list[str]:
    """Restore the saved limits and remove the file.

    Returns:
        The UUIDs of the boards.

    Raises:
        UsageError: The file is damaged, or its owner is still changing limits.
        SensorUnavailableError: A limit cannot be set; the file is kept, and the others are restored.
    """
    saved = read_saved(path)
    if saved is None:
        return []
    if is_owner_alive(saved) and saved["pid"] != os.getpid():
        raise UsageError(f"process {saved['pid']} is changing power limits; it restores them when it ends.")
    failures = []
    for uuid, milliwatts in saved["milliwatts"].items():
        try:
            Board(nvml, uuid, uuid).set_limit(milliwatts)
        except SensorUnavailableError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    path.unlink(missing_ok=True)
    return list(saved["milliwatts"])


def suggestion(environ: Mapping[str, str]) -> str:
    """Return the advice to restore limits that a killed process has left behind; empty if there are none."""
    try:
        saved = read_saved(state_path(environ))
    except UsageError as error:
        return str(error)
    if saved is None or is_owner_alive(saved):
        return ""
    count = len(saved["milliwatts"])
    boards = "one GPU" if count == 1 else f"{count} GPUs"
    return f"the power limit of {boards} was changed and not restored; restore it with: sudo {_RESTORE}"
