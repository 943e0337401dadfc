"""What a user may say of a run: the keywords of :class:`profiler.EnergyProfiler`, checked in one place."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from profiler import budget, emissions, lr_plan
from profiler.budget import Goals
from profiler.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from profiler.sensors.base import Sensor

SHORTEST_PERIOD, LONGEST_PERIOD = 0.001, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One field a keyword; :class:`profiler.EnergyProfiler` says what each means.

    Raises:
        UsageError: A value that cannot mean anything.
    """

    name: str | None = None
    run_dir: "str | os.PathLike[str] | None" = None
    sample_period_seconds: float | None = None
    sensors: "Sequence[Sensor] | None" = None
    grid_gco2e_per_kwh: float | None = None
    country: str | None = None
    price_per_kwh: float | None = None
    pue: float = 1.0
    total_steps: int | None = None
    planned_learning_rate: lr_plan.Planned | None = None
    live: bool = False
    energy_budget: float | None = None
    target_loss: float | None = None
    time_data_loading: bool = True
    on_budget: "Callable[[str], object] | Literal['warn']" = "warn"
    resume: "str | os.PathLike[str] | None" = None

    def __post_init__(self) -> None:
        period = self.sample_period_seconds
        if period is not None and not SHORTEST_PERIOD <= period <= LONGEST_PERIOD:
            raise UsageError(
                f"sample_period_seconds must lie between {SHORTEST_PERIOD:g} and {LONGEST_PERIOD:g}, not {period!r}."
            )
        if self.name is not None and not isinstance(self.name, str):
            raise UsageError(f"name must be text, not {self.name!r}.")
        if self.on_budget != "warn" and not callable(self.on_budget):
            raise UsageError(f"on_budget must be 'warn' or something to call, not {self.on_budget!r}.")
        if self.resume is not None and not Path(self.resume).is_dir():
            raise UsageError(f"resume must be a run directory, and there is none at {str(self.resume)!r}.")
        self.prices()
        self.plan()
        self.goals()

    def prices(self) -> emissions.Prices:
        """What was said of the electricity."""
        return emissions.make_prices(
            pue=self.pue,
            grid_gco2e_per_kwh=self.grid_gco2e_per_kwh,
            country=self.country,
            price_per_kwh=self.price_per_kwh,
        )

    def plan(self) -> lr_plan.RatePlan | None:
        """What was said of the learning rate."""
        return lr_plan.declared(self.planned_learning_rate, self.total_steps)

    def goals(self) -> Goals:
        """What is wanted of the run."""
        return Goals(target_loss=self.target_loss, energy_budget=self.energy_budget)

    def declared(self) -> dict[str, Any]:
        """What was said of the run that a reader of it needs: sections of ``run.json``."""
        prices, plan = self.prices().as_dict(), self.plan()
        sections = {
            emissions.SECTION: prices,
            budget.SECTION: self.goals().section(),
            lr_plan.TOTAL: self.total_steps and int(self.total_steps),
            lr_plan.SECTION: plan and plan.section(),
        }
        return {name: section for name, section in sections.items() if section}


def resume_point(state: "Mapping[str, Any]") -> dict[str, Any] | None:
    """Where a run goes on from that is given what ``state_dict`` returned; None where that was nothing.

    Raises:
        UsageError: It is something else.
    """
    if not state:
        return None
    try:
        run, step, joules = str(state["run"]), int(state["step"]), state["joules"]
        known = None if joules is None else float(joules)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"this is not what EnergyProfiler.state_dict() returned: {error!r}.") from None
    if step < 0 or not 0.0 <= (known or 0.0) < math.inf:
        raise UsageError(f"this is not what EnergyProfiler.state_dict() returned: step {step} at {known} J.")
    return {"run": run, "step": step, "joules": known}
