"""What the processor's energy counters measure, whichever interface they are read through."""

from collections.abc import Iterable
from dataclasses import replace

from profiler.records import Domain, Provenance

UPDATE_PERIOD_SECONDS = 0.001
"""The counter is renewed about every millisecond (Intel SDM, volume 3B, section on RAPL)."""
PACKAGE_GAIN_UNCERTAINTY = 0.05
"""One standard deviation, this project's allowance: RAPL follows plug power closely (Khan et al., ACM TOMPECS
3(2), 2018, doi 10.1145/3177754), and no vendor states a tolerance."""
DRAM_GAIN_UNCERTAINTY = 0.10
"""One standard deviation, this project's allowance: against instrumented memory the counter was offset, most
so when idle (Desrochers, Paradis and Weaver, MEMSYS 2016, doi 10.1145/2989081.2989088)."""
ONE_COUNTER_NOTE = "Its dies show one counter, which is counted once."
_PLATFORM_NOTE = "The whole platform: no counter of the processor alone can be read."
_NO_MEMORY_NOTE = "No counter of the memory can be read here: the totals leave it out."


def rapl_domain(
    kind: str, label: str, *, source: str, packages_seen: bool, notes: tuple[str, ...] = ()
) -> Domain:
    """Name what one counter measures and decide whether it counts.

    Packages and memory count. Cores and the uncore are parts of a package. The platform (psys) contains the packages
    and counts only where it is all there is.

    Args:
        kind: ``cpu`` for a package, ``dram``, ``psys``, or the name of a part.
        label: The package that it belongs to: ``package-0``.
        source: Where it is read, for people.
        packages_seen: Whether any package can be read.
        notes: What a reader must know of this counter.
    """
    if kind == "psys":
        notes = notes if packages_seen else (*notes, _PLATFORM_NOTE)
    return Domain(
        name="psys" if kind == "psys" else f"{kind}:{label}",
        source=source,
        provenance=Provenance.COUNTER,
        billed=kind in ("cpu", "dram") or (kind == "psys" and not packages_seen),
        parent=f"cpu:{label}" if packages_seen and kind not in ("cpu", "dram", "psys") else None,
        update_period_seconds=UPDATE_PERIOD_SECONDS,
        gain_uncertainty=DRAM_GAIN_UNCERTAINTY if kind == "dram" else PACKAGE_GAIN_UNCERTAINTY,
        notes=notes,
    )


def say_missing_memory(domains: Iterable[Domain]) -> tuple[Domain, ...]:
    """Add a note to the packages when no counter of the memory is among the domains."""
    domains = tuple(domains)
    if any(domain.name.startswith("dram:") for domain in domains):
        return domains
    return tuple(
        replace(d, notes=(*d.notes, _NO_MEMORY_NOTE)) if d.name.startswith("cpu:") else d for d in domains
    )
