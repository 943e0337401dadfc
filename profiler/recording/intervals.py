"""What lies between two change points of a counter: what it gained, and how uncertain its energy is in between."""

from typing import NamedTuple

from profiler.uncertainty import bridge_variance_share, edge_variance
from profiler.units import NANOSECONDS_PER_SECOND


class Segment(NamedTuple):
    """What a counter gained from one change point to the next."""

    start_ns: int
    end_ns: int
    start_joules: float
    end_joules: float
    is_bridged: bool

    @property
    def joules(self) -> float:
        """The gain."""
        return self.end_joules - self.start_joules

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) / NANOSECONDS_PER_SECOND

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds


class Edge(NamedTuple):
    """How uncertain the energy between two change points is.

    Attributes:
        start_ns: The first of them.
        end_ns: The second.
        around: Mean power between them and between their neighbours, in watts; empty where only ``fixed`` counts.
        blur_seconds: One standard deviation of the change points' own times.
        fixed: Variance that applies at any place, in square joules.
    """

    start_ns: int
    end_ns: int
    around: tuple[float, ...] = ()
    blur_seconds: float = 0.0
    fixed: float = 0.0

    def variance(self, time_ns: int, hidden_watts: float) -> float:
        """Variance of the energy at a moment, in square joules, without the domain's gain."""
        if not self.around:
            return self.fixed
        length = self.end_ns - self.start_ns
        seconds, place = length / NANOSECONDS_PER_SECOND, (time_ns - self.start_ns) / length
        always, between = edge_variance(seconds, self.around, hidden_watts, self.blur_seconds)
        return self.fixed + always + between * bridge_variance_share(min(max(place, 0.0), 1.0))
