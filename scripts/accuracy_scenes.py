"""Training loops of exactly known power, and sensor models."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from profiler.testing.replay import Waveform
from tests.support.simulated_nvml import SimulatedGpu, hopper, pascal, volta

SHAPE = ((0.12, 150.0), (0.42, 420.0), (0.87, 520.0), (1.0, 280.0))
"""Power inside a training step, 400 W on average: (end of the section as a fraction of the step, watts)."""
IDLE_WATTS = 70.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A training loop.

    Attributes:
        name: Name in tables.
        waveform: True power; it starts before the recorded window.
        edges: Ends of the steps in seconds of the waveform, in order.
        constant: True if the power never changes.
    """

    name: str
    waveform: Waveform
    edges: tuple[float, ...]
    constant: bool = False


def _laid_out(lengths: Sequence[float], scale: Callable[[int], float] = lambda _: 1.0) -> Scene:
    """Return consecutive steps of these lengths, each with the power of ``SHAPE``."""
    points: list[tuple[float, float]] = []
    edges, begun = [], 0.0
    for index, length in enumerate(lengths):
        before = 0.0
        for share, watts in SHAPE:
            points += [
                (begun + before * length, watts * scale(index)),
                (begun + share * length, watts * scale(index)),
            ]
            before = share
        begun += length
        edges.append(begun)
    return Scene(name="", waveform=Waveform(points=tuple(points)), edges=tuple(edges))


def _named(name: str, scene: Scene) -> Scene:
    return Scene(name=name, waveform=scene.waveform, edges=scene.edges)


def _count(seconds: float, length: float) -> int:
    return math.ceil(seconds / length) + 2


def equal_steps(length: float, seconds: float, jitter: float = 0.0, seed: int = 0) -> Scene:
    """Return steps of equal length, or with a relative standard deviation of ``jitter``."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    lengths = [length * max(draw.gauss(1.0, jitter), 0.2) for _ in range(_count(seconds, length))]
    return _named(f"training, {length * 1e3:.0f} ms per step", _laid_out(lengths))


def straggler(length: float, seconds: float) -> Scene:
    """Return steps of which every twentieth takes three times as long and as much energy."""
    lengths = [length * (3.0 if i % 20 == 19 else 1.0) for i in range(_count(seconds, length))]
    return _named("straggler every 20 steps", _laid_out(lengths))


def random_steps(seconds: float, seed: int) -> Scene:
    """Return steps of 50 to 500 ms at 60 to 100 % of full power."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    lengths = [draw.uniform(0.05, 0.5) for _ in range(_count(seconds, 0.25))]
    return _named("random steps", _laid_out(lengths, lambda _: draw.uniform(0.6, 1.0)))


def square(period: float, seconds: float) -> Scene:
    """Return alternating 100 and 500 W; each period is a step."""
    wave = Waveform.square(low=100.0, high=500.0, period_seconds=period)
    edges = tuple(period * (i + 1) for i in range(_count(seconds, period)))
    return Scene(name=f"square {period * 1e3:.0f} ms", waveform=wave, edges=edges)


def ramp(seconds: float) -> Scene:
    """Return ramps from 100 to 500 W in three seconds; steps of 300 ms."""
    wave = Waveform(points=((0.0, 100.0), (3.0, 500.0)), period_seconds=3.0)
    return Scene(name="ramps", waveform=wave, edges=tuple(0.3 * (i + 1) for i in range(_count(seconds, 0.3))))


def idle_gaps(seconds: float) -> Scene:
    """Return alternating two seconds of training in steps of 200 ms and one second idle."""
    points: list[tuple[float, float]] = []
    edges, begun = [], 0.0
    while begun < seconds + 3:
        burst = _laid_out([0.2] * 10)
        points += [(begun + t, w) for t, w in burst.waveform.points]
        points += [(begun + 2.0, IDLE_WATTS), (begun + 3.0, IDLE_WATTS)]
        edges += [begun + edge for edge in burst.edges]
        begun += 3.0
    return Scene(name="idle gaps", waveform=Waveform(points=tuple(points)), edges=tuple(edges))


def scenes(seconds: float, seed: int) -> list[Scene]:
    """Return the waveform set, long enough for a window of ``seconds``."""
    steady = tuple(0.25 * (i + 1) for i in range(_count(seconds, 0.25)))
    return [
        Scene(name="constant", waveform=Waveform.constant(300.0), edges=steady, constant=True),
        *(square(period, seconds) for period in (0.037, 0.1, 0.23, 1.0, 5.0)),
        equal_steps(0.28, seconds, jitter=0.05, seed=seed),
        ramp(seconds),
        idle_gaps(seconds),
        random_steps(seconds, seed),
        straggler(0.15, seconds),
    ]


def _ideal(waveform: Waveform, **changes: Any) -> SimulatedGpu:
    return SimulatedGpu(waveform=waveform, **{"update_seconds": 0.0, "usage": "instant", **changes})


def _ampere(waveform: Waveform, **changes: Any) -> SimulatedGpu:
    return hopper(waveform, **{"name": "Simulated A100", "architecture": 7, "usage": "instant", **changes})


def _part_time(waveform: Waveform, **changes: Any) -> SimulatedGpu:
    return hopper(waveform, **{"counter": "part_time", **changes})


SENSORS: dict[str, Callable[..., SimulatedGpu]] = {
    "ideal": _ideal,
    "H100-like": hopper,
    "A100-like": _ampere,
    "V100-like": volta,
    "P100-like": pascal,
    "part-time counter": _part_time,
}
"""Every sensor model by its name in tables: a function from a waveform to a GPU."""
