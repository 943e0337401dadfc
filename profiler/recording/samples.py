"""The log of samples: a row when a domain's energy had moved, about one a second after ten minutes."""

from profiler.recording.timeline import Timeline
from profiler.records import Domain
from profiler.storage.schema import SampleRow
from profiler.units import MICROJOULES_PER_JOULE, NANOSECONDS_PER_SECOND

_EVERY_CHANGE_NS = 600 * NANOSECONDS_PER_SECOND
_THINNED_NS = NANOSECONDS_PER_SECOND


class SampleLog:
    """Decides which change points of one domain become rows. Energies are cumulative: leaving rows out loses nothing.

    Args:
        domain: The domain.
        timeline: Its energy.
        start_ns: From when its energy counts.
        window_ns: The window's start, from which times count.
    """

    def __init__(self, domain: Domain, timeline: Timeline, start_ns: int, *, window_ns: int) -> None:
        self._domain = domain
        self._timeline = timeline
        self._window_ns = window_ns
        self._start_ns = start_ns
        self._zero: float | None = None
        self._last = (start_ns, 0)
        self.joules = 0.0

    def first(self) -> SampleRow:
        """The row from which energies count."""
        return self._row(*self._last, None)

    def at(self, time_ns: int, *, always: bool = False) -> SampleRow | None:
        """The row for a change point at ``time_ns``, or None where it is thinned out or no news."""
        since = time_ns - self._last[0]
        thinned = time_ns - self._window_ns > _EVERY_CHANGE_NS and since < _THINNED_NS
        if since <= 0 or (thinned and not always):
            return None
        if (
            self._zero is None
        ):  # only now is it known what was spent between the reading before the start and this one
            self._zero = self._timeline.joules_at(self._start_ns)
        energy = round((self._timeline.joules_at(time_ns) - self._zero) * MICROJOULES_PER_JOULE)
        watts = (energy - self._last[1]) / MICROJOULES_PER_JOULE / (since / NANOSECONDS_PER_SECOND)
        self._last = (time_ns, energy)
        self.joules = energy / MICROJOULES_PER_JOULE
        return self._row(time_ns, energy, watts)

    def _row(self, time_ns: int, energy: int, watts: float | None) -> SampleRow:
        return SampleRow(
            time_seconds=time_ns - self._window_ns,
            domain=self._domain.name,
            power_watts=watts,
            energy_joules=energy,
            provenance=self._domain.provenance.value,
        )
