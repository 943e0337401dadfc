"""Conversion of joules into kilowatt-hours at the meter, greenhouse gas emissions and money.

The results are shown beside the measured joules and never change them.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from profiler._codecarbon import grid_intensity
from profiler.errors import UsageError
from profiler.units import JOULES_PER_KWH

SECTION = "prices"
"""Key of the prices in ``run.json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceEnergy:
    """A well-known amount of energy for comparison, in joules, with its source."""

    name: str
    joules: float
    source: str
    short_source: str


WORLD_ELECTRICITY = ReferenceEnergy(
    name="a year of the world's electricity",
    joules=30_900e9 * JOULES_PER_KWH,
    short_source="30,900 TWh, Ember 2025",
    source="30,900 TWh generated in 2024: Ember, Global Electricity Review 2025 (solar, 2,131 TWh, was 6.9 % of it)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Emissions and cost per kilowatt-hour, and the overhead of the building.

    Attributes:
        pue: Power usage effectiveness (ISO/IEC 30134-2): energy at the building's meter divided by the energy of its
            computers; at least 1.
        grid_gco2e_per_kwh: Carbon intensity of the electricity in grams of CO2 equivalent per kWh; None if unknown.
        grid_source: Source of that value, with its year.
        price_per_kwh: Price per kWh in the user's currency; None if unknown.
        currency: That currency, such as EUR; empty if unknown.
        country: The country of that electricity, as the user gave it; empty if unknown.

    Raises:
        UsageError: A value is not a finite number or is below its minimum.
    """

    pue: float = 1.0
    grid_gco2e_per_kwh: float | None = None
    grid_source: str = ""
    price_per_kwh: float | None = None
    currency: str = ""
    country: str = ""

    def __post_init__(self) -> None:
        _check("pue", self.pue, 1.0)
        _check("grid_gco2e_per_kwh", self.grid_gco2e_per_kwh, 0.0)
        _check("price_per_kwh", self.price_per_kwh, 0.0)

    def kwh(self, joules: float) -> float:
        """Return kilowatt-hours at the building's meter: ``joules * pue / 3.6e6``."""
        return joules * self.pue / JOULES_PER_KWH

    def gco2e(self, joules: float) -> float | None:
        """Return grams of CO2 equivalent; None if the carbon intensity is unknown."""
        return None if self.grid_gco2e_per_kwh is None else self.kwh(joules) * self.grid_gco2e_per_kwh

    def money(self, joules: float) -> float | None:
        """Return the cost in the currency of ``price_per_kwh``; None if the price is unknown."""
        return None if self.price_per_kwh is None else self.kwh(joules) * self.price_per_kwh

    def as_dict(self) -> dict[str, Any]:
        """Return the section for ``run.json``; empty if every value is the default."""
        if self == Prices():
            return {}
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in ("currency", "country") or value
        }


def _check(name: str, value: float | None, minimum: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (is_number and math.isfinite(value) and value >= minimum):
        raise UsageError(f"{name} must be a number of at least {minimum:g}, not {value!r}.")


def make_prices(
    *,
    pue: float = 1.0,
    grid_gco2e_per_kwh: float | None = None,
    country: str | None = None,
    price_per_kwh: float | None = None,
    currency: str | None = None,
) -> Prices:
    """Build prices from the user's arguments.

    Raises:
        UsageError: Both ``country`` and ``grid_gco2e_per_kwh`` are given, the country is unknown, or a value is out of
            range.
        MissingDependencyError: A country is given and codecarbon is not installed.
    """
    if country is not None and grid_gco2e_per_kwh is not None:
        raise UsageError("give grid_gco2e_per_kwh= or country=, not both.")
    source = "as given" if grid_gco2e_per_kwh is not None else ""
    if country is not None:
        grid_gco2e_per_kwh, source = grid_intensity(country)
    return Prices(
        pue=pue,
        grid_gco2e_per_kwh=grid_gco2e_per_kwh,
        grid_source=source,
        price_per_kwh=price_per_kwh,
        currency=currency or "",
        country=str(country).strip() if country is not None else "",
    )


def read_prices(run_json: Mapping[str, Any]) -> Prices:
    """Read the prices of a recorded run; the defaults if it has none. Unknown keys are ignored.

    Raises:
        UsageError: A value is not a number or is out of range.
    """
    section = run_json.get(SECTION) or {}
    return Prices(**{field.name: section[field.name] for field in fields(Prices) if field.name in section})
