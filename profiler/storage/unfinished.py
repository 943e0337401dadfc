"""Energy by domain of a record without totals: one that is running, or was killed.

Its samples end beyond its last row, or before it. Rows follow the learnt power profile, and estimates where a sensor
could not be read, so samples only show how to divide the joules of rows.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from profiler.storage.schema import CATEGORIES, category_of
from profiler.storage.totals import whole_microjoules
from profiler.units import MICROJOULES_PER_JOULE

if TYPE_CHECKING:
    import pandas as pd


def sampled_joules(samples: "Mapping[str, pd.DataFrame]", at_seconds: float) -> dict[str, float]:
    """Return the joules of each domain at a moment, on straight lines between its samples."""
    import numpy as np

    return {
        name: round(float(np.interp(at_seconds, rows["time_seconds"], rows["energy_joules"])), 6)
        for name, rows in samples.items()
    }


def counted_joules(
    counted: Collection[str],
    steps: "pd.DataFrame",
    spans: "pd.DataFrame",
    samples: "Mapping[str, pd.DataFrame]",
    sampled: Mapping[str, float],
) -> dict[str, float]:
    """Divide the joules of rows among the counted domains; they add up to those of the rows.

    Args:
        counted: Names of the counted domains.
        steps: Rows of steps, which hold joules by kind of device.
        spans: Rows of spans, which hold their total only.
        samples: Samples by domain.
        sampled: Joules of each domain up to the last row, by its samples.
    """
    in_spans = {name: _within(spans, samples[name]) if name in samples else 0.0 for name in counted}
    found = Counter(_divided(whole_microjoules(spans["total_joules"]), in_spans))
    for category, column in CATEGORIES.items():
        in_steps = {
            name: sampled.get(name, 0.0) - in_spans[name] for name in counted if category_of(name) == category
        }
        found.update(_divided(whole_microjoules(steps[column]), in_steps))
    return {
        name: microjoules / MICROJOULES_PER_JOULE
        for name, microjoules in found.items()
        if microjoules or name in samples
    }


def edge_joules(steps: "pd.DataFrame", spans: "pd.DataFrame", *, is_integrated: bool) -> float:
    """Return the standard deviation of the total of rows, in joules, without the uncertainty of the gains.

    Both ends of the window cause it, which the first and the last row show; those between share their ends, which
    cancel. Where power is integrated, a gap in the readings adds to it, which the most uncertain row shows.
    """
    import numpy as np

    columns = ["start_seconds", "uncertainty_joules"]
    starts, sigmas = np.concatenate([table[columns].to_numpy(dtype=float) for table in (steps, spans)]).T
    starts, sigmas = starts[~np.isnan(sigmas)], sigmas[~np.isnan(sigmas)]
    if not len(sigmas):
        return 0.0
    ends = sigmas[starts.argmin()], sigmas[starts.argmax()]
    return math.hypot(*ends, sigmas.max() if is_integrated else 0.0)


def _within(spans: "pd.DataFrame", samples: "pd.DataFrame") -> float:
    """Return the joules that the samples of a domain show in spans."""
    import numpy as np

    seconds, joules = samples["time_seconds"].to_numpy(), samples["energy_joules"].to_numpy()
    starts, ends = (np.interp(spans[column], seconds, joules) for column in ("start_seconds", "end_seconds"))
    return float((ends - starts).sum())


def _divided(microjoules: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Divide whole microjoules in proportion to weights, equally where none is positive."""
    if not weights:
        return {}
    weights = {name: max(weight, 0.0) for name, weight in weights.items()}
    total = sum(weights.values())
    shares = {
        name: round(microjoules * (weight / total if 0.0 < total < math.inf else 1.0 / len(weights)))
        for name, weight in weights.items()
    }
    shares[max(shares, key=lambda name: shares[name])] += microjoules - sum(shares.values())
    return shares
