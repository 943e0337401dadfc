"""A counter that wraps, turned into an energy that does not."""

from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

MAX_PLAUSIBLE_WATTS = 10_000.0
"""More than any socket, memory or platform draws: what exceeds it was not read right."""
_SLACK_MICROJOULES = 100 * MICROJOULES_PER_JOULE
"""What a counter may be late by: it is renewed in steps."""
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

    Attributes:
        ambiguous_wraps: How often the time between two reads allowed several numbers of wraps that the power
            seen before did not tell apart.
        restarts: How often the counter was found to have started again.
    """

    __slots__ = (
        "_anchor",
        "_doubtful",
        "_energy_uj",
        "_modulus",
        "_raw",
        "_time_ns",
        "_watts",
        "ambiguous_wraps",
        "restarts",
    )

    def __init__(self, max_range_uj: int | None) -> None:
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
            Microjoules since the first reading, or None when the value cannot be believed.
        """
        if self._raw is None:
            return self._start(raw_uj, time_ns)
        passed = self._passed(raw_uj - self._raw, time_ns - self._time_ns)
        if passed is None:
            return self._doubt(raw_uj, time_ns)
        self._doubtful.clear()
        self._raw, self._time_ns = raw_uj, time_ns
        self._energy_uj += passed
        self._note_power(time_ns)
        return self._energy_uj

    def _start(self, raw_uj: int, time_ns: int) -> int:
        self._raw, self._time_ns, self._energy_uj = raw_uj, time_ns, 0
        self._watts, self._anchor = None, (time_ns, 0)
        self._doubtful.clear()
        return 0

    def _passed(self, difference: int, elapsed_ns: int) -> int | None:
        """Return the microjoules between two values, or None when no plausible power explains them."""
        limit = _limit_uj(elapsed_ns)
        if self._modulus is None:
            return difference if 0 <= difference <= limit else None
        difference %= self._modulus
        if difference > limit:
            return None
        return difference + self._modulus * self._extra_wraps(difference, limit, elapsed_ns)

    def _extra_wraps(self, difference: int, limit: int, elapsed_ns: int) -> int:
        """Return how many whole wraps to add: those that agree best with the power seen before."""
        assert self._modulus is not None
        most = (limit - difference) // self._modulus
        if most == 0:
            return 0
        expected = _microjoules(self._watts or 0.0, elapsed_ns)
        wraps = min(max(round((expected - difference) / self._modulus), 0), most)
        off = abs(expected - difference - wraps * self._modulus)
        self.ambiguous_wraps += self._watts is None or off > self._modulus / 4
        return wraps

    def _note_power(self, time_ns: int) -> None:
        since_ns, since_uj = self._anchor
        if time_ns - since_ns >= _POWER_WINDOW_NS:
            self._watts = (self._energy_uj - since_uj) * 1e3 / (time_ns - since_ns)
            self._anchor = (time_ns, self._energy_uj)

    def _doubt(self, raw_uj: int, time_ns: int) -> int | None:
        if self._doubtful:
            last_raw, last_ns = self._doubtful[-1]
            if not 0 <= raw_uj - last_raw <= _limit_uj(time_ns - last_ns):
                self._doubtful.clear()
        self._doubtful.append((raw_uj, time_ns))
        if len(self._doubtful) < _CONSISTENT_READS_TO_RESTART:
            return None
        self.restarts += 1
        return self._start(raw_uj, time_ns)


def _microjoules(watts: float, elapsed_ns: int) -> float:
    return watts * elapsed_ns / 1e3


def _limit_uj(elapsed_ns: int) -> int:
    return int(_microjoules(MAX_PLAUSIBLE_WATTS, elapsed_ns)) + _SLACK_MICROJOULES
