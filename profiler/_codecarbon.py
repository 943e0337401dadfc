"""CPU design power and grid carbon intensity from the tables that codecarbon ships.

The data files are read directly. codecarbon's public API for them, ``codecarbon.input.DataSource``, imports the whole
tracker and pandas, and importing codecarbon loads NVML; the tests check that both give the same values.
"""

import csv
import importlib.util
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from profiler.errors import MissingDependencyError, UsageError

_CPU_TABLE = "data/hardware/cpu_power.csv"
_GRID_TABLE = "data/private_infra/global_energy_mix.json"
_INSTALL = 'pip install "codecarbon>=3.0"'
_SHORTEST_MODEL_NUMBER = 3


def find_file(name: str) -> Path | None:
    """Locate a data file of the installed codecarbon without importing it; None if there is none."""
    spec = importlib.util.find_spec("codecarbon")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return next((path for folder in folders if (path := Path(folder) / name).is_file()), None)


def cpu_tdp(model: str) -> tuple[str, float] | None:
    """Look up the thermal design power of a processor.

    Args:
        model: The processor's name as the system reports it.

    Returns:
        The name of the table row and its power in watts; None if no row matches.

    Raises:
        MissingDependencyError: codecarbon is not installed.
        OSError: The table cannot be read.
    """
    path = find_file(_CPU_TABLE)
    if path is None:
        raise MissingDependencyError(
            "codecarbon", needed_for="the processor's design power", install=_INSTALL
        )
    return match_cpu(model, read_cpu_table(path))


def read_cpu_table(path: Path) -> Mapping[str, float]:
    """Read a CSV table with the columns ``Name`` and ``TDP``.

    Returns:
        Watts by name, from the first row of each name. Rows without a positive power are skipped.

    Raises:
        OSError: The file cannot be read.
    """
    table: dict[str, float] = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            watts = _positive_watts(row.get("TDP"))
            if watts is not None and row.get("Name"):
                table.setdefault(row["Name"], watts)
    return table


def _positive_watts(text: str | None) -> float | None:
    try:
        watts = float(text or "")
    except ValueError:
        return None
    return watts if 0 < watts < float("inf") else None


def match_cpu(model: str, table: Mapping[str, float]) -> tuple[str, float] | None:
    """Find a processor in a table by the rule of ``codecarbon.core.cpu.TDP``, with one additional check.

    Two names match if they are equal, or if all words of one are contained in the other and no second row matches.
    (At codecarbon's threshold of 100, the scores of rapidfuzz reduce to these comparisons.) In addition, the common
    words must contain a model number, because a bare "AMD EPYC" identifies no model. Several matching rows are
    accepted if they have the same power.

    Returns:
        The row's name and its watts, or None.
    """
    by_text = {name.lower(): name for name in reversed(tuple(table))}
    for text in (model.lower(), _strip_vendor_text(model).lower()):
        if text in by_text:
            return by_text[text], table[by_text[text]]
    words = _words(_strip_vendor_text(model))
    matches = [name for name in table if _is_match(words, _words(name))]
    if not matches or len({table[name] for name in matches}) > 1:
        return None
    return matches[0], table[matches[0]]


def _strip_vendor_text(model: str) -> str:
    """Remove trademarks and clock rates from a model name, as codecarbon does."""
    model = model.replace("(R)", "")
    clock = model.find(" CPU @ ")
    model = model[:clock] if clock > 0 else model
    return re.sub(r" @\s*\d+\.\d+GHz", "", model.replace(" CPU", ""))


def _words(name: str) -> frozenset[str]:
    return frozenset(re.sub(r"[^\w]|_", " ", name.lower()).split())


def _is_match(one: frozenset[str], other: frozenset[str]) -> bool:
    common = one & other
    return common in (one, other) and any(_is_model_number(word) for word in common)


def _is_model_number(word: str) -> bool:
    return len(word) >= _SHORTEST_MODEL_NUMBER and any(character.isdigit() for character in word)


def grid_intensity(country: str) -> tuple[float, str]:
    """Look up the carbon intensity of a country's electricity, offline.

    Args:
        country: ISO 3166-1 code of two or three letters, or an English name; case is ignored.

    Returns:
        Life-cycle emissions in grams of CO2 equivalent per kWh, and the source with its year (Our World in Data, as
        packaged by codecarbon).

    Raises:
        UsageError: The country is unknown, or the table has no value for it.
        MissingDependencyError: codecarbon is not installed.
    """
    table = _grid_table()
    entry = table.get(_iso_code(country, table))
    if entry is None:
        raise UsageError(f"no country {country!r} in codecarbon's table. {_suggestion(country, table)}")
    intensity, name = float(entry.get("carbon_intensity") or 0.0), entry["country_name"]
    if intensity <= 0.0:
        raise UsageError(f"codecarbon's table has no carbon intensity for {name}; give grid_gco2e_per_kwh=.")
    return intensity, f"{name} {entry['year']}, Our World in Data (CC BY), in {_codecarbon_version()}"


@cache
def _grid_table() -> Mapping[str, Mapping[str, Any]]:
    path = find_file(_GRID_TABLE)
    if path is None:
        raise MissingDependencyError(
            "codecarbon's table of countries", needed_for="country=", install=_INSTALL
        )
    table: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return table


def _iso_code(country: str, table: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the three-letter code of a country; text that names no country is returned in upper case."""
    text = str(country).strip()
    names = {str(entry["country_name"]).casefold(): code for code, entry in table.items()}
    code = names.get(text.casefold(), text.upper())
    return code if code in table else _official_code(text) or code


def _official_code(text: str) -> str | None:
    """Look up a two-letter code or an official name, which codecarbon's table lacks."""
    try:
        import pycountry  # a dependency of codecarbon
    except ImportError:
        return None
    try:
        return str(pycountry.countries.lookup(text).alpha_3)
    except LookupError:
        return None


def _suggestion(country: str, table: Mapping[str, Mapping[str, Any]]) -> str:
    import difflib

    names = {str(entry["country_name"]): code for code, entry in table.items()}
    close = difflib.get_close_matches(str(country).strip().title(), names, n=3)
    meant = ", ".join(f"{names[name]} ({name})" for name in close)
    return f"Did you mean {meant}?" if meant else "Use an ISO code, such as DE, DEU, IN or USA."


def _codecarbon_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"codecarbon {version('codecarbon')}"
    except PackageNotFoundError:
        return "codecarbon"
