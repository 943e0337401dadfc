"""End times of updates on a CUDA device, obtained without waiting for it.

An event is recorded behind the update on the current stream and queried at later moments by the same thread; a query
from another thread would break a CUDA graph capture. A flag in pinned memory follows the event. Any thread may read
it, which helps when the training thread is blocked on the device at the moment the event completes.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice, takewhile
from typing import Any, NamedTuple, Protocol

from profiler.torch_hooks.clock_sync import DeviceClock
from profiler.torch_hooks.events import EventId, PendingScalar
from profiler.units import NANOSECONDS_PER_SECOND

_MIN_INTERVAL_NS = NANOSECONDS_PER_SECOND // 200
"""No sensor resolves shorter intervals, so fast loops do not need an event per step."""
_MAX_WAITING = 1024
_POLLED = 8
"""Number of the oldest flags that are polled together."""
_KEPT = 4096
_NANOSECONDS_PER_MILLISECOND = 1_000_000


class Flags(Protocol):
    """Interface of :class:`~profiler.torch_hooks.async_scalars.DeviceFlags`."""

    def send(self) -> PendingScalar:
        """Queue a flag behind the work launched so far."""

    def is_up(self, flag: PendingScalar) -> bool:
        """Return whether the device has reached the flag. Safe on any thread."""


class _Recorded(NamedTuple):
    event_id: EventId
    event: Any
    flag: PendingScalar
    recorded_ns: int


class DeviceEvents:
    """Events at the ends of one thread's updates on one device.

    Args:
        cuda: ``torch.cuda``, of which ``Event``, ``current_stream`` and ``is_current_stream_capturing`` are used.
        device: The device, for example ``cuda:0``.
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
        self._flags_polled_ns = 0
        self._flag_bounds: dict[int, tuple[int, int]] = {}
        self._clock = DeviceClock()
        self._waiting: deque[_Recorded] = deque()
        self._spare: list[Any] = []
        self._last: Any = None
        self._last_ns = 0.0
        self._incomplete_ns = 0
        self._recorded_ns = 0
        self._count = 0
        self._ends: list[tuple[int, float]] = [(-1, 0.0)] * _KEPT

    def is_capturing(self) -> bool:
        """Return whether launches now go into a CUDA graph instead of running."""
        return bool(self._cuda.is_current_stream_capturing())

    def record_event(self, now_ns: int) -> EventId | None:
        """Record an event behind the work launched so far; None in a capture or too soon after the last one."""
        if self.is_capturing():
            return None
        self.poll_events()
        if now_ns - self._recorded_ns < _MIN_INTERVAL_NS or len(self._waiting) >= _MAX_WAITING:
            return None
        event = self._spare.pop() if self._spare else self._cuda.Event(enable_timing=True)
        event.record(self._cuda.current_stream(self._device))
        event_id, self._count, self._recorded_ns = EventId(self._count), self._count + 1, now_ns
        self._waiting.append(_Recorded(event_id, event, self._flags.send(), now_ns))
        return event_id

    def poll_events(self) -> None:
        """Collect the events that have completed. Only on the thread that records them."""
        if not self._waiting or self.is_capturing():
            return
        while self._waiting:
            queried_ns = self._now()
            if not self._waiting[0].event.query():
                self._incomplete_ns = queried_ns
                return
            self._complete(self._waiting.popleft(), self._now())

    def _complete(self, done: _Recorded, now_ns: int) -> None:
        # Differences are chained from event to event: one long difference in single precision would lose a millisecond.
        if self._last is not None:
            self._last_ns += self._last.elapsed_time(done.event) * _NANOSECONDS_PER_MILLISECOND
            self._spare.append(self._last)
        self._last = done.event
        down_ns, up_ns = self._flag_bounds.pop(done.event_id, (0, now_ns))
        if not self._waiting:
            self._flag_bounds.clear()
        queried_ns = self._incomplete_ns if self._incomplete_ns < up_ns else 0
        incomplete_ns = max(done.recorded_ns, queried_ns, down_ns)
        self._clock.observe(round(self._last_ns), incomplete_ns=incomplete_ns, complete_ns=min(up_ns, now_ns))
        self._ends[done.event_id % _KEPT] = (done.event_id, self._last_ns)

    def poll_flags(self) -> None:
        """Note for the oldest flags when each was last seen down and first seen up. Safe on any thread."""
        before_ns, now_ns = self._flags_polled_ns, self._now()
        with suppress(RuntimeError):  # the queue changed meanwhile; the next call will do
            oldest = tuple(islice(self._waiting, _POLLED))
            up = tuple(takewhile(lambda one: self._flags.is_up(one.flag), oldest))
            for one in up:
                self._flag_bounds.setdefault(one.event_id, (before_ns, self._now()))
            self._flags_polled_ns = now_ns if len(up) < _POLLED else 0

    def poll(self, event_id: EventId) -> int | None:
        """Return the host time at which an update ended, or None until it is known. Safe on any thread."""
        number, device_ns = self._ends[event_id % _KEPT]
        return self._clock.host_ns(round(device_ns)) if number == event_id else None
