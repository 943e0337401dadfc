"""Kinds of domains, and records in notebooks."""

import math

import pytest
from IPython.lib import pretty

from profiler.records import (
    DOMAIN_KINDS,
    Domain,
    Forecast,
    Interval,
    PhaseEnergy,
    Provenance,
    Verdict,
    kind_of,
)
from profiler.storage.schema import CATEGORIES, category_of


@pytest.mark.parametrize(
    ("domain", "kind", "category", "is_accelerator"),
    [
        ("gpu:0", "gpu", "gpu", True),
        ("gpu:all", "gpu", "gpu", True),
        ("xpu:1", "xpu", "gpu", True),
        ("npu:3", "npu", "other", True),
        ("cpu:package-0", "cpu", "cpu", False),
        ("dram:package-0", "dram", "dram", False),
        ("psys", "psys", "other", False),
        ("core:package-0", "core", "other", False),
        ("gpus:0", "gpus", "other", False),
    ],
)
def test_the_kind_follows_from_the_prefix_of_the_name(domain, kind, category, is_accelerator):
    found = Domain(name=domain, source="x", provenance=Provenance.COUNTER).kind
    assert (found.name, found.category, found.is_accelerator) == (kind, category, is_accelerator)
    assert kind_of(domain) == found
    assert category_of(domain) == category


def test_every_category_is_a_column_of_the_steps():
    assert {kind.category for kind in DOMAIN_KINDS.values()} <= set(CATEGORIES)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("gpu", True), ("npu", True), ("accel", True), ("node", False), ("rail", False), ("cpu", False)],
)
def test_kinds_that_measure_accelerators_only(kind, expected):
    assert kind_of(f"{kind}:0").measures_accelerators_only == expected


SHOWN = {
    "interval": (Interval(low=1.23456789, median=1.5, high=1597.9232341725929), "1.50 (1.23 to 1600, 90 %)"),
    "forecast": (
        Forecast(
            verdict=Verdict.REACHABLE, low=8000.123, median=10_000.0, high=math.inf, p_unreachable=0.0213,
            certain=False, energy_ratio=1.5, reason="",
        ),
        "reachable: 10.0 kJ (at least 8.00 kJ) since the start, out of reach 2.1 %",
    ),
    "phase": (
        PhaseEnergy(name="forward", seconds=12.3456, joules=Interval(low=1000.0, median=1234.5, high=1500.0)),
        "forward: 1.23 kJ (1.00 kJ to 1.50 kJ) in 12.3 s",
    ),
    "an unmetered phase": (PhaseEnergy(name="data", seconds=2.0, joules=None), "data: not measured in 2.00 s"),
}  # fmt: skip


@pytest.mark.parametrize(("record", "words"), SHOWN.values(), ids=SHOWN)
def test_notebooks_show_rounded_numbers_with_units(record, words):
    assert pretty.pretty(record) == words
    assert pretty.pretty((record,)) == f"({words},)"
