"""Gain of a planned anneal for the forecasts of a running run, from earlier runs of its task."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.forecasting.lr_trace import RateTrace

if TYPE_CHECKING:
    from profiler.analysis.earlier_runs import EarlierRuns
    from profiler.forecasting import CurveFit
    from profiler.forecasting.priors import Priors

_FEWEST_STEPS = 20
"""Recorded steps from which the task of a run is known."""


class EarlierGains:
    """Anneal gains of earlier runs of a running run's task.

    They are read when a fit first needs them: where an anneal is planned and there are other runs in the directory.

    Args:
        path: Directory of the running run.

    Attributes:
        seconds: Processor time of the reading.
    """

    def __init__(self, path: Path) -> None:
        self.seconds = 0.0
        self._path = path
        self._runs: EarlierRuns | None = None

    def priors(self, fit: "CurveFit", rates: RateTrace) -> "Priors | None":
        """Return priors with the gains; None where none are known or needed."""
        from profiler.analysis.earlier_runs import needs_gain

        if not needs_gain(fit, rates):
            return None
        begun = time.thread_time()
        runs = self._runs or self._read()
        found = None if runs is None else runs.priors(fit, rates)
        self.seconds += time.thread_time() - begun
        return None if found is None else found[0]

    def _read(self) -> "EarlierRuns | None":
        from profiler.analysis.earlier_runs import EarlierRuns, has_neighbours
        from profiler.merging.load import load

        if not has_neighbours(self._path):
            return None
        run = load(self._path, partial=True)
        runs = EarlierRuns(run)
        if len(run.steps) >= _FEWEST_STEPS:
            self._runs = runs
        return runs
