"""Values of scalar tensors, read without waiting for a device."""

import ctypes
import itertools
import struct
import sys
from typing import Any

from profiler.torch_hooks.events import EXPIRED, Expired, PendingArray, PendingScalar

_MAX_WARNINGS = 100
_CAPACITY = 4096
_PENDING = 0x7FC0E1A5
"""A quiet NaN with a payload that no arithmetic produces: the content of a word until the copy has arrived."""

_CPU = 1
"""DLPack's number of the host."""
_ADVICE = "pass it with prof.step(loss=...)"
_SEVERAL = f"a backward pass that started from a tensor of several elements has no loss; {_ADVICE}"


class PinnedRing:
    """Ring of float32 words in pinned host memory that the device writes and any thread polls.

    A device's queue holds about a thousand launches, so each of the 4,096 words is written long before it is reused.
    A word that was reused before it was read is reported as expired; it never returns another scalar's value.
    Reading memory is safe on any thread, whereas a query to the driver would break a CUDA graph capture.
    """

    def __init__(self, torch: Any, *, pinned: bool = True) -> None:
        self._memory = torch.empty(_CAPACITY, dtype=torch.float32, pin_memory=pinned)
        self._words = (ctypes.c_uint32 * _CAPACITY).from_address(self._memory.data_ptr())
        self._views = self._memory.unbind()
        self._owners = [-1] * _CAPACITY
        self._next = map(PendingScalar, itertools.count())

    def put(self, scalar: Any) -> PendingScalar:
        """Queue a copy of a one-element tensor behind the work that computes it, on the current stream."""
        pending = next(self._next)
        index = pending % _CAPACITY
        # The owner is set before the word: a reader that sees the same owner after reading has read that owner's word.
        self._owners[index] = pending
        self._words[index] = _PENDING
        self._views[index].copy_(scalar.detach().reshape(()), non_blocking=True)
        return pending

    def poll(self, pending: PendingScalar) -> float | Expired | None:
        """Return the value, None until it arrives, or ``EXPIRED`` if its word was reused."""
        word = self._words[pending % _CAPACITY]
        if self._owners[pending % _CAPACITY] != pending or pending < 0:
            return EXPIRED
        if word == _PENDING:
            return None
        return float(struct.unpack("=f", word.to_bytes(4, sys.byteorder))[0])


class DeviceFlags:
    """Flags in pinned memory that a device sets when it reaches the point at which they were queued.

    Args:
        ring: Memory of the flags.
        scalar: Any one-element tensor on the device.
    """

    def __init__(self, ring: PinnedRing, scalar: Any) -> None:
        self._ring = ring
        self._scalar = scalar

    def send(self) -> PendingScalar:
        """Queue a flag behind the work launched so far, on the current stream."""
        return self._ring.put(self._scalar)

    def is_up(self, flag: PendingScalar) -> bool:
        """Return whether the device has reached the flag. Safe on any thread."""
        return self._ring.poll(flag) not in {None, EXPIRED}


class ScalarReader:
    """Converter of one-element tensors to floats (CPU) or pending scalars (CUDA, and arrays that are not ready).

    Attributes:
        warnings: Values that could not be read and other limits of the record, one sentence each.
    """

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._ring: PinnedRing | None = None
        self._array_numbers = itertools.count(-2, -1)
        self.warnings: set[str] = set()

    def read(self, tensor: Any, *, several: str = _SEVERAL) -> float | PendingScalar | None:
        """Return the value of a number or one-element tensor, or None with a warning if it cannot be read.

        Args:
            tensor: A tensor, a number, or a one-element array of another library.
            several: Warning for a tensor or array that does not have exactly one element.

        Raises:
            TypeError, ValueError: ``tensor`` is neither a tensor nor a number.
        """
        tensor_type: Any = getattr(self._torch, "Tensor", ())
        if not isinstance(tensor, tensor_type):
            return self._read_other(tensor, several)
        if tensor.numel() != 1:
            self.warn(several)
            return None
        if hasattr(tensor, "__tensor_flatten__") or hasattr(tensor, "_local_tensor"):
            self.warn(
                f"a loss of type {type(tensor).__name__} cannot be read without communication; {_ADVICE}"
            )
            return None
        # The only way to read the plain tensor below a subclass.
        with self._torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001
            return self._read_plain(tensor)

    def _read_other(self, value: Any, several: str) -> float | PendingArray | None:
        """Return the value of a number or an array of another library, without waiting for its device."""
        if isinstance(value, float | int | str):
            return float(value)
        if hasattr(value, "item") and getattr(value, "size", 1) != 1:
            self.warn(several)
            return None
        if hasattr(value, "is_ready"):
            pending = PendingArray(next(self._array_numbers))
            pending.array = value
            ready = self.poll(pending)
            return ready if isinstance(ready, float) else pending
        if _is_on_device(value):
            kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"
            self.warn(
                f"a {kind} on a device cannot be read without waiting for the device; pass a float instead"
            )
            return None
        return float(value.item() if hasattr(value, "item") else value)

    def _read_plain(self, tensor: Any) -> float | PendingScalar | None:
        device = tensor.device.type
        if device == "cpu":
            return float(tensor.item())
        if device == "cuda" and not self._torch.cuda.is_current_stream_capturing():
            return self._pinned().put(tensor)
        if device == "cuda":
            self.warn(f"losses inside a CUDA graph capture are not read; {_ADVICE}")
        else:
            self.warn(f"a loss on {device} cannot be read without stopping the device; {_ADVICE}")
        return None

    def poll(self, pending: PendingScalar) -> float | Expired | None:
        """Return the value of a pending scalar, None until it arrives, or ``EXPIRED``."""
        if isinstance(pending, PendingArray):
            return _poll_array(pending.array)
        return self._pinned().poll(pending)

    def flags(self, device: Any) -> DeviceFlags:
        """Return flags for a device."""
        return DeviceFlags(self._pinned(), self._torch.zeros((), device=device))

    def _pinned(self) -> PinnedRing:
        if self._ring is None:  # pinned memory is allocated only where it is needed
            self._ring = PinnedRing(self._torch)
        return self._ring

    def warn(self, reason: str) -> None:
        """Add a warning, unless there are too many already."""
        if len(self.warnings) < _MAX_WARNINGS:
            self.warnings.add(reason)


def _poll_array(array: Any) -> float | Expired | None:
    try:
        return float(array.item()) if array.is_ready() else None
    except RuntimeError:  # its memory was donated to a later computation, or another host holds it
        return EXPIRED


def _is_on_device(array: Any) -> bool:
    """Return whether an array of another library is in a device's memory."""
    if hasattr(array, "__dlpack_device__"):
        return bool(int(array.__dlpack_device__()[0]) != _CPU)
    device = getattr(array, "device", "")
    return isinstance(device, str) and "CPU" not in device.upper() and bool(device)
