"""A counter that wraps, turned into an energy that does not."""

from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

MAX_SOCKET_WATTS = 2_000.0
MAX_PLATFORM_WATTS = 10_000.0
"""More than any socket or memory, and any whole machine, draws: what exceeds it was not read right."""
_SLACK_MICROJOULES = 100 * MICROJOULES_PER_JOULE
"""What a counter may be late by: it is renewed in steps."""
_WRAP_POWER_FACTOR = 4.0
_WRAP_POWER_MARGIN = 800.0
"""A decrease is taken for a wrap while it implies at most this many times, and watts above, the power seen before;
otherwise the counter is more likely to have started again."""
_COUNTER_STATES = 2**32
_POWER_WINDOW_NS = NANOSECONDS_PER_SECOND
_CONSISTENT_READS_TO_RESTART = 3


class WrappingCounter:
    """Follows one energy counter through its wraps.

    The state is in whole microjoules, so that any number of reads adds up exactly. A value that no plausible
    power explains is refused; once three such values agree with each other the counter has really moved (a
    driver was loaded again, say), and the energy restarts at 0: a decrease, which is how a restart is told to
    whoever integrates.

    Args:
        max_range_uj: The counter's largest value in microjoules, or None when it cannot be read. Without it a
            decrease is a restart.
        max_watts: The power that what it measures cannot exceed.

    Attributes:
        ambiguous_wraps: How often the time between two reads allowed several numbers of wraps that the power
            seen before did not tell apart.
        restarts: How often the counter was found to have started again.
    """

    __slots__ = (
        "_anchor",
        "_doubtful",
        "_energy_uj",
        "_max_watts",
        "_modulus",
        "_raw",
        "_time_ns",
        "_watts",
        "ambiguous_wraps",
        "restarts",
    )

    def __init__(self, max_range_uj: int | None, *, max_watts: float = MAX_SOCKET_WATTS) -> None:
        self._max_watts = max_watts
        # The kernel prints 2^32 - 1 counts as the range; the counter wraps after one count more.
        self._modulus = (
            round(max_range_uj * _COUNTER_STATES / (_COUNTER_STATES - 1)) if max_range_uj else None
        )
        self._raw: int | None = None
        self._time_ns = 0
        self._energy_uj = 0
        self._watts: float | None = None
        self._anchor = (0, 0)
        self._doubtful: list[tuple[int, int]] = []
        self.ambiguous_wraps = 0
        self.restarts = 0

    def update(self, raw_uj: int, time_ns: int) -> int | None:
        """Take one reading.

        Args:
            raw_uj: The counter in microjoules, 0 or more.
            time_ns: Monotonic time of the reading in nanoseconds.

        Returns:
            Microjoules, beginning with the counter's own value, or None when the value cannot be believed.
        """
        if self._raw is None:
            return self._start(raw_uj, time_ns, energy_uj=raw_uj)
        passed = self._passed(raw_uj - self._raw, time_ns - self._time_ns)
        if passed is None:
            return self._doubt(raw_uj, time_ns)
        self._doubtful.clear()
        self._raw, self._time_ns = raw_uj, time_ns
        self._energy_uj += passed
        self._note_power(time_ns)
        return self._energy_uj

    def _start(self, raw_uj: int, time_ns: int, *, energy_uj: int) -> int:
        self._raw, self._time_ns, self._energy_uj = raw_uj, time_ns, energy_uj
        self._watts, self._anchor = None, (time_ns, energy_uj)
        self._doubtful.clear()
        return energy_uj

    def _passed(self, difference: int, elapsed_ns: int) -> int | None:
        """Return the microjoules between two values, or None when no plausible power explains them."""
        most = self._limit_uj(elapsed_ns)
        if difference >= 0:
            most_now = most
        elif self._modulus is None:
            return None
        else:
            difference += self._modulus
            most_now = min(most, self._wrap_limit_uj(elapsed_ns))
        if not 0 <= difference <= most_now:
            return None
        return self._with_whole_wraps(difference, most, elapsed_ns)

    def _with_whole_wraps(self, difference: int, most: int, elapsed_ns: int) -> int:
        """Add the whole wraps that agree best with the power seen before, where the time allows any."""
        if self._modulus is None or difference + self._modulus > most:
            return difference
        expected = _microjoules(self._watts or 0.0, elapsed_ns)
        wraps = round((expected - difference) / self._modulus)
        passed = difference + self._modulus * min(max(wraps, 0), (most - difference) // self._modulus)
        self.ambiguous_wraps += self._watts is None or abs(expected - passed) > self._modulus / 4
        return passed

    def _limit_uj(self, elapsed_ns: int) -> int:
        return int(_microjoules(self._max_watts, elapsed_ns)) + _SLACK_MICROJOULES

    def _wrap_limit_uj(self, elapsed_ns: int) -> int:
        if self._watts is None:
            return self._limit_uj(elapsed_ns)
        watts = _WRAP_POWER_FACTOR * self._watts + _WRAP_POWER_MARGIN
        return int(_microjoules(watts, elapsed_ns)) + _SLACK_MICROJOULES

    def _note_power(self, time_ns: int) -> None:
        since_ns, since_uj = self._anchor
        if time_ns - since_ns >= _POWER_WINDOW_NS:
            self._watts = (self._energy_uj - since_uj) * 1e3 / (time_ns - since_ns)
            self._anchor = (time_ns, self._energy_uj)

    def _doubt(self, raw_uj: int, time_ns: int) -> int | None:
        if self._doubtful:
            last_raw, last_ns = self._doubtful[-1]
            if not 0 <= raw_uj - last_raw <= self._limit_uj(time_ns - last_ns):
                self._doubtful.clear()
        self._doubtful.append((raw_uj, time_ns))
        if len(self._doubtful) < _CONSISTENT_READS_TO_RESTART:
            return None
        self.restarts += 1
        return self._start(raw_uj, time_ns, energy_uj=0)


def _microjoules(watts: float, elapsed_ns: int) -> float:
    return watts * elapsed_ns / 1e3
