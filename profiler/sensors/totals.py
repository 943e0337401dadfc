"""Choice of the counted domains where a meter contains others: the sum of the parts, or the meter of the node."""

from collections.abc import Sequence
from dataclasses import replace

from profiler.records import CONTAINED_NOTE, CountRule, Domain, Provenance
from profiler.sensors.file_meters import CONTAINS

NO_NODE = (
    "count='node' has no effect: no meter of the whole node can be read, so the total is the sum of the parts. "
    "energy-profiler doctor lists the meters"
)
_PREFERRED = ("node:external", "node")
"""Meters of the node in order of preference: one that the user has named measures at the plug."""


def choose_total(domains: Sequence[Domain], count: CountRule) -> tuple[Domain, ...]:
    """Return the domains with ``billed`` set so that nothing is counted twice.

    Args:
        domains: The domains of all sensors. Those that are not ``billed`` stay so, except for meters of the node.
        count: ``parts`` counts the parts of the node, and a meter of the node only where no part is measured. ``node``
            counts the meter of the node where there is one.
    """
    nodes = [domain for domain in domains if domain.kind.is_container]
    parts = [domain for domain in domains if domain.billed and not domain.kind.is_container]
    is_measured = any(part.provenance is not Provenance.MODELLED for part in parts)
    if not nodes or (count == "parts" and not is_measured and not any(node.billed for node in nodes)):
        return tuple(domains)
    if count == "parts" and is_measured:
        return tuple(_contains(domain) if domain.kind.is_container else domain for domain in domains)
    counted = _best(nodes if count == "node" else [node for node in nodes if node.billed])
    return tuple(
        _counted(domain) if domain in counted else _inside(domain, counted[0].name) for domain in domains
    )


def _best(nodes: Sequence[Domain]) -> list[Domain]:
    """Return the preferred meter, or all meters of parts of the node, such as modules, where there is none."""
    for name in _PREFERRED:
        if found := [node for node in nodes if node.name == name]:
            return found
    return list(nodes)


def _contains(node: Domain) -> Domain:
    is_noted = not node.billed and any(note.startswith(CONTAINS) for note in node.notes)
    return node if is_noted else replace(node, billed=False, notes=(*node.notes, f"{CONTAINS}."))


def _counted(node: Domain) -> Domain:
    notes = tuple(note for note in node.notes if not note.startswith(CONTAINS))
    return replace(node, billed=True, notes=notes)


def _inside(domain: Domain, node: str) -> Domain:
    if not domain.billed:
        return domain
    return replace(domain, billed=False, parent=node, notes=(*domain.notes, CONTAINED_NOTE))
