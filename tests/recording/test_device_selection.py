"""Assignment of boards to domains once CUDA is initialised; domains are named before."""

import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from profiler import EnergyProfiler
from profiler.recording.device_selection import cuda_uuids, select, used_gpus
from profiler.records import Domain, Provenance
from profiler.sensors.nvml import MIG_NOTE
from profiler.testing.replay import ReplaySensor, ScriptedMeter, Waveform

CPU = Domain(name="cpu:package-0", source="test", provenance=Provenance.COUNTER)


def board(index, device, *notes):
    return Domain(
        name=f"gpu:{index}", source="test", provenance=Provenance.COUNTER, device=device, notes=notes
    )


FIRST, SECOND = board(0, "GPU-aaaa"), board(1, "GPU-bbbb")
WHOLE = board(0, "GPU-aaaa", MIG_NOTE)


@pytest.mark.parametrize(
    ("boards", "device", "uuids", "billed", "missing"),
    [
        ([FIRST, SECOND], "cuda:0", ["GPU-aaaa", "GPU-bbbb"], "gpu:0", []),
        ([FIRST, SECOND], "cuda:0", ["GPU-bbbb", "GPU-aaaa"], "gpu:1", []),
        ([FIRST, SECOND], "cuda", ["GPU-BBBB"], "gpu:1", []),
        ([FIRST, SECOND], "cuda:0", None, "gpu:0", []),
        ([FIRST, SECOND], "cuda:0", ["GPU-cccc"], None, ["cuda:0"]),
        ([SECOND], "cuda:0", ["GPU-bbbb"], "gpu:1", []),
        ([SECOND], "cuda:0", ["GPU-cccc"], None, ["gpu:0"]),
        ([WHOLE], "cuda:0", ["GPU-instance"], "gpu:0", []),
        ([board(0, None)], "cuda:0", ["GPU-aaaa"], "gpu:0", []),
        ([FIRST, SECOND], "cuda:1", ["GPU-aaaa"], "gpu:1", []),
    ],
)
def test_board_is_counted_by_its_identifier(boards, device, uuids, billed, missing):
    selection = select([CPU, *boards], [device], [], uuids)
    assert selection.billed == ("cpu:package-0", *filter(None, [billed]))
    assert list(selection.missing) == missing


@pytest.mark.parametrize(
    ("devices", "billed", "missing"),
    [
        (["xpu:1"], ["xpu:1"], []),
        (["xpu"], ["xpu:0"], []),
        (["xpu:2"], [], ["xpu:2"]),
        (["npu:0"], ["npu:0"], []),
        (["mps"], [], ["mps:0"]),
        (["cuda:0"], ["gpu:0"], []),
        (["cpu"], ["gpu:0", "xpu:0", "xpu:1", "npu:0"], []),
    ],
)
def test_accelerators_of_every_kind_are_counted_if_used(devices, billed, missing):
    others = [replace(FIRST, name=name) for name in ("xpu:0", "xpu:1", "npu:0")]
    selection = select([CPU, FIRST, *others], devices, [])
    assert selection.billed == ("cpu:package-0", *billed)
    assert list(selection.missing) == missing


def test_memory_on_a_board_is_found_by_identifier():
    selection = select([CPU, FIRST, SECOND], ["cpu"], [1], ["GPU-bbbb", "GPU-aaaa"])
    assert selection.billed == ("cpu:package-0", "gpu:0")


def test_warning_only_for_boards_that_cuda_numbers_differently():
    (line,) = select([CPU, FIRST, SECOND], ["cuda:0"], [], ["GPU-bbbb", "GPU-aaaa"]).warnings
    assert "its device 0 is recorded and counted as gpu:1" in line
    (line,) = select([CPU, FIRST], ["cuda:0"], [], ["GPU-cccc"]).warnings
    assert "it is not measured" in line
    assert not select([CPU, FIRST, SECOND], ["cuda:0"], [], ["GPU-aaaa", "GPU-bbbb"]).warnings


def fake_cuda(uuids, *, initialised=True):
    return SimpleNamespace(
        is_initialized=lambda: initialised,
        device_count=lambda: len(uuids),
        memory_reserved=lambda index: 2**20 if index == 0 else 0,
        get_device_properties=lambda index: SimpleNamespace(
            **({"uuid": uuids[index]} if uuids[index] else {})
        ),
    )


@pytest.mark.parametrize(
    ("cuda", "found"),
    [
        (fake_cuda(["b", "a"]), ["GPU-b", "GPU-a"]),
        (fake_cuda(["b", "a"], initialised=False), None),
        (fake_cuda(["b", ""]), None),
    ],
)
def test_identifiers_are_read_only_after_cuda_is_initialised(monkeypatch, cuda, found):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert cuda_uuids() == found


@pytest.mark.parametrize("unfinished", [SimpleNamespace(), SimpleNamespace(cuda=SimpleNamespace())])
def test_torch_that_is_being_imported_has_no_devices_yet(monkeypatch, unfinished):
    monkeypatch.setitem(sys.modules, "torch", unfinished)
    assert cuda_uuids() is None
    assert used_gpus() == []


def test_cuda_initialised_inside_the_window_decides_the_counted_boards(monkeypatch, tmp_path):
    """The loop selects the second board, for example by an environment variable, after the recording began."""
    meters = [
        ScriptedMeter(domain=domain, waveform=Waveform.constant(watts))
        for domain, watts in ((FIRST, 100.0), (SECOND, 300.0), (CPU, 50.0))
    ]
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[ReplaySensor(meters)]) as prof:
        cuda = fake_cuda(["bbbb"])
        monkeypatch.setattr(
            "profiler.recording.device_selection.sys",
            SimpleNamespace(modules={"torch": SimpleNamespace(cuda=cuda)}),
        )
        for _ in range(4):
            weight.sum().backward()
            optimizer.step()
            time.sleep(0.05)
    assert set(prof.run.energy_by_domain()) == {"gpu:1", "cpu:package-0"}
    assert any("its device 0 is recorded and counted as gpu:1" in line for line in prof.run.warnings)
    assert [entry["billed"] for entry in prof.run.meta["domains"]] == [False, True, True]
