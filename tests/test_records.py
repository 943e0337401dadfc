"""Kinds of domains."""

import pytest

from profiler.records import DOMAIN_KINDS, Domain, Provenance, kind_of
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
