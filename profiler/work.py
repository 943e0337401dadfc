"""Units of work of a training, such as tokens: amounts per step, their totals, and the section of ``run.json``."""

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from profiler.errors import UsageError
from profiler.records import Work

SECTION = "work"
"""Section of ``run.json``: number of trained parameters, and the total of each unit of work. Since schema 1.1."""
PARAMETERS = "parameters"
_NAME = re.compile(r"[A-Za-z_]\w{0,63}")
_MOST_UNITS = 20
_MOST_AMOUNT = 1e100
"""The sum of greater ones over a run might not be finite, which ``run.json`` cannot hold."""
_HOST = 1
"""DLPack's number of the host."""


def checked_work(per_step: object) -> dict[str, float]:
    """Check ``work_per_step``.

    Raises:
        UsageError: It is not a mapping of names to positive finite numbers.
    """
    if not isinstance(per_step, Mapping) or len(per_step) > _MOST_UNITS:
        raise UsageError(
            f"work_per_step must map up to {_MOST_UNITS} units to amounts, such as {{'tokens': 524_288}}, not "
            f"{per_step!r:.100}."
        )
    found = {}
    for unit, amount in per_step.items():
        if not is_unit(unit):
            raise UsageError(f"work_per_step has a unit that is not a name: {unit!r:.100}.")
        number = amount_of(amount)
        if not number:
            raise UsageError(f"work_per_step[{unit!r}] must be a positive number, not {amount!r:.100}.")
        found[unit] = number
    return found


def is_unit(name: object) -> bool:
    """Return whether a name can be that of a unit of work."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and name != PARAMETERS


def amount_of(value: Any) -> float | None:
    """Convert an amount to a number; None if it is unknown, negative, over 1e100 or not a number."""
    if isinstance(value, bool | str) or value is None:
        return None
    try:
        number = None if _is_on_device(value) else float(value)
    except Exception:  # noqa: BLE001 - an object of the training may raise anything, and it must not notice
        return None
    return number if number is not None and 0 <= number <= _MOST_AMOUNT else None


def _is_on_device(value: Any) -> bool:
    """Return whether reading a value might wait for a device: a tensor there, or an array still being computed."""
    if getattr(getattr(value, "device", None), "type", "cpu") != "cpu" or hasattr(value, "is_ready"):
        return True
    return hasattr(value, "__dlpack_device__") and int(value.__dlpack_device__()[0]) != _HOST


class WorkCounter:
    """Work of one process.

    Args:
        per_step: Amount of each unit per step of the whole job, as declared.
    """

    def __init__(self, per_step: Mapping[str, float]) -> None:
        self._per_step = dict(per_step)
        self._totals: dict[str, float] = {}
        self._calls: dict[str, int] = {}
        self._missed: set[str] = set()
        self._lock = threading.Lock()

    def add(self, unit: str, amount: float) -> None:
        """Add work of one step of this process. Thread-safe."""
        with self._lock:
            if unit in self._totals or len(self._totals) < _MOST_UNITS:
                self._totals[unit] = self._totals.get(unit, 0.0) + amount
                self._calls[unit] = self._calls.get(unit, 0) + 1

    def miss(self, unit: str) -> None:
        """Note that an amount is unknown, and with it the total. Thread-safe."""
        with self._lock:
            if unit in self._missed or len(self._missed) < _MOST_UNITS:
                self._missed.add(unit)

    def section(self, steps: int | None, parameters: int | None = None) -> dict[str, Any]:
        """Return the section for ``run.json``; the total of a unit that some steps lack is null.

        Args:
            steps: Steps of the finished run; None while it runs.
            parameters: Number of trained parameters; None if unknown.
        """
        found: dict[str, Any] = {} if parameters is None else {PARAMETERS: parameters}
        for unit, amount in self._per_step.items():
            found[unit] = {"per_step": amount, **({} if steps is None else {"total": amount * steps})}
        for unit, total in self._totals.items() if steps is not None else ():
            calls = self._calls[unit]
            is_known = steps is not None and calls >= steps and unit not in self._missed
            found[unit] = {"counted": total, "calls": calls, "total": total if is_known else None}
        return found


def read_work(meta: Mapping[str, Any], steps: int, *, is_continued: bool) -> tuple[Work, ...]:
    """Read the units of work of a run.

    Args:
        meta: Contents of ``run.json``.
        steps: Steps of the run, those of resumed runs included.
        is_continued: True if the run includes runs that it resumed, whose counted work is not in its record.
    """
    found = []
    for unit, known in (meta.get(SECTION) or {}).items():
        if not isinstance(known, Mapping):
            continue
        per_step, calls = known.get("per_step"), known.get("calls") or 0
        total = per_step * steps if per_step else known.get("total")
        reason = ""
        if total is None and calls >= steps > 0:
            reason = f"an amount of {unit} was not a number, so their energy each is unknown"
        elif total is None and calls:
            reason = (
                f"{unit} are known for {calls:,} of {steps:,} steps only, so their energy each is unknown"
            )
        elif is_continued and not per_step:
            total, reason = None, f"the {unit} of the resumed run are unknown"
        found.append(Work(unit=unit, total=total, reason=reason))
    return tuple(found)


def merged_work(sections: Sequence[Mapping[str, Any]], *, attempts: int) -> dict[str, Any]:
    """Merge the sections of a job's processes: declared work is the job's, counted work adds up.

    Counted work of several attempts is unknown, because steps that were repeated would count twice.
    """
    found = dict(sections[0])
    for unit, known in found.items():
        if not isinstance(known, Mapping) or "per_step" in known:
            continue
        totals = [
            section[unit].get("total") for section in sections if isinstance(section.get(unit), Mapping)
        ]
        is_known = attempts == 1 and None not in totals
        counts = {
            name: sum(section[unit].get(name) or 0 for section in sections if unit in section)
            for name in ("counted", "calls")
        }
        found[unit] = {**counts, "total": sum(totals) if is_known else None}
    return found
