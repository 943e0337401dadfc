"""A report of a running run, refreshed on demand: the numbers of its report, and the present power."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from profiler.analysis.curve import last_value, learning_rate_trace
from profiler.analysis.earlier_runs import Neighbours
from profiler.clock import MONOTONIC, Clock
from profiler.emissions import read_prices
from profiler.merging.follow import Follower, LatestPower, latest_power
from profiler.records import Status
from profiler.reporting.details import drawn_curve
from profiler.reporting.metrics import Found, metrics_of
from profiler.reporting.model import build
from profiler.reporting.records import Report

if TYPE_CHECKING:
    from profiler.reporting.records import Chart
    from profiler.storage.reader import StoredRun

FIT_SHARE = 0.05
"""Largest share of one processor that forecasts may take from a machine that trains ..."""
LONGEST_SECONDS = 15.0
"""... provided that no forecast is older than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A snapshot of a run.

    Attributes:
        run: The run.
        report: Its report at this moment.
        chart: The curve, for renderers that draw; None where it was not requested or there is no forecast.
        watts: Power of each counted domain at its last reading.
        loss: The loss that was recorded last, NaN included; None before the first.
        forecast_age_seconds: Time since the forecast in the report was computed.
        is_over: True if the run has ended.
    """

    run: "StoredRun"
    report: Report
    chart: "Chart | None"
    watts: dict[str, float]
    loss: float | None
    forecast_age_seconds: float
    is_over: bool

    @property
    def total_watts(self) -> float | None:
        """Power of all counted domains together; None before the first reading."""
        return sum(self.watts.values()) if self.watts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forecast:
    found: Found
    note: str
    chart: "Chart | None"
    at_seconds: float


class Watch:
    """Follows one run directory.

    Args:
        path: The directory.
        charted: Compute the curve for drawing.
        metric: The headline's metric; chosen as in a report by default.
        goal: Its direction.
        clock: Limits how often the curve is fitted, by the time that a fit takes.

    Raises:
        RunError: It is not a run directory that can be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        charted: bool = False,
        metric: str | None = None,
        goal: str | None = None,
        clock: Clock = MONOTONIC,
    ) -> None:
        self._path = path
        self._follower = Follower(path)
        self._charted = charted
        self._metric, self._goal = metric, goal
        self._clock = clock
        self._neighbours = Neighbours()
        self._forecast: _Forecast | None = None
        self._points = -1
        self._next_fit = -float("inf")

    def poll(self) -> View:
        """Read new rows and return a snapshot.

        Raises:
            RunError: A file is damaged or gone.
        """
        run = self._follower.poll()
        is_over = run.status is not Status.RUNNING
        forecast = self._latest_forecast(run, is_over=is_over)
        report = build(
            run.summary(),
            [known for known, _ in forecast.found],
            note=forecast.note,
            prices=read_prices(run.meta),
        )
        return View(
            run=run,
            report=report,
            chart=forecast.chart,
            watts=last_watts(run),
            loss=last_value(run),
            forecast_age_seconds=self._clock.seconds - forecast.at_seconds,
            is_over=is_over,
        )

    def power(self) -> LatestPower | None:
        """Read the present power alone, which takes a fraction of a :meth:`poll`.

        Raises:
            RunError: A file cannot be read.
        """
        return latest_power(self._path)

    def _latest_forecast(self, run: "StoredRun", *, is_over: bool) -> "_Forecast":
        """Return the last forecast; compute it again if there are new points and enough time has passed."""
        points = len(run.steps)
        is_time = points != self._points and (is_over or self._clock.seconds >= self._next_fit)
        if self._forecast is None or is_time:
            self._points, began = points, self._clock.thread_seconds()
            trace, neighbours = learning_rate_trace(run), self._neighbours
            found, note = metrics_of(run, trace, (), self._metric, self._goal, neighbours=neighbours)
            (known, fit), *_ = found
            self._forecast = _Forecast(
                found=found,
                note=note,
                chart=drawn_curve(run, known, fit) if self._charted else None,
                at_seconds=self._clock.seconds,
            )
            wait = min((self._clock.thread_seconds() - began) / FIT_SHARE, LONGEST_SECONDS)
            self._next_fit = self._clock.seconds + wait
        return self._forecast


def last_watts(run: "StoredRun") -> dict[str, float]:
    """Return the last power reading of each counted domain."""
    found = {}
    for name, domain in run.domains.items():
        rows = run.samples_by_domain.get(name) if domain.billed else None
        watts = None if rows is None else rows["power_watts"].dropna()
        if watts is not None and len(watts):
            found[name] = float(watts.iloc[-1])
    return found
