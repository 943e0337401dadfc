"""Scalars read without waiting for a device: the ring, here in ordinary memory, and unreadable values."""

import math
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from profiler.torch_hooks.async_scalars import (
    _CAPACITY,  # to fill the ring exactly
    _PENDING,  # the marker of a copy under way
    DeviceFlags,
    PinnedRing,
    ScalarReader,
)
from profiler.torch_hooks.events import EXPIRED, PendingScalar
from tests.support.step_recording import recorded

FLOATS = st.floats(width=32)


@pytest.fixture
def ring():
    return PinnedRing(torch, pinned=False)


@pytest.fixture
def reader():
    return ScalarReader(torch)


def mark_pending(ring, slot):
    """Reset a word to the state before the device's copy arrives."""
    ring._words[slot] = _PENDING


def test_a_scalar_is_pending_until_its_copy_arrives(ring):
    slot = ring.put(torch.tensor(1.5))
    assert ring.poll(slot) == 1.5
    mark_pending(ring, slot)
    assert ring.poll(slot) is None
    ring._views[slot].copy_(torch.tensor(2.5))
    assert ring.poll(slot) == 2.5


@given(value=FLOATS)
def test_every_float_survives_the_round_trip(value):
    ring = PinnedRing(torch, pinned=False)
    found = ring.poll(ring.put(torch.tensor(value)))
    assert found == value or (math.isnan(found) and math.isnan(value))


@pytest.mark.parametrize(
    "nan",
    [
        torch.tensor(math.nan),
        -torch.tensor(math.nan),
        torch.zeros(()) / 0,
        torch.tensor(math.inf) - math.inf,
        torch.tensor(-1.0).sqrt(),
        torch.tensor(-1.0).log(),
        torch.tensor(math.nan, dtype=torch.float64),
        torch.tensor(math.nan, dtype=torch.bfloat16),
        torch.tensor(math.nan, dtype=torch.float16),
    ],
)
def test_a_nan_loss_is_not_mistaken_for_a_pending_one(ring, nan):
    assert math.isnan(ring.poll(ring.put(nan)))


def test_the_sentinel_is_a_nan():
    """A reader of the raw memory cannot mistake it for a loss."""
    assert math.isnan(struct.unpack("f", struct.pack("I", _PENDING))[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_other_types_are_converted_by_the_copy(ring, dtype):
    assert ring.poll(ring.put(torch.ones((), dtype=dtype))) == 1.0


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_any_shape_of_one_element(ring, shape):
    assert ring.poll(ring.put(torch.full(shape, 7.0))) == 7.0


def test_a_loss_with_a_graph_is_copied_without_it(ring):
    weight = torch.ones((), requires_grad=True)
    slot = ring.put(weight * 3)
    assert ring.poll(slot) == 3.0
    assert not ring._memory.requires_grad


def test_a_reused_word_is_expired_and_returns_no_other_scalar(ring):
    slots = [ring.put(torch.tensor(float(number))) for number in range(_CAPACITY + 3)]
    assert [ring.poll(slot) for slot in slots] == [
        EXPIRED,
        EXPIRED,
        EXPIRED,
        *map(float, range(3, _CAPACITY + 3)),
    ]


def test_a_scalar_expires_before_its_successor_arrives(ring):
    slots = [ring.put(torch.tensor(0.0)) for _ in range(_CAPACITY + 1)]
    mark_pending(ring, slots[-1] % _CAPACITY)
    assert (ring.poll(slots[0]), ring.poll(slots[-1])) == (EXPIRED, None)


def test_a_negative_number_is_expired(ring):
    assert ring.poll(PendingScalar(-1)) is EXPIRED


def test_an_expired_flag_is_not_up(ring):
    flags = DeviceFlags(ring, torch.zeros(()))
    flag = flags.send()
    for _ in range(_CAPACITY):
        flags.send()
    assert not flags.is_up(flag)


@pytest.mark.parametrize(
    ("given_value", "value"),
    [(2, 2.0), (True, 1.0), ("2.5", 2.5), (torch.tensor(0.5), 0.5), (torch.tensor([[3]]), 3.0)],
)
def test_readable_values(reader, given_value, value):
    assert reader.read(given_value) == value
    assert not reader.warnings


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.ones(2), "several elements"),
        (torch.ones(0), "several elements"),
        (torch.ones((), device="meta"), "on meta"),
    ],
)
def test_an_unreadable_value_warns_with_the_remedy(reader, tensor, reason):
    assert reader.read(tensor) is None
    (message,) = reader.warnings
    assert reason in message
    assert message.endswith("pass it with prof.step(loss=...)")


