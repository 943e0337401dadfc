"""Which board is which, once CUDA can say: domains are named before, by what could be foreseen."""

import sys
import time
from types import SimpleNamespace

import pytest
import torch

from profiler import EnergyProfiler
from profiler.recording.device_selection import cuda_uuids, decide
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
def test_a_board_is_billed_by_its_identifier(boards, device, uuids, billed, missing):
    decision = decide([CPU, *boards], [device], [], uuids)
    assert decision.billed == ("cpu:package-0", *filter(None, [billed]))
    assert list(decision.missing) == missing


def test_memory_on_a_board_is_found_by_identifier_too():
    decision = decide([CPU, FIRST, SECOND], ["cpu"], [1], ["GPU-bbbb", "GPU-aaaa"])
    assert decision.billed == ("cpu:package-0", "gpu:0")


def test_what_is_numbered_otherwise_is_said_and_what_is_not_is_not():
    (line,) = decide([CPU, FIRST, SECOND], ["cuda:0"], [], ["GPU-bbbb", "GPU-aaaa"]).notices
    assert "its device 0 is recorded as gpu:1" in line
    (line,) = decide([CPU, FIRST], ["cuda:0"], [], ["GPU-cccc"]).notices
    assert "nothing measures it" in line
    assert not decide([CPU, FIRST, SECOND], ["cuda:0"], [], ["GPU-aaaa", "GPU-bbbb"]).notices


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
def test_cuda_is_asked_only_once_it_is_initialised(monkeypatch, cuda, found):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert cuda_uuids() == found


def test_cuda_that_is_initialised_inside_the_window_decides_who_is_billed(monkeypatch, tmp_path):
    """The loop chooses the second board by an environment variable, say, after the recording began."""
    meters = [
        ScriptedMeter(domain=domain, waveform=Waveform.constant(watts))
        for domain, watts in ((FIRST, 100.0), (SECOND, 300.0), (CPU, 50.0))
    ]
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with EnergyProfiler(
        run_dir=tmp_path / "run", sensors=[ReplaySensor(meters, clock=time.monotonic_ns)]
    ) as prof:
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
    assert any("its device 0 is recorded as gpu:1" in line for line in prof.run.warnings)
    assert [entry["billed"] for entry in prof.run.meta["domains"]] == [False, True, True]
