"""When an update ended on a CUDA device, which runs behind the host, without ever waiting for it.

An event is recorded behind the update on the current stream, and asked for at later moments of the same thread. It is
never asked for from another one: that breaks a CUDA graph capture. A flag in pinned memory, which any thread may look
at, follows it: the training thread may be waiting for the device when the device gets there.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from profiler.torch_hooks.clock_sync import DeviceClock
from profiler.torch_hooks.events import Slot, Stamp
from profiler.units import NANOSECONDS_PER_SECOND

if TYPE_CHECKING:
    from profiler.torch_hooks.manager import Dispatcher
    from profiler.torch_hooks.step_detector import Loop

_APART_NS = NANOSECONDS_PER_SECOND // 200
"""No sensor tells apart what lies closer together than this, so that fast loops need not stamp each step."""
_WAITING = 1024
_GLANCED = 8
"""So many of the oldest flags are looked at together."""
_KEPT = 4096
_NANOSECONDS_PER_MILLISECOND = 1_000_000


class Flags(Protocol):
    """What :class:`~profiler.torch_hooks.async_scalars.DeviceFlags` does."""

    def send(self) -> Slot:
        """Queue a flag behind what was launched so far."""

    def is_up(self, flag: Slot) -> bool:
        """Whether the device got there. On any thread."""


class _Marked(NamedTuple):
    stamp: Stamp
    event: Any
    flag: Slot
    recorded_ns: int


class DeviceStamps:
    """The ends of one thread's updates on one device.

    Args:
        cuda: ``torch.cuda``, of which ``Event``, ``current_stream`` and ``is_current_stream_capturing`` are used.
        device: The device, as ``cuda:0``.
        flags: Flags of that device.
        now: The host's clock.
    """

    def __init__(
        self, cuda: Any, device: Any, flags: Flags, now: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._cuda = cuda
        self._device = device
        self._flags = flags
        self._now = now
        self._glanced_ns = 0
        self._glances: dict[int, tuple[int, int]] = {}
        self._clock = DeviceClock()
        self._waiting: deque[_Marked] = deque()
        self._spare: list[Any] = []
        self._last: Any = None
        self._last_ns = 0.0
        self._asked_ns = 0
        self._marked_ns = 0
        self._count = 0
        self._ends: list[tuple[int, float]] = [(-1, 0.0)] * _KEPT

    def is_capturing(self) -> bool:
        """Whether what is launched now goes into a CUDA graph, and does not run."""
        return bool(self._cuda.is_current_stream_capturing())

    def mark(self, now_ns: int) -> Stamp | None:
        """Record an event behind what was launched so far; None where that is not wanted now, or not possible."""
        if self.is_capturing():
            return None
        self.ask()
        if now_ns - self._marked_ns < _APART_NS or len(self._waiting) >= _WAITING:
            return None
        event = self._spare.pop() if self._spare else self._cuda.Event(enable_timing=True)
        event.record(self._cuda.current_stream(self._device))
        stamp, self._count, self._marked_ns = Stamp(self._count), self._count + 1, now_ns
        self._waiting.append(_Marked(stamp, event, self._flags.send(), now_ns))
        return stamp

    def ask(self) -> None:
        """See which events are complete by now. Only on the thread that marks."""
        if not self._waiting or self.is_capturing():
            return
        while self._waiting:
            asked = self._now()
            if not self._waiting[0].event.query():
                self._asked_ns = asked
                return
            self._settle(self._waiting.popleft(), self._now())

    def _settle(self, done: _Marked, now_ns: int) -> None:
        """Chain the device's time from event to event: one difference in single precision would lose a millisecond."""
        if self._last is not None:
            self._last_ns += self._last.elapsed_time(done.event) * _NANOSECONDS_PER_MILLISECOND
            self._spare.append(self._last)
        self._last = done.event
        down_ns, up_ns = self._glances.pop(done.stamp, (0, now_ns))
        if not self._waiting:
            self._glances.clear()
        asked_ns = self._asked_ns if self._asked_ns < up_ns else 0
        incomplete = max(done.recorded_ns, asked_ns, down_ns)
        self._clock.observe(round(self._last_ns), incomplete_ns=incomplete, complete_ns=min(up_ns, now_ns))
        self._ends[done.stamp % _KEPT] = (done.stamp, self._last_ns)

    def glance(self) -> None:
        """Look at the flags of the oldest events, and note when one was first up, and last down. On any thread."""
        before_ns, now_ns = self._glanced_ns, self._now()
        with suppress(RuntimeError):  # the queue moved on meanwhile; the next glance will do
            oldest = tuple(islice(self._waiting, _GLANCED))
            up = tuple(takewhile(lambda one: self._flags.is_up(one.flag), oldest))
            for one in up:
                self._glances.setdefault(one.stamp, (before_ns, self._now()))
            self._glanced_ns = now_ns if len(up) < _GLANCED else 0

    def poll(self, stamp: Stamp) -> int | None:
        """Return the host's time at which a stamped update ended, or None while it is on its way. On any thread."""
        number, device_ns = self._ends[stamp % _KEPT]
        return self._clock.host_ns(round(device_ns)) if number == stamp else None


def mark(hooks: "Dispatcher", loop: "Loop", ended: int) -> Stamp | None:
    """Stamp the update that ended on the host just now, where its device runs behind. Never raises."""
    try:
        return None if loop.stamps is None else loop.stamps.mark(ended)
    except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
        _give_up(hooks, loop, error)
        return None


def is_capturing(hooks: "Dispatcher", loop: "Loop") -> bool:
    """Whether the thread captures a CUDA graph. Never raises."""
    try:
        return loop.stamps is not None and loop.stamps.is_capturing()
    except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
        _give_up(hooks, loop, error)
        return False


def ask(hooks: "Dispatcher", loop: "Loop | None") -> None:
    """See how far the device has come, at a moment when the thread that trains on it is here anyway. Never raises."""
    try:
        if loop is not None and loop.stamps is not None:
            loop.stamps.ask()
    except Exception as error:  # noqa: BLE001 - the training goes on, whatever failed here
        _give_up(hooks, loop, error)


def _give_up(hooks: "Dispatcher", loop: "Loop | None", error: Exception) -> None:
    refuse(hooks, error)
    if loop is not None:
        loop.stamps = None


def refuse(hooks: "Dispatcher", error: Exception) -> None:
    """Say that steps end when the host says so, and why."""
    hooks.scalars.refuse(
        f"the device's own times cannot be read ({type(error).__name__}: {error}): joules may go to the step that was "
        "being launched instead of the one that used them"
    )
