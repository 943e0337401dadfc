"""A stand-in for the part of ``torch.cuda`` that stamps use: a device that works through a queue behind the host.

It keeps the rules of the real one: an event is complete when what was launched before it is, asking never waits, the
time between two events is a float32 of milliseconds on the device's own clock, and neither may be asked for during a
graph capture.
"""

import struct

from profiler.torch_hooks.events import PendingScalar

SECOND = 1_000_000_000


class FakeCuda:
    """The device, and the host's clock, which moves when told to.

    Args:
        drift: By how much the device's clock runs faster than the host's.
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
        """Queue some work; returns when it will be done, in the host's time."""
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
    """Flags in memory that the device writes."""

    def __init__(self, cuda):
        self._cuda = cuda
        self._done = []

    def send(self):
        self._done.append(max(self._cuda.busy_until_ns, self._cuda.now_ns))
        return PendingScalar(len(self._done) - 1)

    def is_up(self, flag):
        return self._cuda.now_ns >= self._done[flag]


class FakeEvent:
    """What ``torch.cuda.Event`` is."""

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
