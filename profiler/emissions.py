"""What joules amount to elsewhere: kilowatt-hours at the meter, greenhouse gas, money. Never mixed into joules."""

import importlib.util
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from profiler.errors import MissingDependencyError, UsageError
from profiler.units import JOULES_PER_KWH

SECTION = "prices"
"""Where a run directory's ``run.json`` keeps them."""

_GRID_TABLE = Path("data/private_infra/global_energy_mix.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """An amount of energy that people can picture, with where the figure comes from."""

    name: str
    joules: float
    source: str
    short_source: str


WORLD_ELECTRICITY = Yardstick(
    name="a year of the world's electricity",
    joules=30_900e9 * JOULES_PER_KWH,
    short_source="30,900 TWh, Ember 2025",
    source="30,900 TWh generated in 2024: Ember, Global Electricity Review 2025 (solar, 2,131 TWh, was 6.9 % of it)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a kilowatt-hour costs the climate and the purse, and how many of them the building adds.

    Attributes:
        pue: Power usage effectiveness: energy at the building's meter over energy of its computers, at least 1.
        grid_gco2e_per_kwh: Carbon intensity of the electricity, in grams of CO2 equivalent a kWh; None if unknown.
        grid_source: Where that figure comes from, with its year.
        price_per_kwh: Money a kWh, in the user's own currency; None if unknown.

    Raises:
        UsageError: A value that cannot mean anything.
    """

    pue: float = 1.0
    grid_gco2e_per_kwh: float | None = None
    grid_source: str = ""
    price_per_kwh: float | None = None

    def __post_init__(self) -> None:
        _check("pue", self.pue, 1.0)
        _check("grid_gco2e_per_kwh", self.grid_gco2e_per_kwh, 0.0)
        _check("price_per_kwh", self.price_per_kwh, 0.0)

    def kwh(self, joules: float) -> float:
        """Kilowatt-hours at the building's meter."""
        return joules * self.pue / JOULES_PER_KWH

    def gco2e(self, joules: float) -> float | None:
        """Grams of CO2 equivalent; None where the grid's intensity is unknown."""
        return None if self.grid_gco2e_per_kwh is None else self.kwh(joules) * self.grid_gco2e_per_kwh

    def money(self, joules: float) -> float | None:
        """Money, in the currency of ``price_per_kwh``; None where that is unknown."""
        return None if self.price_per_kwh is None else self.kwh(joules) * self.price_per_kwh

    def declared(self) -> dict[str, Any]:
        """What ``run.json`` keeps: everything, or nothing when nothing was said."""
        return {} if self == Prices() else asdict(self)


def _check(name: str, value: float | None, least: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (is_number and math.isfinite(value) and value >= least):
        raise UsageError(f"{name} must be a number of at least {least:g}, not {value!r}.")


def stated(
    *, pue: float, grid_gco2e_per_kwh: float | None, country: str | None, price_per_kwh: float | None
) -> Prices:
    """Build the prices that a user states.

    Raises:
        UsageError: Both ways of giving a carbon intensity at once, an unknown country, or a value out of range.
        MissingDependencyError: A country is given and codecarbon's data is not installed.
    """
    if country is not None and grid_gco2e_per_kwh is not None:
        raise UsageError("give grid_gco2e_per_kwh= or country=, not both.")
    source = "as given" if grid_gco2e_per_kwh is not None else ""
    if country is not None:
        grid_gco2e_per_kwh, source = grid_of(country)
    return Prices(
        pue=pue, grid_gco2e_per_kwh=grid_gco2e_per_kwh, grid_source=source, price_per_kwh=price_per_kwh
    )


def prices_of(run_json: Mapping[str, Any]) -> Prices:
    """Read the prices of a recorded run; those of a run that states none know no carbon and no money.

    Raises:
        UsageError: They are not numbers.
    """
    section = run_json.get(SECTION) or {}
    return Prices(**{field.name: section[field.name] for field in fields(Prices) if field.name in section})


def grid_of(country: str) -> tuple[float, str]:
    """Look up the carbon intensity of a country's electricity, offline, in the table that codecarbon ships.

    Args:
        country: Its ISO 3166-1 code of three letters, or its English name; case does not matter.

    Returns:
        Grams of CO2 equivalent a kWh, over the whole life cycle of the plants, and the source with its year.

    Raises:
        UsageError: There is no such country in the table, or no figure for it.
        MissingDependencyError: codecarbon's data is not installed.
    """
    table = _grid_table()
    asked = str(country).strip().casefold()
    names = {str(entry["country_name"]).casefold(): code for code, entry in table.items()}
    entry = table.get(names.get(asked, asked.upper()))
    if entry is None:
        raise UsageError(f"no country {country!r} in codecarbon's table. {_suggestion(asked, table)}")
    intensity, name = float(entry.get("carbon_intensity") or 0.0), entry["country_name"]
    if intensity <= 0.0:
        raise UsageError(f"codecarbon's table has no carbon intensity for {name}; give grid_gco2e_per_kwh=.")
    return intensity, f"{name} {entry['year']}, Our World in Data (CC BY), in {_codecarbon()}"


def _suggestion(asked: str, table: Mapping[str, Mapping[str, Any]]) -> str:
    import difflib

    names = {str(entry["country_name"]): code for code, entry in table.items()}
    close = difflib.get_close_matches(asked.title(), names, n=3)
    meant = ", ".join(f"{names[name]} ({name})" for name in close)
    return f"Did you mean {meant}?" if meant else "Use a code of three letters, such as DEU, IND or USA."


@cache
def _grid_table() -> Mapping[str, Mapping[str, Any]]:
    """Read codecarbon's table, which lies beside its code; importing that takes long and wakes the GPU's driver."""
    spec = importlib.util.find_spec("codecarbon")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    path = next((path for folder in folders if (path := Path(folder) / _GRID_TABLE).is_file()), None)
    if path is None:
        raise MissingDependencyError(
            "codecarbon's table of countries", needed_for="country=", install='pip install "codecarbon>=3.0"'
        )
    table: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return table


def _codecarbon() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"codecarbon {version('codecarbon')}"
    except PackageNotFoundError:
        return "codecarbon"
