"""What joules amount to elsewhere."""

from dataclasses import dataclass

from profiler.units import JOULES_PER_KWH


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """An amount of energy that people can picture, with where the figure comes from."""

    name: str
    joules: float
    source: str
    short_source: str


WORLD_ELECTRICITY = Yardstick(
    name="a year of the world's electricity",
    joules=30_900e9 * JOULES_PER_KWH,
    short_source="30,900 TWh, Ember 2025",
    source="30,900 TWh generated in 2024: Ember, Global Electricity Review 2025 (solar, 2,131 TWh, was 6.9 % of it)",
)
