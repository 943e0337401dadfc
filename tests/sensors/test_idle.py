"""Idle power that is stored for later runs."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from profiler.records import Domain, Metered, Provenance
from profiler.reporting.model import idle_split
from profiler.sensors.idle import idle_path, store, with_idle_power

DAY = datetime(2026, 2, 3, tzinfo=UTC)
CPU = Domain(name="cpu:package-0", source="RAPL", provenance=Provenance.COUNTER)
GPU = Domain(name="gpu:0", source="NVML (H100)", provenance=Provenance.COUNTER, device="GPU-aaaa")


@pytest.fixture
def place(tmp_path, machine):
    """Where idle power is stored, and the simulated machine."""
    return {"environ": {"XDG_CONFIG_HOME": str(tmp_path / "config")}, "system_root": machine().system_root}


def watts(domains):
    return [domain.idle_watts for domain in domains]


def test_stored_power_is_that_of_later_runs(place):
    path = store({CPU: 40.0, GPU: 61.5}, DAY, **place)
    assert path == idle_path(place["environ"])
    cpu, gpu = with_idle_power([CPU, GPU], **place)
    assert watts([cpu, gpu]) == [40.0, 61.5]
    assert gpu.notes == ("Its idle power was measured on 2026-02-03.",)
    assert "GPU-aaaa" not in path.read_text()


def test_a_gpu_keeps_its_idle_power_under_another_number(place):
    store({GPU: 61.5}, DAY, **place)
    assert watts(with_idle_power([replace(GPU, name="gpu:3")], **place)) == [61.5]


def test_other_hardware_has_none(place, machine):
    store({CPU: 40.0, GPU: 61.5}, DAY, **place)
    other = replace(GPU, device="GPU-bbbb")
    machine(model="AMD EPYC 7763", sockets=2)
    assert watts(with_idle_power([CPU, other], **place)) == [None, None]


def test_a_second_measurement_replaces_the_first_and_keeps_other_devices(place):
    store({CPU: 40.0, GPU: 61.5}, DAY, **place)
    store({CPU: 38.0}, DAY, **place)
    assert watts(with_idle_power([CPU, GPU], **place)) == [38.0, 61.5]


def test_estimates_have_no_idle_power(place):
    store({CPU: 40.0}, DAY, **place)
    assert watts(with_idle_power([replace(CPU, provenance=Provenance.MODELLED)], **place)) == [None]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"version": 2, "devices": {}}', '{"version": 1, "devices": []}', "[" * 100_000, "\x00"],
)
def test_a_damaged_file_is_ignored_and_replaced(place, content):
    path = idle_path(place["environ"])
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert watts(with_idle_power([CPU], **place)) == [None]
    store({CPU: 40.0}, DAY, **place)
    assert watts(with_idle_power([CPU], **place)) == [40.0]


@pytest.mark.parametrize("value", [-1, "61", None, 1e9, float("nan")])
def test_absurd_powers_are_ignored(place, value):
    path = store({CPU: 40.0}, DAY, **place)
    content = json.loads(path.read_text())
    for entry in content["devices"].values():
        entry["watts"] = value
    path.write_text(json.dumps(content))
    assert watts(with_idle_power([CPU], **place)) == [None]


def metered(domain, joules, idle_watts, **changes):
    return Metered(domain=replace(domain, idle_watts=idle_watts, **changes), joules=joules)


def test_energy_is_split_into_idle_and_active():
    split = idle_split([metered(CPU, 1_000.0, 40.0), metered(GPU, 3_000.0, 60.0)], 10.0)
    assert (split.idle_joules, split.active_joules) == (1_000.0, 3_000.0)
    assert split.idle_share == 0.25
    assert split.domains == ("cpu:package-0", "gpu:0")


def test_domains_of_unknown_idle_power_are_in_neither_part():
    split = idle_split([metered(CPU, 1_000.0, None), metered(GPU, 3_000.0, 60.0)], 10.0)
    assert (split.idle_joules, split.active_joules, split.others) == (600.0, 2_400.0, ("cpu:package-0",))


def test_an_idle_power_above_that_of_the_run_is_refused():
    split = idle_split([metered(CPU, 1_000.0, 120.0), metered(GPU, 3_000.0, 60.0)], 10.0)
    assert (split.idle_joules, split.active_joules) == (600.0, 2_400.0)
    assert split.refused == ("cpu:package-0",)


def test_there_is_no_split_without_a_stored_power():
    assert idle_split([metered(CPU, 1_000.0, None)], 10.0) is None
    assert idle_split([metered(GPU, 1_000.0, 60.0, billed=False)], 10.0) is None
