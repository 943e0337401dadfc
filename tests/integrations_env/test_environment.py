"""The second environment holds what its files pin."""

from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_installed_versions_are_the_pinned_ones():
    pinned = pins("constraints-integrations.txt")
    assert {package: version(package) for package in pinned} == pinned


def test_a_package_is_pinned_in_one_file_only():
    assert not pins("constraints-integrations.txt").keys() & pins("constraints.txt").keys()
