"""What a user wants of a run: a loss to reach, and the energy it may take."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from profiler.errors import UsageError

SECTION = "goals"
"""Where ``run.json`` keeps them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """None where nothing was said.

    Attributes:
        target_loss: The loss to reach.
        energy_budget: The joules it may take.

    Raises:
        UsageError: A loss that is no finite number, or a budget that is not a positive one.
    """

    target_loss: float | None = None
    energy_budget: float | None = None

    def __post_init__(self) -> None:
        if self.target_loss is not None and not _is_finite(self.target_loss):
            raise UsageError(f"target_loss must be a finite number, not {self.target_loss!r}.")
        if self.energy_budget is not None and not (_is_finite(self.energy_budget) and self.energy_budget > 0):
            raise UsageError(
                f"energy_budget must be a positive number of joules, not {self.energy_budget!r}."
            )

    def after(self, joules: float) -> "Goals":
        """What is left of them when ``joules`` are spent."""
        if self.energy_budget is None:
            return self
        return replace(self, energy_budget=max(self.energy_budget - joules, sys.float_info.min))

    @property
    def targets(self) -> tuple[float, ...]:
        """The losses whose price a report is asked for."""
        return () if self.target_loss is None else (self.target_loss,)

    def section(self) -> dict[str, Any]:
        """What ``run.json`` keeps of them."""
        said = {"target_loss": self.target_loss, "energy_budget_joules": self.energy_budget}
        return {name: float(value) for name, value in said.items() if value is not None}


def goals_of(run_json: Mapping[str, Any]) -> Goals:
    """Read the goals of a recorded run.

    Raises:
        UsageError: They are not numbers.
    """
    section = run_json.get(SECTION) or {}
    return Goals(target_loss=section.get("target_loss"), energy_budget=section.get("energy_budget_joules"))


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
