"""Carbon intensity of the grid at the time of a run, from a file of hourly values."""

import csv
import io
import math
import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.analysis.window_energy import cumulative_joules
from profiler.errors import UsageError
from profiler.storage.files import read_bounded
from profiler.storage.schema import RANKS, RESUMED

if TYPE_CHECKING:
    from profiler.storage.reader import StoredRun

TIME, INTENSITY = "time", "gco2e_per_kwh"
_MOST_BYTES = 50_000_000
_LARGEST = 1e5
_TOLERANCE = 1.5
"""Distance of two values, in usual distances, beyond which values are missing between them."""


@dataclass(frozen=True, slots=True)
class Hourly:
    """Intensities over time.

    Attributes:
        name: Name of the file.
        starts: Unix time from which each value holds, increasing.
        ends: Unix time up to which it holds.
        values: Intensities in grams of CO2 equivalent per kWh.
    """

    name: str
    starts: tuple[float, ...]
    ends: tuple[float, ...]
    values: tuple[float, ...]


def read_hourly(path: Path) -> Hourly:
    """Read a CSV file with the columns ``time`` (ISO 8601 with a time zone) and ``gco2e_per_kwh``.

    Each value holds until the next one; the last value, and one before a gap, for the usual distance of two.

    Raises:
        UsageError: The file cannot be read, or a row is not valid; the message names the line.
    """
    try:
        text = read_bounded(path, _MOST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}.") from None
    points: dict[float, float] = {}
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if not {TIME, INTENSITY} <= set(reader.fieldnames or ()):
            raise UsageError(f"it needs a first line with the columns {TIME},{INTENSITY}.")  # noqa: TRY301 - see below
        for row in reader:
            moment = _moment(row[TIME] or "")
            points[moment] = _value(row[INTENSITY] or "", points.get(moment))
    except (UsageError, csv.Error) as error:
        number = reader.line_num + isinstance(error, csv.Error)  # a line that cannot be split is not counted
        raise UsageError(f"{path}, line {number}: {error}") from None
    if len(points) < 2:  # noqa: PLR2004 - two values show how long one holds
        raise UsageError(f"{path} has fewer than two values.")
    starts = sorted(points)
    # The median, because gaps make some distances longer than the usual one.
    usual = statistics.median_low(after - before for before, after in pairwise(starts))
    following = [*starts[1:], starts[-1] + usual]
    ends = (
        min(after, start + usual) if after - start > _TOLERANCE * usual else after
        for start, after in zip(starts, following, strict=True)
    )
    return Hourly(path.name, tuple(starts), tuple(ends), tuple(points[start] for start in starts))


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text!r:.40} is not a time in ISO 8601, such as 2026-11-21T10:00Z.") from None
    if moment.tzinfo is None:
        raise UsageError(f"{text!r:.40} has no time zone; write 2026-11-21T10:00Z or 2026-11-21T11:00+01:00.")
    return moment.timestamp()


def _value(text: str, before: float | None) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= _LARGEST:
        raise UsageError(f"{text!r:.40} is not an intensity in grams per kWh.")
    if before is not None and before != value:
        raise UsageError("this time occurs twice, with different values.")
    return value


def mean_intensity(run: "StoredRun", hourly: Hourly) -> float:
    """Return the mean intensity over a run, weighted by its energy, in grams of CO2 equivalent per kWh.

    Raises:
        UsageError: The file has no values for a part of the run, or the run has no energy or no single time axis.
    """
    if run.meta.get(RESUMED) or any(entry.get("attempt") for entry in run.meta.get(RANKS) or ()):
        raise UsageError(
            f"{run.path} was resumed, so its parts have no common time; give a mean with --grid-gco2e-per-kwh."
        )
    clock = run.meta.get("clock") or {}
    begun = float(clock.get("unix_seconds") or run.meta.get("started_unix_seconds") or math.nan)
    length = run.summary().window_seconds
    total = run.summary().total_joules
    if not total or math.isnan(begun):
        raise UsageError(f"{run.path} has no measured energy that an intensity could be applied to.")
    pieces = [
        (max(start - begun, 0.0), min(end - begun, length), value)
        for start, end, value in zip(hourly.starts, hourly.ends, hourly.values, strict=True)
        if end > begun and start < begun + length
    ]
    missing = length - sum(end - start for start, end, _ in pieces)
    if missing > 1.0 or not pieces:
        raise UsageError(
            f"{hourly.name} lacks {100 * missing / length:.3g} % of the run, which lasted from {_utc(begun)} to "
            f"{_utc(begun + length)}; its values lie between {_utc(hourly.starts[0])} and {_utc(hourly.ends[-1])}. "
            "Check its gaps and time zone."
        )
    edges = cumulative_joules(run, [moment for start, end, _ in pieces for moment in (start, end)])
    energies = [edges[2 * k + 1] - edges[2 * k] for k in range(len(pieces))]
    if not sum(energies) > 0:
        return statistics.fmean(value for _, _, value in pieces)
    weighted = sum(energy * value for energy, (_, _, value) in zip(energies, pieces, strict=True))
    return weighted / sum(energies)


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
