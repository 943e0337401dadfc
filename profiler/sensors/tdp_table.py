"""The thermal design power of a processor, from the table that codecarbon ships.

codecarbon is not imported for it: that takes over a second and initialises NVML, and its table is a plain CSV
file beside its code.
"""

import csv
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

_TABLE = Path("data/hardware/cpu_power.csv")
_SHORTEST_MODEL_TOKEN = 3


def find_table() -> Path | None:
    """Return where codecarbon's table of processors is, or None when codecarbon is not installed."""
    spec = importlib.util.find_spec("codecarbon")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    paths = (Path(folder) / _TABLE for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def read_table(path: Path) -> Mapping[str, float]:
    """Read a table of ``Name,TDP`` rows.

    Returns:
        Watts by name. The first row of a name counts; rows without a positive power are left out.

    Raises:
        OSError: The file cannot be read.
    """
    table: dict[str, float] = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            watts = _watts(row.get("TDP"))
            if watts is not None and row.get("Name"):
                table.setdefault(row["Name"], watts)
    return table


def _watts(text: str | None) -> float | None:
    try:
        watts = float(text or "")
    except ValueError:
        return None
    return watts if 0 < watts < float("inf") else None


def match_cpu(model: str, table: Mapping[str, float]) -> tuple[str, float] | None:
    """Find a processor in the table by codecarbon's own rule, and one guard more.

    The rule is that of ``codecarbon.core.cpu.TDP`` with its thresholds of 100: the same name, or one name's
    words all contained in the other's, for one row alone. At that threshold rapidfuzz's scores are plain
    comparisons of strings and of sets. The guard: a model number must be among the words in common, since a
    bare ``AMD EPYC`` is no model. Rows that tie are accepted where they agree on the power.

    Returns:
        The row's name and its watts, or None.
    """
    by_text = {name.lower(): name for name in reversed(tuple(table))}
    for text in (model.lower(), _cleaned(model).lower()):
        if text in by_text:
            return by_text[text], table[by_text[text]]
    words = _words(_cleaned(model))
    matches = [name for name in table if _is_match(words, _words(name))]
    if not matches or len({table[name] for name in matches}) > 1:
        return None
    return matches[0], table[matches[0]]


def _cleaned(model: str) -> str:
    """Strip what vendors add to a model's name, as codecarbon does."""
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
    return len(word) >= _SHORTEST_MODEL_TOKEN and any(character.isdigit() for character in word)
