"""Reading what ``run.json`` says of each sampled domain."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profiler.errors import RunDamagedError
from profiler.records import Domain, Provenance
from profiler.storage.schema import RUN_FILE


def domain_of(path: Path, entry: Mapping[str, Any]) -> Domain:
    """Read one entry of the domains in ``run.json``.

    Args:
        path: The run directory, for the error.
        entry: The entry.

    Raises:
        RunDamagedError: It lacks something, or something in it is not what it should be.
    """
    try:
        return Domain(
            name=entry["name"], source=entry["source"], provenance=Provenance(entry["provenance"]),
            billed=bool(entry["billed"]), parent=entry.get("parent"),
            update_period_seconds=entry.get("update_period_seconds"),
            gain_uncertainty=float(entry.get("gain_uncertainty", 0.0)),
            edge_watts=float(entry.get("edge_watts", 0.0)), blur_seconds=float(entry.get("blur_seconds", 0.0)),
            buffered_seconds=float(entry.get("buffered_seconds", 0.0)),
            drift_watts=float(entry.get("drift_watts", 0.0)), device=entry.get("device"),
            notes=tuple(entry.get("notes", ())),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise RunDamagedError(path / RUN_FILE, f"a domain's entry is broken ({error!r}).") from None
