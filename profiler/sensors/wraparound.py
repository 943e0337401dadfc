"""Conversion of a counter that wraps around into an energy that does not."""

from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

MAX_SOCKET_WATTS = 2_000.0
MAX_PLATFORM_WATTS = 10_000.0
"""Upper bounds of the power of any socket or memory, and of any whole machine. A larger gain is a reading error."""
_SLACK_MICROJOULES = 100 * MICROJOULES_PER_JOULE
"""Allowance for a counter that is updated in steps and may lag behind."""
_WRAP_POWER_FACTOR = 4.0
_WRAP_POWER_MARGIN = 800.0
"""A decrease is interpreted as a wraparound if the implied power is at most this factor times the previous power plus
this margin in watts; otherwise a reset of the counter is more likely."""
_COUNTER_STATES = 2**32
_POWER_WINDOW_NS = NANOSECONDS_PER_SECOND
_CONSISTENT_READS_FOR_RESET = 3


class WrappingCounter:
    """Tracks one energy counter through its wraparounds.

    The state is in whole microjoules, so that any number of reads adds up exactly. A value that implies an implausible
    power is rejected. Once three such values are consistent with each other, the counter has been reset (its driver was
    reloaded, for example), and the returned energy restarts at 0; a decrease marks the reset for the caller.

    Args:
        max_range_uj: Largest value of the counter in microjoules, or None if unknown; then every decrease is a reset.
        max_watts: Upper bound of the measured power, in watts.
        lag_seconds: Upper bound of the counter's update interval, so that a reading may show the energy of that time.

    Attributes:
        max_watts: As given.
        ambiguous_wraps: Number of intervals so long that several numbers of wraparounds were plausible.
        restarts: Number of detected resets.
    """

    __slots__ = (
        "_anchor",
        "_energy_uj",
        "_modulus",
        "_raw",
        "_rejected",
        "_slack_uj",
        "_time_ns",
        "_watts",
        "ambiguous_wraps",
        "max_watts",
        "restarts",
    )

    def __init__(
        self, max_range_uj: int | None, *, max_watts: float = MAX_SOCKET_WATTS, lag_seconds: float = 0.0
    ) -> None:
        self.max_watts = max_watts
        # A delayed reading shows energy of the time before it, which must not look like an implausible power.
        self._slack_uj = _SLACK_MICROJOULES + round(max_watts * lag_seconds * MICROJOULES_PER_JOULE)
        # The kernel reports 2^32 - 1 counts as the range; the counter wraps after one more count.
        self._modulus = (
            round(max_range_uj * _COUNTER_STATES / (_COUNTER_STATES - 1)) if max_range_uj else None
        )
        self._raw: int | None = None
        self._time_ns = 0
        self._energy_uj = 0
        self._watts: float | None = None
        self._anchor = (0, 0)
        self._rejected: list[tuple[int, int]] = []
        self.ambiguous_wraps = 0
        self.restarts = 0

    def update(self, raw_uj: int, time_ns: int) -> int | None:
        """Process one reading.

        Args:
            raw_uj: The counter in microjoules, 0 or more.
            time_ns: Monotonic time of the reading in nanoseconds.

        Returns:
            Energy in microjoules, starting at the counter's first value; None if the value is implausible.
        """
        if self._raw is None:
            return self._start(raw_uj, time_ns, energy_uj=raw_uj)
        # The mean power of the interval is the only evidence of a wraparound: the counter itself shows none.
        gain = self._gain(raw_uj - self._raw, time_ns - self._time_ns)
        if gain is None:
            return self._reject(raw_uj, time_ns)
        self._rejected.clear()
        self._raw, self._time_ns = raw_uj, time_ns
        self._energy_uj += gain
        self._update_power(time_ns)
        return self._energy_uj

    def _start(self, raw_uj: int, time_ns: int, *, energy_uj: int) -> int:
        self._raw, self._time_ns, self._energy_uj = raw_uj, time_ns, energy_uj
        self._watts, self._anchor = None, (time_ns, energy_uj)
        self._rejected.clear()
        return energy_uj

    def _gain(self, difference: int, elapsed_ns: int) -> int | None:
        """Return the microjoules between two values, or None if they imply an implausible power."""
        most = self._limit_uj(elapsed_ns)
        if difference >= 0:
            most_now = most
        elif self._modulus is None:
            return None
        else:
            difference += self._modulus
            # After half a minute at the maximum power, any decrease could be a wraparound of 65 kJ. The power before is
            # the better witness: a decrease that implies far more of it is a reset.
            most_now = min(most, self._wrap_limit_uj(elapsed_ns))
        if not 0 <= difference <= most_now:
            return None
        return self._with_whole_wraps(difference, most, elapsed_ns)

    def _with_whole_wraps(self, difference: int, most: int, elapsed_ns: int) -> int:
        """Add the number of whole wraparounds that fits the previous power best, if the time allows any."""
        if self._modulus is None or difference + self._modulus > most:
            return difference
        # A counter of 32 bits at 15 microjoules per count wraps after 65 kJ, at 200 W in 5 minutes. A suspended process
        # may miss several wraparounds; the power before decides how many.
        expected = _microjoules(self._watts or 0.0, elapsed_ns)
        wraps = round((expected - difference) / self._modulus)
        gain = difference + self._modulus * min(max(wraps, 0), (most - difference) // self._modulus)
        # An expectation near half a range between two candidates is no evidence for either.
        self.ambiguous_wraps += self._watts is None or abs(expected - gain) > self._modulus / 4
        return gain

    def _limit_uj(self, elapsed_ns: int) -> int:
        return int(_microjoules(self.max_watts, elapsed_ns)) + self._slack_uj

    def _wrap_limit_uj(self, elapsed_ns: int) -> int:
        if self._watts is None:
            return self._limit_uj(elapsed_ns)
        watts = _WRAP_POWER_FACTOR * self._watts + _WRAP_POWER_MARGIN
        return int(_microjoules(watts, elapsed_ns)) + self._slack_uj

    def _update_power(self, time_ns: int) -> None:
        since_ns, since_uj = self._anchor
        # Over a shorter time, the steps of the counter would dominate the power.
        if time_ns - since_ns >= _POWER_WINDOW_NS:
            self._watts = (self._energy_uj - since_uj) * 1e3 / (time_ns - since_ns)
            self._anchor = (time_ns, self._energy_uj)

    def _reject(self, raw_uj: int, time_ns: int) -> int | None:
        if self._rejected:
            last_raw, last_ns = self._rejected[-1]
            # Values after a reset continue like a counter; those of read errors do not.
            if not 0 <= raw_uj - last_raw <= self._limit_uj(time_ns - last_ns):
                self._rejected.clear()
        self._rejected.append((raw_uj, time_ns))
        if len(self._rejected) < _CONSISTENT_READS_FOR_RESET:
            return None
        self.restarts += 1
        return self._start(raw_uj, time_ns, energy_uj=0)


def _microjoules(watts: float, elapsed_ns: int) -> float:
    return watts * elapsed_ns / 1e3
