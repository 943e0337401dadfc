"""Idle power of this machine's domains, measured once by ``energy-profiler doctor --idle`` and kept for later runs.

The file is ``$XDG_CONFIG_HOME/energy-profiler/idle.json``. Each entry is stored under a hash of the hardware that it
was measured on, so that it no longer applies once the hardware has changed.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from profiler._compat import write_atomically
from profiler.records import Domain, Provenance
from profiler.sensors.host import describe_host

_VERSION = 1
_MOST_BYTES = 1 << 20
_MOST_WATTS = 1e5
_DIGITS = 16


def idle_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the file.

    Raises:
        RuntimeError: The user has no home directory.
    """
    configured = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(configured) if Path(configured).is_absolute() else Path.home() / ".config"
    return folder / "energy-profiler" / "idle.json"


def store(
    watts: Mapping[Domain, float],
    measured: datetime,
    *,
    environ: Mapping[str, str],
    system_root: Path = Path("/"),
) -> Path:
    """Store the idle power of domains beside that of other machines. Return the path of the file.

    Raises:
        OSError: The file cannot be written.
        RuntimeError: The user has no home directory.
    """
    path = idle_path(environ)
    machine = _machine(environ, system_root)
    devices = {
        **_devices(path),
        **{
            _key(domain, machine): {
                "name": domain.name,
                "watts": power,
                "measured": measured.date().isoformat(),
            }
            for domain, power in watts.items()
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"version": _VERSION, "devices": devices}, indent=1).encode())
    return path


def with_idle_power(
    domains: Sequence[Domain], *, environ: Mapping[str, str], system_root: Path = Path("/")
) -> tuple[Domain, ...]:
    """Return the domains with their idle power, where it was measured on this hardware."""
    try:
        devices = _devices(idle_path(environ))
    except RuntimeError:
        devices = {}
    if not devices:
        return tuple(domains)
    machine = _machine(environ, system_root)
    return tuple(_with_entry(domain, devices.get(_key(domain, machine))) for domain in domains)


def _with_entry(domain: Domain, entry: Any) -> Domain:
    if domain.provenance is Provenance.MODELLED or not isinstance(entry, dict):
        return domain
    watts = entry.get("watts")
    if not isinstance(watts, int | float) or not 0.0 <= watts <= _MOST_WATTS or not math.isfinite(watts):
        return domain
    note = f"Its idle power was measured on {str(entry.get('measured', 'an unknown date'))[:10]}."
    return replace(domain, idle_watts=float(watts), notes=(*domain.notes, note))


def _devices(path: Path) -> dict[str, Any]:
    """Return the entries of the file by key; none if it cannot be read."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return {}
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    devices = found.get("devices") if isinstance(found, dict) and found.get("version") == _VERSION else None
    return devices if isinstance(devices, dict) else {}


def _key(domain: Domain, machine: Iterable[str]) -> str:
    """Return a hash of the device, or of the machine and the domain's name where it has no identifier of its own."""
    parts = (domain.device,) if domain.device else (domain.name, *machine)
    return sha256("\n".join((domain.source, *parts)).encode()).hexdigest()[:_DIGITS]


def _machine(environ: Mapping[str, str], system_root: Path) -> tuple[str, ...]:
    host = describe_host(system_root, environ)
    try:
        identity = (system_root / "etc/machine-id").read_text().strip()
    except OSError:
        identity = ""
    return (host.system, host.machine, str(host.cpu_model), str(host.sockets), str(host.threads), identity)
