"""Split of a run's energy into that of the idle machine and that of its work."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiler.records import Metered

_MOST_RATIO = 1.05
"""Idle power over the mean power of a run above which the stored idle power is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSplit:
    """Energy of the counted domains whose idle power is known.

    Attributes:
        idle_joules: Idle power times the length of the window, in joules.
        active_joules: The rest of their energy, in joules.
        domains: These domains.
        others: Counted domains of unknown idle power, which are in neither part.
        refused: Domains that used less than their stored idle power, which is therefore wrong; also in neither part.
    """

    idle_joules: float
    active_joules: float
    domains: tuple[str, ...]
    others: tuple[str, ...]
    refused: tuple[str, ...]

    @property
    def idle_share(self) -> float:
        """The idle part of their energy."""
        whole = self.idle_joules + self.active_joules
        return self.idle_joules / whole if whole > 0 else 0.0


def idle_split(metered: "Sequence[Metered]", window_seconds: float) -> IdleSplit | None:
    """Split the energy of the counted domains; None if the idle power of none is known."""
    counted = [one for one in metered if one.domain.billed]
    known = [one for one in counted if one.domain.idle_watts is not None]
    if not known or window_seconds <= 0:
        return None
    idle = {one.domain.name: (one.domain.idle_watts or 0.0) * window_seconds for one in known}
    refused = [one for one in known if idle[one.domain.name] > _MOST_RATIO * one.joules]
    used = [one for one in known if one not in refused]
    joules = [(min(idle[one.domain.name], one.joules), one.joules) for one in used]
    return IdleSplit(
        idle_joules=sum(part for part, _ in joules),
        active_joules=sum(whole - part for part, whole in joules),
        domains=tuple(one.domain.name for one in used),
        others=tuple(one.domain.name for one in counted if one not in known),
        refused=tuple(one.domain.name for one in refused),
    )
