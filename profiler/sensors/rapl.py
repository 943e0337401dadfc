"""Domains of the processor's energy counters (RAPL), common to powercap and perf events."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from profiler.clock import Clock
from profiler.records import Domain, Provenance

UPDATE_PERIOD_SECONDS = 0.001
"""Update interval of the counters, about a millisecond (Intel SDM, volume 3B, section on RAPL)."""
PACKAGE_GAIN_UNCERTAINTY = 0.05
"""Relative standard deviation, chosen by this project: RAPL follows plug power closely (Khan et al., ACM TOMPECS 3(2),
2018, doi 10.1145/3177754), and no vendor states a tolerance."""
DRAM_GAIN_UNCERTAINTY = 0.10
"""Relative standard deviation, chosen by this project: against instrumented memory the counter had an offset, largest
when idle (Desrochers, Paradis and Weaver, MEMSYS 2016, doi 10.1145/2989081.2989088)."""
ONE_COUNTER_NOTE = "All dies of this package show the same counter; it is counted once."
FROZEN_REASON = "its counter does not change, although the processor is running"
LIVENESS_SECONDS = 0.1
LIVENESS_POLL_SECONDS = 0.002
"""Time in which a counter of a running machine must change at the start, and the interval of its reads."""
_PLATFORM_NOTE = "Covers the whole platform: no counter of the processor alone can be read."
_NO_DRAM_NOTE = "No memory counter can be read here: the totals leave it out."


def rapl_domain(
    kind: str, label: str, *, source: str, has_packages: bool, notes: tuple[str, ...] = ()
) -> Domain:
    """Build the domain of one counter.

    Packages and memory are counted. Cores and the uncore are parts of a package. The platform (psys) contains the
    packages and is counted only if no package can be read.

    Args:
        kind: ``cpu`` for a package, ``dram``, ``psys``, or the name of a part.
        label: The package that it belongs to: ``package-0``.
        source: Interface and name of the counter, for people.
        has_packages: True if any package can be read.
        notes: Sentences that qualify this counter.
    """
    if kind == "psys":
        notes = notes if has_packages else (*notes, _PLATFORM_NOTE)
    return Domain(
        name="psys" if kind == "psys" else f"{kind}:{label}",
        source=source,
        provenance=Provenance.COUNTER,
        billed=kind in ("cpu", "dram") or (kind == "psys" and not has_packages),
        parent=f"cpu:{label}" if has_packages and kind not in ("cpu", "dram", "psys") else None,
        update_period_seconds=UPDATE_PERIOD_SECONDS,
        gain_uncertainty=DRAM_GAIN_UNCERTAINTY if kind == "dram" else PACKAGE_GAIN_UNCERTAINTY,
        notes=notes,
    )


def note_missing_dram(domains: Iterable[Domain]) -> tuple[Domain, ...]:
    """Add a note to the packages if there is no memory domain."""
    domains = tuple(domains)
    if any(domain.kind.name == "dram" for domain in domains):
        return domains
    return tuple(replace(d, notes=(*d.notes, _NO_DRAM_NOTE)) if d.kind.name == "cpu" else d for d in domains)


class OpenCounter(Protocol):
    """An open energy counter."""

    def read(self) -> int:
        """Return its value.

        Raises:
            OSError, ValueError: It cannot be read.
        """
        ...

    def close(self) -> None:
        """Release it. May be called twice."""
        ...


def frozen_counters(
    first: Mapping[str, int], counters: Mapping[str, OpenCounter], clock: Clock
) -> frozenset[str]:
    """Find counters that do not change within a tenth of a second, which no running processor or memory allows.

    Args:
        first: Initial values by identifier.
        counters: The counters by identifier.
        clock: Clock of the waits.
    """
    pending = dict(first)
    for _ in range(round(LIVENESS_SECONDS / LIVENESS_POLL_SECONDS)):
        # One changed value is proof of life; only counters that never changed wait for the full time.
        pending = {name: value for name, value in pending.items() if _read_or(value, counters[name]) == value}
        if not pending:
            break
        clock.sleep(LIVENESS_POLL_SECONDS)
    return frozenset(pending)


def _read_or(default: int, counter: OpenCounter) -> int:
    try:
        return counter.read()
    except (OSError, ValueError):
        return default
