"""Reading a scalar tensor without ever waiting for a device."""

import ctypes
import itertools
import struct
from typing import Any

from profiler.torch_hooks.events import LOST, Lost, Slot

_MOST_REASONS = 100
_SLOTS = 4096
_ON_ITS_WAY = 0x7FC0E1A5
"""A quiet NaN with a payload that no arithmetic produces: the slot's content until the copy has landed."""


class PinnedRing:
    """Float32 slots in pinned host memory, written by the device and polled as plain memory.

    A device's queue holds about a thousand launches, so a word of 4,096 is long written when its turn comes again. It
    may not have been read by then: who comes too late is told so, and never reads another slot's scalar.
    Polling memory is safe from any thread, where asking the driver would break a CUDA graph capture.
    """

    def __init__(self, torch: Any, *, pinned: bool = True) -> None:
        self._memory = torch.empty(_SLOTS, dtype=torch.float32, pin_memory=pinned)
        self._words = (ctypes.c_uint32 * _SLOTS).from_address(self._memory.data_ptr())
        self._views = self._memory.unbind()
        self._owners = [-1] * _SLOTS
        self._next = map(Slot, itertools.count())

    def put(self, scalar: Any) -> Slot:
        """Queue a copy of a one-element tensor behind the work that computes it, on the current stream."""
        slot = next(self._next)
        index = slot % _SLOTS
        self._owners[index] = (
            slot  # before the word: a word read while its owner is the same was that owner's
        )
        self._words[index] = _ON_ITS_WAY
        self._views[index].copy_(scalar.detach().reshape(()), non_blocking=True)
        return slot

    def poll(self, slot: Slot) -> float | Lost | None:
        """Return the value, None while it is on its way, or ``LOST`` where a later slot has its memory."""
        word = self._words[slot % _SLOTS]
        if self._owners[slot % _SLOTS] != slot or slot < 0:
            return LOST
        if word == _ON_ITS_WAY:
            return None
        return float(struct.unpack("=f", word.to_bytes(4, "little" if _LITTLE else "big"))[0])


class DeviceFlags:
    """Flags that a device raises in pinned memory when it gets to where they were sent from.

    Args:
        ring: Their place.
        scalar: Any one element on the device.
    """

    def __init__(self, ring: PinnedRing, scalar: Any) -> None:
        self._ring = ring
        self._scalar = scalar

    def send(self) -> Slot:
        """Queue a flag behind what was launched so far, on the current stream."""
        return self._ring.put(self._scalar)

    def is_up(self, flag: Slot) -> bool:
        """Whether the device got there. On any thread."""
        return self._ring.poll(flag) not in {None, LOST}


_LITTLE = struct.pack("=H", 1) == b"\x01\x00"


_HAND_OVER = "hand it over with prof.step(loss=...)"
_SEVERAL = f"a backward pass that started from a tensor of several elements has no loss; {_HAND_OVER}"


class ScalarReader:
    """Turns one-element tensors into floats (on the CPU) or slots (on CUDA), and says what it could not read."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._ring: PinnedRing | None = None
        self.unreadable: set[str] = set()

    def read(self, tensor: Any, *, several: str = _SEVERAL) -> float | Slot | None:
        """Return the value of a one-element tensor, a slot for it, or None with the reason in ``unreadable``."""
        kind: Any = getattr(self._torch, "Tensor", ())
        if not isinstance(tensor, kind):
            return float(tensor)
        if tensor.numel() != 1:
            return self.refuse(several)
        if hasattr(tensor, "__tensor_flatten__") or hasattr(tensor, "_local_tensor"):
            return self.refuse(
                f"a loss of type {type(tensor).__name__} cannot be read without communication; {_HAND_OVER}"
            )
        with self._torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 - torch's own way to see the plain tensor
            return self._read_plain(tensor)

    def _read_plain(self, tensor: Any) -> float | Slot | None:
        device = tensor.device.type
        if device == "cpu":
            return float(tensor.item())
        if device != "cuda":
            return self.refuse(f"a loss on {device} cannot be read without stopping the device; {_HAND_OVER}")
        if self._torch.cuda.is_current_stream_capturing():
            return self.refuse(f"losses inside a CUDA graph capture are not read; {_HAND_OVER}")
        return self.ring().put(tensor)

    def ring(self) -> PinnedRing:
        """The ring, made when first needed."""
        if self._ring is None:
            self._ring = PinnedRing(self._torch)
        return self._ring

    def poll(self, slot: Slot) -> float | Lost | None:
        """Return the value of a slot, None while it is on its way, or ``LOST``."""
        return self.ring().poll(slot)

    def flags(self, device: Any) -> "DeviceFlags":
        """Make flags for a device."""
        return DeviceFlags(self.ring(), self._torch.zeros((), device=device))

    def refuse(self, reason: str) -> float | None:
        """Remember, for people, why a scalar was not read; returns None, the value of what was not."""
        if len(self.unreadable) < _MOST_REASONS:
            self.unreadable.add(reason)
        return None
