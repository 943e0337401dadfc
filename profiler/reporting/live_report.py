"""A run as it stands now, looked at again and again: the same numbers as its report, with the power of the moment."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.analysis.curve import fit_metric, learning_rate_trace
from profiler.budget import goals_of
from profiler.emissions import prices_of
from profiler.merging.follow import Follower
from profiler.records import Status
from profiler.reporting.model import Report, attempt, build
from profiler.reporting.sections import chart_of

if TYPE_CHECKING:
    from profiler.reporting.sections import Chart
    from profiler.storage.reader import StoredRun

FIT_SHARE = 0.05
"""The most of one processor that forecasting may take from a machine that trains ..."""
LONGEST_SECONDS = 15.0
"""... as long as no forecast is older than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at a run.

    Attributes:
        run: The run as it stands.
        report: What its report would say now.
        chart: The curve, for renderers that draw; None where it was not asked for or there is no forecast.
        watts: Power of each billed domain at its last reading.
        loss: The last loss; None before the first.
        is_over: Whether nothing more is to come.
    """

    run: "StoredRun"
    report: Report
    chart: "Chart | None"
    watts: dict[str, float]
    loss: float | None
    is_over: bool

    @property
    def total_watts(self) -> float | None:
        """Power of all billed domains together; None while nothing was read."""
        return sum(self.watts.values()) if self.watts else None


class Watch:
    """Looks at one run directory.

    Args:
        path: The directory.
        charted: Whether the curve is wanted, for drawing.
        clock: Seconds, which keep fits rare.
        work: Seconds of this thread's processor time, which say what a fit costs.

    Raises:
        RunError: It is not a run directory that can be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        charted: bool = False,
        clock: Callable[[], float] = time.monotonic,
        work: Callable[[], float] = time.thread_time,
    ) -> None:
        self._follower = Follower(path)
        self._charted = charted
        self._clock, self._work = clock, work
        self._forecast: Report | None = None
        self._chart: Chart | None = None
        self._points = -1
        self._next_fit = -float("inf")

    def look(self) -> View:
        """Read what is new.

        Raises:
            RunError: A file is damaged or gone.
        """
        run = self._follower.look()
        is_over = run.status is not Status.RUNNING
        forecast = self._renewed(run, is_over=is_over)
        now = build(run.summary(), None, forecast.refused, prices=prices_of(run.meta))
        losses = run.steps["loss"].dropna()
        return View(
            run=run,
            report=replace(now, outlook=forecast.outlook),
            chart=self._chart,
            watts=_watts(run),
            loss=float(losses.iloc[-1]) if len(losses) else None,
            is_over=is_over,
        )

    def _renewed(self, run: "StoredRun", *, is_over: bool) -> Report:
        """The report of the last fit, which is renewed when there are new points and it is not too soon."""
        points = len(run.steps)
        is_time = points != self._points and (is_over or self._clock() >= self._next_fit)
        if self._forecast is None or is_time:
            self._points, began = points, self._work()
            rates = learning_rate_trace(run)
            fit, refused = attempt(lambda: fit_metric(run, rates))
            targets, notes = goals_of(run.meta).targets, rates.notes()
            self._forecast = build(run.summary(), fit, refused, targets=targets, notes=notes)
            self._chart = chart_of(run, fit) if fit is not None and self._charted else None
            wait = min((self._work() - began) / FIT_SHARE, LONGEST_SECONDS)
            self._next_fit = self._clock() + wait
        return self._forecast


def _watts(run: "StoredRun") -> dict[str, float]:
    """Power at each billed domain's last reading that says one."""
    seen = run.samples[run.samples["power_watts"].notna()].groupby("domain", sort=False)["power_watts"].last()
    return {name: float(seen[name]) for name, domain in run.domains.items() if domain.billed and name in seen}
