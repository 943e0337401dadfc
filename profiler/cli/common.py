"""Arguments and output that commands share."""

import argparse
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profiler._compat import encodable, printable, write_message
from profiler.config import Keyword, environment_defaults, keywords
from profiler.emissions import Prices, make_prices, read_prices
from profiler.errors import UsageError
from profiler.units import ENERGY_EXAMPLES, parse_joules

if TYPE_CHECKING:
    from profiler.storage.reader import StoredRun

PRICES = ("country", "grid_gco2e_per_kwh", "price_per_kwh", "currency", "pue")
"""Keywords of a recording that can also be given after it."""


def add_partial(parser: argparse.ArgumentParser) -> None:
    """Add ``--partial``."""
    parser.add_argument(
        "--partial", action="store_true", help="if a file is damaged, use the rows before the damage"
    )


def add_output(parser: argparse.ArgumentParser, formats: str) -> None:
    """Add ``-o``, ``--json``, ``--force`` and ``--plotlyjs``.

    Args:
        parser: The parser.
        formats: Known extensions of ``-o``, for its help text.
    """
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help=f"write to FILE; its extension selects the format: {formats}",
    )
    output.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument(
        "--open",
        action="store_true",
        help="open the file in the browser; without -o, a page in the temporary directory",
    )
    parser.add_argument(
        "--plotlyjs",
        metavar="PLACE",
        choices=("inline", "cdn", "directory"),
        default="inline",
        help="source of the script that draws the figures of a page: inline (in the page, 1.2 MB, the default),"
        " directory (a file beside the page) or cdn (loaded from plotly's server by each reader's browser)",
    )


def number(flag: str, text: str) -> float:
    """Convert the value of a flag to a number.

    Raises:
        UsageError: It is not a number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise UsageError(f"{flag} must be a number, not {text!r}.")
    return value


def joules(flag: str, text: str) -> float:
    """Convert an amount of energy with its unit to joules.

    Raises:
        UsageError: It is not a positive number with a unit of energy.
    """
    try:
        return parse_joules(text)
    except ValueError:
        raise UsageError(
            f"{flag} must be an amount of energy such as {ENERGY_EXAMPLES}, not {text!r}."
        ) from None


def add_metric(parser: argparse.ArgumentParser) -> None:
    """Add ``--metric`` and ``--goal``."""
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="the metric at the top; by default the only logged validation metric, or the loss",
    )
    parser.add_argument(
        "--goal",
        choices=("min", "max"),
        help="the direction in which that metric improves; by default known from its name",
    )


def add_prices(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a recording that set prices; they replace the recorded ones."""
    for keyword in keywords():
        if keyword.name in PRICES and keyword.type is not None:
            parser.add_argument(
                keyword.flag, type=keyword.type, metavar=keyword.metavar, help=flag_help(keyword)
            )
    parser.add_argument(
        "--intensity",
        metavar="FILE",
        type=Path,
        help="CSV of the grid's carbon intensity over time (time,gco2e_per_kwh), applied to the energy of each hour",
    )


def flag_help(keyword: Keyword) -> str:
    """Return the help text of a keyword's flag."""
    text = keyword.help[:1].lower() + keyword.help[1:].rstrip(".")
    return text.replace("%", "%%")  # argparse formats it


def prices_of(options: argparse.Namespace, run: "StoredRun") -> Prices:
    """Return the prices of a recorded run, with those of the command line in their place.

    Prices that the run lacks come from the environment variables of a recording's keywords.

    Raises:
        UsageError: A value is out of range, both a country and a carbon intensity are given, or a file of intensities
            does not fit the run.
    """
    given = {name: value for name in PRICES if (value := getattr(options, name)) is not None}
    prices = _with(_recorded(run.meta), given)
    if options.intensity is None:
        return prices
    if "country" in given or "grid_gco2e_per_kwh" in given:
        raise UsageError("give --intensity or a country or mean intensity, not both.")
    from profiler.analysis.intensity import mean_intensity, read_hourly

    hourly = read_hourly(options.intensity)
    return replace(
        prices,
        grid_gco2e_per_kwh=mean_intensity(run, hourly),
        grid_source=f"{hourly.name}, mean over the energy of the run",
        country="",
    )


def _recorded(run_json: Mapping[str, Any]) -> Prices:
    """Return the recorded prices; those that are not known come from the environment."""
    prices = read_prices(run_json)
    site = {name: value for name, value in environment_defaults(os.environ).items() if name in PRICES}
    if prices.grid_gco2e_per_kwh is not None:
        site.pop("country", None), site.pop("grid_gco2e_per_kwh", None)
    if prices.price_per_kwh is not None:
        site.pop("price_per_kwh", None), site.pop("currency", None)
    if prices.pue != 1.0:
        site.pop("pue", None)
    return _with(prices, site)


def _with(prices: Prices, given: Mapping[str, Any]) -> Prices:
    """Replace some prices."""
    stated = make_prices(**given)
    if "country" in given or "grid_gco2e_per_kwh" in given:
        prices = replace(
            prices,
            grid_gco2e_per_kwh=stated.grid_gco2e_per_kwh,
            grid_source=stated.grid_source,
            country=stated.country,
        )
    return replace(
        prices, **{name: given[name] for name in ("price_per_kwh", "currency", "pue") if name in given}
    )


def write_stdout(text: str) -> None:
    """Write text to stdout; characters that its encoding lacks, or that a terminal would act on, are replaced."""
    stream = sys.stdout
    safe = printable(text) if stream.isatty() else text
    stream.write(encodable(safe, stream))
    stream.flush()


def check_output(path: Path, *, force: bool) -> None:
    """Check that a file may be written.

    Raises:
        UsageError: It is a directory, or it exists and ``force`` is false.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory; name a file in it.")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; use --force to overwrite it.")


def output_of(options: argparse.Namespace, name: str) -> Path | None:
    """Return the file to write; None for stdout.

    Args:
        options: The options that :func:`add_output` added.
        name: Name of the page that ``--open`` writes without ``-o``.

    Raises:
        UsageError: The file exists and may not be overwritten.
    """
    output: Path | None = options.output
    if output is not None:
        check_output(output, force=options.force)
    elif options.open:
        import tempfile

        output = Path(tempfile.mkdtemp(prefix="energy-profiler-")) / name
    return output


def open_file(path: Path) -> None:
    """Open a file in the browser; without one, state its path."""
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        write_message(f"no browser can be opened; the page is {path}")


@contextmanager
def explain_write_error(path: Path) -> Iterator[None]:
    """Turn the system's errors while writing ``path`` into a :class:`UsageError` with a remedy."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"cannot write {path}: {reason}. Nothing was written; choose another path with -o."
        ) from None


@contextmanager
def written(output: Path, options: argparse.Namespace) -> Iterator[None]:
    """Explain errors while ``output`` is written, and open it in the browser afterwards if ``--open`` was given."""
    with explain_write_error(output):
        yield
    if options.open:
        open_file(output)
