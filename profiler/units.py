"""Exact unit constants and formatting of quantities for people."""

import math
import re

NANOSECONDS_PER_SECOND = 1_000_000_000
MICROJOULES_PER_JOULE = 1_000_000
JOULES_PER_KWH = 3_600_000.0
SECONDS_PER_MINUTE = 60.0
SECONDS_PER_HOUR = 3_600.0
SECONDS_PER_DAY = 86_400.0
SECONDS_PER_YEAR = 31_557_600.0
"""The Julian year of 365.25 days, as in IAU usage."""

_PREFIXES = ((1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"),
             (1.0, ""), (1e-3, "m"), (1e-6, "u"))  # fmt: skip
_AMOUNT = re.compile(r"([\d.]+(?:[eE][-+]?\d+)?)\s*(?:([kKMGTP]?)(J|[Ww][Hh]))?", re.ASCII)
_ENERGY_UNITS = {"j": 1.0, "wh": JOULES_PER_KWH / 1e3}
_LARGER = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_DURATIONS = (
    (1e9 * SECONDS_PER_YEAR, "billion years"),
    (1e6 * SECONDS_PER_YEAR, "million years"),
    (SECONDS_PER_YEAR, "years"),
    (SECONDS_PER_DAY, "days"),
    (SECONDS_PER_HOUR, "h"),
    (SECONDS_PER_MINUTE, "min"),
)


ENERGY_EXAMPLES = "5MJ, 800kJ or 2kWh"
"""Amounts that :func:`parse_joules` accepts, for messages."""


def parse_joules(text: str) -> float:
    """Convert text such as ``5MJ``, ``2 kWh`` or ``800`` to joules.

    Raises:
        ValueError: It is not a positive finite number with an optional unit of energy.
    """
    found = _AMOUNT.fullmatch(text.strip())
    unit = "j" if found is None else (found[3] or "j").lower()
    joules = float(found[1]) * _ENERGY_UNITS[unit] * _LARGER[found[2] or ""] if found else 0.0
    if not 0.0 < joules < math.inf:
        raise ValueError(text)
    return joules


def significant(value: float, digits: int = 3) -> str:
    """Format ``value`` with ``digits`` significant digits, without an exponent between 1e-4 and 1e6."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = math.floor(math.log10(abs(rounded)))
    if -5 < exponent < 6:  # noqa: PLR2004 - the range that the docstring documents
        return f"{rounded:.{max(digits - 1 - exponent, 0)}f}"
    return f"{rounded:.{digits - 1}e}"


def format_si(value: float, unit: str, digits: int = 3) -> str:
    """Format a quantity with an SI prefix: ``format_si(12345.6, "J") == "12.3 kJ"``."""
    if value == 0 or not math.isfinite(value):
        return f"{significant(value)} {unit}"
    rounded = abs(float(f"{value:.{digits - 1}e}"))
    scale, prefix = next(((s, p) for s, p in _PREFIXES if rounded >= s), _PREFIXES[-1])
    return f"{significant(value / scale, digits)} {prefix}{unit}"


def format_joules(joules: float) -> str:
    """Format joules with three significant digits and an SI prefix."""
    return format_si(joules, "J")


def format_watts(watts: float) -> str:
    """Format watts with three significant digits and an SI prefix."""
    return format_si(watts, "W")


def format_seconds(seconds: float, digits: int = 3) -> str:
    """Format a duration: ``"85.0 ms"``, ``"12.0 s"``, ``"2.05 min"``, ``"3.10 h"``, ``"1.20 days"``."""
    for length, name in _DURATIONS:
        if abs(seconds) >= length * (2 if name == "min" else 1):
            return f"{significant(seconds / length, digits)} {name}"
    return format_si(seconds, "s", digits)
