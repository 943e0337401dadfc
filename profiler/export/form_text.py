"""Wording that the forms share: amounts with their intervals, and the paragraph on the method."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from profiler._version import __version__
from profiler.records import Interval, Provenance, kind_of
from profiler.reporting import text
from profiler.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, format_seconds, significant

if TYPE_CHECKING:
    from profiler.export.facts import Facts, Source

TOOL = "energy-profiler"
VERSION = __version__
UNKNOWN = "unknown"
KWH_PER_MWH = 1000.0
_HALF_A_PERCENT = 0.005
_ORIGINS = {
    Provenance.COUNTER: "from hardware energy counters",
    Provenance.INTEGRATED: "from power readings, integrated over time",
    Provenance.MODELLED: "estimated from load and hardware tables",
}
_PARTS = {
    "gpu": "GPUs", "xpu": "GPUs", "npu": "accelerators", "accel": "accelerator modules",
    "cpu": "processor packages", "dram": "memory", "psys": "the platform", "rail": "power rails",
    "node": "the whole node",
}  # fmt: skip
_MOST_SOURCES = 4
_ERRORS = "errors of the sensors, which add up over runs, and of reading them at intervals"


def plain(words: str) -> str:
    """Return text on one line, in characters that every encoding of Unicode has."""
    return text.one_line(words.encode(errors="replace").decode())


def amount(interval: Interval, unit: Callable[[float, int], str]) -> str:
    """Format an amount with its 90 % interval, as precisely as it is known."""
    digits = text.digits_of(interval)
    ends = f"{unit(interval.low, digits)} to {unit(interval.high, digits)}"
    return f"{unit(interval.median, digits)} (90 % interval {ends})"


def rounded(interval: Interval) -> float:
    """Return the median with the digits that its interval supports."""
    return float(significant(interval.median, text.digits_of(interval)))


def mwh(kilowatt_hours: float, digits: int) -> str:
    """Format kilowatt-hours as megawatt-hours."""
    return f"{significant(kilowatt_hours / KWH_PER_MWH, digits)} MWh"


def hardware(counts: Mapping[str, int]) -> str:
    """Format devices with their numbers: ``8 x NVIDIA H100``."""
    return ", ".join(f"{count} x {plain(name)}" for name, count in counts.items())


def hours(seconds: float) -> str:
    """Format a duration in hours."""
    return f"{significant(seconds / SECONDS_PER_HOUR)} h"


def days(seconds: float) -> str:
    """Format a duration in days."""
    return f"{significant(seconds / SECONDS_PER_DAY)} days"


def measured(facts: "Facts") -> str:
    """Format the measured share of the energy."""
    if facts.measured_share is None:
        return "measured share unknown"
    share = "estimated" if facts.measured_share == 0.0 else f"{text.percent(facts.measured_share)} measured"
    return f"{share}{', incomplete' if facts.is_incomplete else ''}"


def methods(facts: "Facts") -> str:
    """Return a paragraph on the method, from the provenance of the energy."""
    if facts.joules is None:
        return plain(
            f"The energy is unknown: at least one run was recorded without a sensor ({TOOL} {VERSION}). "
            f"The recorded time is {format_seconds(facts.window_seconds)}."
        )
    runs = text.counted(len(facts.keys), "run")
    tool = f"{TOOL} {facts.versions.get(TOOL, VERSION)}"
    length = format_seconds(facts.window_seconds)
    width = text.within(facts.joules).replace("± ", "±")
    sentences = [
        f"{tool} recorded {runs} from start to stop, {length} in all.",
        _origin(facts),
        f"The 90 % interval is {width}: {_ERRORS}.",
        _boundary(facts),
        *_carbon(facts),
        *_bridged(facts),
        *facts.caveats,
    ]
    return plain(" ".join(sentences))


def _origin(facts: "Facts") -> str:
    parts = []
    for provenance, origin in _ORIGINS.items():
        sources = [source for source in facts.sources if source.provenance is provenance]
        if sources:
            share = text.percent(sum(source.share for source in sources))
            parts.append(f"{share} of the energy is {origin} ({_listed(sources)})")
    return f"{'; '.join(parts)}."


def _listed(sources: "list[Source]") -> str:
    """List sources with their shares, the largest first."""
    shown = [f"{text.percent(source.share)} {source.text}" for source in sources[:_MOST_SOURCES]]
    return ", ".join([*shown, *(["others"] if len(sources) > _MOST_SOURCES else [])])


def _boundary(facts: "Facts") -> str:
    kinds = dict.fromkeys(kind_of(domain).name for one in facts.sources for domain in one.domains)
    *parts, last = dict.fromkeys(_PARTS.get(kind, kind) for kind in kinds)
    covered = f"{', '.join(parts)} and {last}" if parts else last
    pues = sorted({prices.pue for prices in facts.prices})
    if pues == [1.0]:
        building = "cooling and other overhead of the building are not included (PUE 1)"
    else:
        shown = " and ".join(f"{pue:g}" for pue in pues)
        building = f"the overhead of the building is included by a power usage effectiveness of {shown}"
    whole = {"node", "psys"} & set(kinds)
    sharing = "" if whole else " Processors and memory are counted whole, other programs on them included."
    beyond = (
        "" if "node" in kinds else " Network, storage, fans and losses of power supplies are not included."
    )
    return f"The total covers {covered}; {building}.{sharing if {'cpu', 'dram'} & set(kinds) else ''}{beyond}"


def _carbon(facts: "Facts") -> list[str]:
    if facts.gco2e is None:
        return []
    shown = "; ".join(dict.fromkeys(text.carbon_source(prices) for prices in facts.prices))
    return [f"Emissions are location-based: kilowatt-hours times {shown}."]


def _bridged(facts: "Facts") -> list[str]:
    if facts.bridged_seconds <= _HALF_A_PERCENT * facts.window_seconds:
        return []
    length = format_seconds(facts.bridged_seconds)
    return [
        (
            f"For {length} a sensor gave no reading: that energy follows from the power before and after, which "
            "widens the interval."
        )
    ]
