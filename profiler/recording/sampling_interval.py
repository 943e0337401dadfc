"""Interval between two polls of the sampler."""

from collections.abc import Iterable

DEFAULT_SECONDS = 0.1
"""Interval where no update interval is stated or observed."""
SHARE = 0.77
"""Polling interval as a share of the update interval: between a half and one, and near no simple fraction, so that
successive readings fall on different places between two ticks and so locate them."""
_LATENESS = 0.003
"""Usual delay of wake-ups in seconds, subtracted so that no update of a short interval is missed."""
DITHER = 0.1
_GOLDEN = 0.6180339887498949
_LEARNING_SECONDS = 0.008
_LEARNING_POLLS = 200
"""Number of closely spaced polls at the start, until the sensors' update intervals are known."""
_SHORTEST_SECONDS = 0.01
_MOST_OF_THE_TIME = 0.02
"""Share of wall time that reading may take; slow reads are polled less often."""
_GENTLE, _RAREST = 0.003, 0.85
"""Share of one core that polling should take, and the longest polling interval used for it, as a share of the update
interval: totals are then a quarter less accurate."""
_MOST_OF_THE_PROCESSOR = 0.006
"""Share of one core that polling may take at most."""
_SLOWEST_SECONDS = 1.0


class SamplingInterval:
    """Adaptive time to the next poll.

    Args:
        fixed_seconds: Interval requested by the user; None adapts to the sensors.
    """

    def __init__(self, fixed_seconds: float | None = None) -> None:
        self._fixed = fixed_seconds
        self._polls = 0
        self._base = DEFAULT_SECONDS

    @property
    def adapts(self) -> bool:
        """True if the interval adapts to the sensors."""
        return self._fixed is None

    def adapt(
        self, periods: Iterable[float | None], read_seconds: float, processor_seconds: float = 0.0
    ) -> None:
        """Adapt to the present knowledge of the sensors.

        Args:
            periods: Update interval of each domain in seconds; None where not known yet.
            read_seconds: Time that reading all sensors takes.
            processor_seconds: Processor time per poll, including the wake-up.
        """
        known = list(periods)
        least = read_seconds / _MOST_OF_THE_TIME
        # Dense polls at the start find update intervals that are not stated; they end even where none is found.
        if None in known and self._polls <= _LEARNING_POLLS:
            self._base = max(_LEARNING_SECONDS, least)
            return
        least = max(least, processor_seconds / _MOST_OF_THE_PROCESSOR, _SHORTEST_SECONDS)
        wanted = [_wanted(period, processor_seconds) for period in known]
        self._base = min(max(min(wanted, default=DEFAULT_SECONDS), least), _SLOWEST_SECONDS)

    def next_seconds(self) -> float:
        """Return the seconds until the next poll."""
        if self._fixed is not None:
            return self._fixed
        # Multiples of the golden ratio fill the unit interval evenly, so that no polling period locks to a step.
        self._polls += 1
        return self._base * (1 + DITHER * (2 * (self._polls * _GOLDEN % 1.0) - 1))


def _wanted(period: float | None, processor_seconds: float) -> float:
    if period is None or period < _SHORTEST_SECONDS:
        return DEFAULT_SECONDS
    # Slow wake-ups are traded for accuracy, up to a polling interval that still sees nearly every update.
    gentle = min(processor_seconds / _GENTLE, _RAREST * period)
    return max(SHARE * period - _LATENESS, period / 2, gentle)
