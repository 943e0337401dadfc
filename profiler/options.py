"""What a user may say of a run: the keywords of :class:`profiler.EnergyProfiler`, checked in one place."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profiler import cost
from profiler.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

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

    def __post_init__(self) -> None:
        period = self.sample_period_seconds
        if period is not None and not SHORTEST_PERIOD <= period <= LONGEST_PERIOD:
            raise UsageError(
                f"sample_period_seconds must lie between {SHORTEST_PERIOD:g} and {LONGEST_PERIOD:g}, not {period!r}."
            )
        self.prices()

    def prices(self) -> cost.Prices:
        """What was said of the electricity."""
        return cost.stated(
            pue=self.pue,
            grid_gco2e_per_kwh=self.grid_gco2e_per_kwh,
            country=self.country,
            price_per_kwh=self.price_per_kwh,
        )

    def declared(self) -> dict[str, Any]:
        """What was said of the run that a reader of it needs: sections of ``run.json``."""
        prices = self.prices().declared()
        return {cost.SECTION: prices} if prices else {}
