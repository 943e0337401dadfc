"""How long to wait between two beats of the sampler."""

from collections.abc import Iterable

DEFAULT_SECONDS = 0.1
"""Where no sensor says, or shows, how often its value is renewed."""
SHARE = 0.77
"""Of a sensor's period: between half and all of it, and near no simple fraction, so that successive readings fall
on ever new places between two renewals and so locate them."""
_LATENESS = 0.003
"""By what wake-ups are late, in seconds: it is taken off, so that no renewal of a short period is missed."""
DITHER = 0.1
_GOLDEN = 0.6180339887498949
_LEARNING_SECONDS = 0.008
_LEARNING_BEATS = 200
"""Beats at the start that follow each other closely, until the sensors' periods are known."""
_SHORTEST_SECONDS = 0.01
_MOST_OF_THE_TIME = 0.02
"""The share of wall time that reading may take; where a read is slow, beats become rarer."""
_GENTLE, _RAREST = 0.003, 0.85
"""The share of one core that beats should take, and up to which part of a sensor's period they are spread for it:
totals are then a quarter less true."""
_MOST_OF_THE_PROCESSOR = 0.006
"""The share of one core that beats may take, whatever becomes of the numbers."""
_SLOWEST_SECONDS = 1.0


class Pace:
    """Chooses the time to the next beat.

    Args:
        fixed_seconds: What the user asked for; None adapts to the sensors.
    """

    def __init__(self, fixed_seconds: float | None = None) -> None:
        self._fixed = fixed_seconds
        self._beats = 0
        self._base = DEFAULT_SECONDS

    @property
    def adapts(self) -> bool:
        """Whether the user left the period to the sensors."""
        return self._fixed is None

    def adapt(
        self, periods: Iterable[float | None], read_seconds: float, processor_seconds: float = 0.0
    ) -> None:
        """Take what is known by now.

        Args:
            periods: How often each sensor renews its value, in seconds; None where that is not known yet.
            read_seconds: How long reading all of them takes.
            processor_seconds: What a beat costs the processor, its waking up included.
        """
        known = list(periods)
        least = read_seconds / _MOST_OF_THE_TIME
        if None in known and self._beats <= _LEARNING_BEATS:
            self._base = max(_LEARNING_SECONDS, least)
            return
        least = max(least, processor_seconds / _MOST_OF_THE_PROCESSOR, _SHORTEST_SECONDS)
        wanted = [_wanted(period, processor_seconds) for period in known]
        self._base = min(max(min(wanted, default=DEFAULT_SECONDS), least), _SLOWEST_SECONDS)

    def next_seconds(self) -> float:
        """Return the seconds to wait."""
        if self._fixed is not None:
            return self._fixed
        self._beats += 1
        return self._base * (1 + DITHER * (2 * (self._beats * _GOLDEN % 1.0) - 1))


def _wanted(period: float | None, processor_seconds: float) -> float:
    if period is None or period < _SHORTEST_SECONDS:
        return DEFAULT_SECONDS
    gentle = min(processor_seconds / _GENTLE, _RAREST * period)
    return max(SHARE * period - _LATENESS, period / 2, gentle)
