"""The price of perfection: each halving of the distance to the floor, up to more than the world can give."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.emissions import WORLD_ELECTRICITY
from profiler.reporting.forecast_section import Outlook, Target, more_of

if TYPE_CHECKING:
    from profiler.forecasting.inverse import Inverse

_MOST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """A loss so many halvings nearer to the median floor, and what it costs.

    Attributes:
        halvings: How often the present distance is halved.
        target: The loss and its price.
    """

    halvings: int
    target: Target


def halvings_of(inverse: "Inverse", outlook: Outlook) -> tuple[Halving, ...]:
    """Price one halving after the other, until a year of the world's electricity is not enough for the median.

    Those that are among the targets of the outlook are those targets.
    """
    found: list[Halving] = []
    listed = {target.way: target for target in outlook.targets}
    floor, excess = outlook.floor.median, outlook.last_loss - outlook.floor.median
    for count in range(1, _MOST + 1):
        way = 1.0 - 0.5**count
        loss = floor + excess * 0.5**count
        target = listed.get(way) or _target(inverse, loss, way)
        if target.forecast.median > WORLD_ELECTRICITY.joules or loss == floor:
            break
        found.append(Halving(halvings=count, target=target))
    return tuple(found)


def _target(inverse: "Inverse", loss: float, way: float) -> Target:
    forecast = inverse.joules_at(loss)
    return Target(loss=loss, way=way, forecast=forecast, more=more_of(forecast, inverse.fit.joules))
