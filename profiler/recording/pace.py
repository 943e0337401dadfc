"""How long to wait between two beats of the sampler."""

from collections.abc import Iterable

DEFAULT_SECONDS = 0.1
"""Where no sensor says, or shows, how often its value is renewed."""
SHARE = 0.62
"""Of a sensor's period: between half and all of it, and about the golden section, so that successive readings fall
on ever new places between two renewals and so locate them."""
DITHER = 0.1
_GOLDEN = 0.6180339887498949
_LEARNING_SECONDS = 0.008
_LEARNING_BEATS = 200
"""Beats at the start that follow each other closely, until the sensors' periods are known."""
_SHORTEST_SECONDS = 0.01
_MOST_OF_THE_TIME = 0.02
"""The share of wall time that reading may take; where a read is slow, beats become rarer."""
_SLOWEST_SECONDS = 1.0


class Pace:
    """Chooses the time to the next beat.

    Args:
        fixed_seconds: What the user asked for; None adapts to the sensors.
    """

    def __init__(self, fixed_seconds: float | None = None) -> None:
        self._fixed = fixed_seconds
        self._beats = 0

    def next_seconds(self, periods: Iterable[float | None], read_seconds: float) -> float:
        """Return the seconds to wait.

        Args:
            periods: How often each sensor renews its value, in seconds; None where that is not known yet.
            read_seconds: How long reading all of them takes.
        """
        if self._fixed is not None:
            return self._fixed
        self._beats += 1
        known = list(periods)
        if None in known and self._beats <= _LEARNING_BEATS:
            return max(_LEARNING_SECONDS, read_seconds / _MOST_OF_THE_TIME)
        slow = [SHARE * period for period in known if period is not None and period >= _SHORTEST_SECONDS]
        base = min([*slow, DEFAULT_SECONDS])
        stretched = min(max(base, _SHORTEST_SECONDS, read_seconds / _MOST_OF_THE_TIME), _SLOWEST_SECONDS)
        return stretched * (1 + DITHER * (2 * (self._beats * _GOLDEN % 1.0) - 1))
