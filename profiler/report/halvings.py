"""The price of perfection: each halving of the distance to the floor, up to more than the world can give."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.cost import WORLD_ELECTRICITY
from profiler.report.outlook import Target, target_of

if TYPE_CHECKING:
    from profiler.forecast import CurveFit

_MOST = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """A loss so many halvings nearer to the median floor, and what it costs.

    Attributes:
        halvings: How often the present distance is halved.
        target: The loss and its price.
    """

    halvings: int
    target: Target


def halvings_of(fit: "CurveFit") -> tuple[Halving, ...]:
    """Price one halving after the other, until a year of the world's electricity is not enough for the median."""
    found: list[Halving] = []
    floor = fit.floor.median
    for count in range(1, _MOST + 1):
        loss = floor + (fit.level - floor) / 2.0**count
        target = target_of(fit, loss)
        if target.forecast.median > WORLD_ELECTRICITY.joules or loss == floor:
            break
        found.append(Halving(halvings=count, target=target))
    return tuple(found)
