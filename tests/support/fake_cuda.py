"""Fake of the part of ``torch.cuda`` that device events use: a device that works through a queue.

It has the rules of the real one: an event completes after the work launched before it, a query never waits, the
time between two events is a float32 of milliseconds on the device's clock, and neither call is allowed during a
graph capture.
"""

import struct

from profiler.torch_hooks.events import PendingScalar

SECOND = 1_000_000_000


class FakeCuda:
    """The device, and a host clock that the test moves.

    Args:
        drift: Relative drift of the device's clock.
    """

    def __init__(self, *, drift=0.0):
        self.now_ns = 1_000 * SECOND
        self.busy_until_ns = self.now_ns
        self.drift = drift
        self.is_capturing = False
        self.made = 0

    def clock(self):
        return self.now_ns

    def pass_time(self, seconds):
        self.now_ns += round(seconds * SECOND)

    def launch(self, seconds):
        """Queue some work, and return its end in host time."""
        self.busy_until_ns = max(self.busy_until_ns, self.now_ns) + round(seconds * SECOND)
        return self.busy_until_ns

    def current_stream(self, device=None):
        return self

    def is_current_stream_capturing(self):
        return self.is_capturing

    def Event(self, *, enable_timing):  # noqa: N802 - torch's name
        assert enable_timing
        self.made += 1
        return FakeEvent(self)


class FakeFlags:
    """Flags that the device sets in host memory."""

    def __init__(self, cuda):
        self._cuda = cuda
        self._done = []

    def send(self):
        self._done.append(max(self._cuda.busy_until_ns, self._cuda.now_ns))
        return PendingScalar(len(self._done) - 1)

    def is_up(self, flag):
        return self._cuda.now_ns >= self._done[flag]


class FakeEvent:
    """Fake of ``torch.cuda.Event``."""

    def __init__(self, cuda):
        self._cuda = cuda
        self.done_ns = None

    def record(self, stream):
        assert stream is self._cuda
        self._refuse_capture()
        self.done_ns = max(self._cuda.busy_until_ns, self._cuda.now_ns)

    def query(self):
        self._refuse_capture()
        return self._cuda.now_ns >= self.done_ns

    def elapsed_time(self, later):
        if not (self.query() and later.query()):
            raise RuntimeError("device not ready")
        milliseconds = (later.done_ns - self.done_ns) * (1 + self._cuda.drift) / 1e6
        return struct.unpack("f", struct.pack("f", milliseconds))[0]

    def _refuse_capture(self):
        if self._cuda.is_capturing:
            raise RuntimeError("operation not permitted when stream is capturing")