class Subclass(torch.Tensor):
    """A tensor subclass."""


def test_a_subclass_is_read_as_a_plain_tensor(reader):
    assert reader.read(torch.tensor(4.0).as_subclass(Subclass)) == 4.0


def test_a_parameter_is_read(reader):
    assert reader.read(torch.nn.Parameter(torch.tensor(4.0))) == 4.0


def test_a_flag_is_up_when_its_copy_arrives(ring):
    flags = DeviceFlags(ring, torch.zeros(()))
    flag = flags.send()
    assert flags.is_up(flag)
    mark_pending(ring, flag)
    assert not flags.is_up(flag)


def test_a_repeated_warning_is_kept_once(reader):
    for _ in range(3):
        reader.read(torch.ones(2))
    assert len(reader.warnings) == 1


class LateArray:
    """One-element array of a library that computes asynchronously; reading it early would wait."""

    def __init__(self, value, *, size=1):
        self.value, self.size, self.state = value, size, "computing"

    def is_ready(self):
        if self.state == "deleted":
            raise RuntimeError("Array has been deleted.")
        return self.state == "ready"

    def item(self):
        assert self.state == "ready", "this read would have waited for the device"
        return self.value


class DeviceArray:
    """Array on an accelerator of a library that has no way to ask whether it is ready."""

    def __dlpack_device__(self):
        return (2, 0)

    def item(self):
        raise AssertionError("this read would have waited for the device")


def test_an_array_of_another_library_is_read_once_it_is_ready(reader):
    array = LateArray(1.5)
    pending = reader.read(array)
    assert reader.poll(pending) is None
    array.state = "ready"
    assert reader.poll(pending) == 1.5
    assert reader.read(array) == 1.5
    assert reader.warnings == set()


def test_a_deleted_array_has_no_value(reader):
    array = LateArray(1.5)
    pending = reader.read(array)
    array.state = "deleted"
    assert reader.poll(pending) is EXPIRED


@pytest.mark.parametrize(
    ("value", "warning"),
    [(LateArray(1.0, size=3), "several"), (DeviceArray(), "cannot be read without waiting")],
)
def test_an_array_that_cannot_be_read_is_reported(reader, value, warning):
    assert reader.read(value, several="several") is None
    assert [warning in line for line in reader.warnings] == [True]


def test_a_step_waits_for_the_loss_of_an_asynchronous_library(manual_step):
    arrays = [LateArray(float(step)) for step in range(4)]
    with recorded() as recording:
        for array in arrays:
            manual_step(array)
        for array in arrays[:3]:
            array.state = "ready"
    assert recording.truth == [(0.0, 0), (1.0, 0), (2.0, 0), (None, 0)]


class DeviceArray:
    """Array of a library whose conversion waits for the device, without ``item()``, such as TensorFlow's."""

    device = "/job:localhost/replica:0/task:0/device:GPU:0"

    def __float__(self):
        raise AssertionError("the device was waited for")


def test_an_array_on_a_device_without_item_is_not_read():
    reader = ScalarReader(torch)
    assert reader.read(DeviceArray()) is None
    assert "DeviceArray on a device cannot be read" in " ".join(reader.warnings)
