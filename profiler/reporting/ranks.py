"""The processes of a job of several: what each spent, and what it spent waiting for the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process and attempt.

    Attributes:
        rank: Its rank.
        attempt: Which start of it this was.
        host: A short hash that tells hosts apart.
        status: How it stands or ended.
        steps: Steps that it took.
        joules: Energy of its own devices and of its part of what a host's processes share, in joules.
        waiting_seconds: Time that it waited for others inside backward passes.
        waiting_joules: Energy of that time, at its mean power.
    """

    rank: int
    attempt: int
    host: str
    status: str
    steps: int
    joules: float
    waiting_seconds: float
    waiting_joules: float


def processes_of(run_json: Mapping[str, Any]) -> tuple[Process, ...]:
    """Read the processes of a merged run; none where it is one process's own."""
    return tuple(_process(entry) for entry in run_json.get("ranks", ()))


def _process(entry: Mapping[str, Any]) -> Process:
    return Process(
        rank=int(entry["rank"]),
        attempt=int(entry["attempt"]),
        host=str(entry["host"]),
        status=str(entry["status"]),
        steps=int(entry["steps"]),
        joules=float(entry["joules"]),
        waiting_seconds=float(entry["waiting_seconds"]),
        waiting_joules=float(entry["waiting_joules"]),
    )
