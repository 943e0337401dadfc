"""Target loss and energy budget of a run."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from profiler.errors import UsageError
from profiler.units import ENERGY_EXAMPLES, parse_joules

SECTION = "goals"
"""Key of the budget in ``run.json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Target loss and energy budget; None where the user gave none.

    Attributes:
        target_loss: Loss to reach.
        energy_joules: Energy that the run may use, in joules.

    Raises:
        UsageError: The target is not a finite number, or the energy is not a positive finite one.
    """

    target_loss: float | None = None
    energy_joules: float | None = None

    def __post_init__(self) -> None:
        if self.target_loss is not None and not _is_finite(self.target_loss):
            raise UsageError(f"target_loss must be a finite number, not {self.target_loss!r}.")
        if self.energy_joules is not None and not (_is_finite(self.energy_joules) and self.energy_joules > 0):
            raise _invalid(self.energy_joules)

    @classmethod
    def from_run_json(cls, run_json: Mapping[str, Any]) -> Self:
        """Read the budget of a recorded run.

        Raises:
            UsageError: A value is not a number or is out of range.
        """
        section = run_json.get(SECTION) or {}
        return cls(target_loss=section.get("target_loss"), energy_joules=section.get("energy_budget_joules"))

    def as_dict(self) -> dict[str, float]:
        """Return the section for ``run.json``; empty without a target and a budget."""
        values = {"target_loss": self.target_loss, "energy_budget_joules": self.energy_joules}
        return {name: float(value) for name, value in values.items() if value is not None}

    def after(self, joules: float) -> Self:
        """Return the budget that is left when ``joules`` are used."""
        if self.energy_joules is None:
            return self
        return replace(self, energy_joules=max(self.energy_joules - joules, sys.float_info.min))

    @property
    def is_empty(self) -> bool:
        """True without a target and without a limit of energy."""
        return self.target_loss is None and self.energy_joules is None

    @property
    def targets(self) -> tuple[float, ...]:
        """Losses that every report of the run prices."""
        return () if self.target_loss is None else (self.target_loss,)


def parse_budget(text: str) -> float:
    """Convert a budget with its unit, such as ``2 kWh``, to joules; a number alone is in joules.

    Raises:
        UsageError: It is not a positive amount of energy.
    """
    try:
        return parse_joules(text)
    except ValueError:
        raise _invalid(text) from None


def _invalid(budget: object) -> UsageError:
    return UsageError(
        f"energy_budget must be a positive amount of energy, in joules or such as {ENERGY_EXAMPLES}, not {budget!r}."
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
