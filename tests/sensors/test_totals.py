"""Choice between the sum of the parts and the meter of the node."""

from dataclasses import replace

import pytest

from profiler.records import CONTAINED_NOTE, Domain, Provenance
from profiler.sensors.file_meters import CONTAINS
from profiler.sensors.totals import choose_total

CPU = Domain(name="cpu:package-0", source="RAPL", provenance=Provenance.COUNTER)
GPU = replace(CPU, name="gpu:0")
CORE = replace(CPU, name="core:package-0", parent=CPU.name, billed=False)
NODE = replace(CPU, name="node")
PLUG = replace(CPU, name="node:external", provenance=Provenance.INTEGRATED)
MODULES = [replace(CPU, name=f"node:module-{socket}") for socket in range(2)]
GUESS = replace(CPU, name="dram:package-0", provenance=Provenance.MODELLED)


def names(domains):
    return [domain.name for domain in domains if domain.billed]


@pytest.mark.parametrize(
    ("domains", "by_parts", "by_node"),
    [
        ([CPU, CORE, GPU], ["cpu:package-0", "gpu:0"], ["cpu:package-0", "gpu:0"]),
        ([CPU, CORE, GPU, NODE], ["cpu:package-0", "gpu:0"], ["node"]),
        ([CPU, NODE, PLUG], ["cpu:package-0"], ["node:external"]),
        ([GPU, GUESS, replace(PLUG, billed=False)], ["gpu:0", "dram:package-0"], ["node:external"]),
        ([GUESS, PLUG], ["node:external"], ["node:external"]),
        ([NODE, PLUG], ["node:external"], ["node:external"]),
        ([GPU, *MODULES], ["gpu:0"], ["node:module-0", "node:module-1"]),
        ([], [], []),
    ],
)
def test_nothing_is_counted_twice(domains, by_parts, by_node):
    assert names(choose_total(domains, "parts")) == by_parts
    assert names(choose_total(domains, "node")) == by_node


def test_the_notes_state_which_domain_contains_which():
    node, cpu, core = choose_total(
        [replace(NODE, billed=False, notes=(f"{CONTAINS} (x).",)), CPU, CORE], "node"
    )
    assert node.notes == ()
    assert (cpu.parent, cpu.notes) == ("node", (CONTAINED_NOTE,))
    assert core == CORE
    node, cpu = choose_total([NODE, CPU], "parts")
    assert node.notes == (f"{CONTAINS}.",)
    assert cpu == CPU
