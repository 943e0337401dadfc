"""Energy of a run that bought nothing, by cause. No joule belongs to two causes.

The causes are examined in the order of `CAUSES`. Each takes joules of rows from what earlier causes left, so that
their sum never exceeds the total. A cause below 2 % of the total is not reported.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from profiler.analysis.curve import trainings
from profiler.analysis.phase_energy import of_run
from profiler.analysis.window_energy import gain_variance
from profiler.errors import UsageError
from profiler.records import CurveState, Interval, kind_of
from profiler.uncertainty import Z_90

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from profiler.forecasting import CurveFit
    from profiler.storage.reader import StoredRun

    Array = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]
    Indices = npt.NDArray[np.int64]

RESTARTS = "lost_to_restarts"
NONFINITE = "nonfinite"
AFTER_BEST = "after_best_level"
THROTTLED = "throttled"
DATA_WAIT = "data_wait"
EVALUATION = "evaluation"
IDLE = "idle"
CAUSES = (RESTARTS, NONFINITE, AFTER_BEST, THROTTLED, DATA_WAIT, EVALUATION, IDLE)
"""Causes in order of precedence."""

LEAST_SHARE = 0.02
"""Smallest part of the total that is reported."""
ALLOWED_SHARE = 0.1
"""Part of the total that evaluations may take before the rest counts as waste."""
WITHIN = 0.01
"""A flat curve has reached its level from the point at which it is this close to it, relative to the level."""
_IDLE_KINDS = ("stall", "idle")
_LOST_KIND = "lost"
_EVALUATION_KIND = "evaluation"
_SLOWDOWNS = ("thermal", "brake", "slowdown")
"""Parts of throttle reasons that are faults. A power limit is a choice, which can save energy, so it is no waste."""
_FEWEST_ROWS = 20
"""Rows that each group of a comparison needs."""
_BATCHES = 20
_ROUNDING = 1e-9
_BLOCKING = 0.2
"""Part of a second by which a step gets longer per second of data loading, below which loading is hidden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waste:
    """Energy of one cause.

    Attributes:
        name: One of `CAUSES`.
        joules: The energy in joules.
        share: Its part of the total.
        low: Lower end of its 90 % interval, in joules.
        high: Upper end, in joules.
        allowed_share: The part of the total that this activity may take, which is not included; None without one.
    """

    name: str
    joules: float
    share: float
    low: float
    high: float
    allowed_share: float | None = None


@dataclass(slots=True)
class _Ledger:
    """The rows of a run in order of time, and the joules of each that no cause has taken yet."""

    start: "Array"
    end: "Array"
    inside: "Indices"
    """The rows that are steps ..."""
    steps: "Indices"
    """... and the row of the table of steps that each of them is."""
    spans: "Indices"
    """The rows that are spans ..."""
    kinds: "npt.NDArray[np.str_]"
    """... and the kind of each of them."""
    joules: "Array"
    left: "Array"
    edge: "Array"
    """Standard deviation of the cumulative joules at the end of each row."""
    relative: float
    """Relative standard deviation common to all joules of the run."""
    taken: dict[str, Interval] = field(default_factory=dict)

    def of_kinds(self, *kinds: str) -> "Flags":
        """Return true for the spans of some kinds."""
        import numpy as np

        rows = np.zeros(len(self.left), dtype=bool)
        rows[self.spans[np.isin(self.kinds, kinds)]] = True
        return rows

    def of_steps(self, column: "pd.Series[Any]") -> "Array":
        """Return a column of the table of steps in order of time, with 0 for what is missing."""
        return _filled(column.to_numpy(dtype=float)[self.steps])

    def take(self, cause: str, rows: "Flags", joules: "Array | None" = None, sigma: float = 0.0) -> None:
        """Assign joules of the selected rows to a cause, at most what is left of each.

        Args:
            cause: The cause.
            rows: The rows.
            joules: Joules of each row; by default all that is left.
            sigma: Standard deviation of their sum, in joules, beside the errors of the sensors.
        """
        import numpy as np

        if not rows.any():
            return
        wanted = self.left if joules is None else np.minimum(joules, self.left)
        amount = np.where(rows, wanted, 0.0)
        self.left = self.left - amount
        total = float(amount.sum())
        edges = math.sqrt(2.0) * float(self.edge[rows].max())
        spread = Z_90 * math.sqrt((self.relative * total) ** 2 + edges**2 + sigma**2)
        self.taken[cause] = Interval(low=max(total - spread, 0.0), median=total, high=total + spread)


def waste_of(
    run: "StoredRun",
    fits: "Mapping[int, CurveFit]",
    *,
    allowed_share: float = ALLOWED_SHARE,
) -> tuple[Waste, ...]:
    """Return the energy of a run that bought nothing, by cause, in order of precedence.

    Args:
        run: The run.
        fits: The fit of each training in the process, by its index, where there is one.
        allowed_share: Part of the total that evaluations may take.

    Returns:
        Causes above 2 % of the total; empty for a run without metered energy.

    Raises:
        UsageError: ``allowed_share`` is not between 0 and 1.
    """
    if not 0.0 <= allowed_share <= 1.0:
        raise UsageError(f"allowed_share must lie between 0 and 1, not {allowed_share!r}.")
    ledger = _ledger(run)
    total = float(ledger.joules.sum())
    if total <= 0.0:
        return ()
    ledger.take(RESTARTS, ledger.of_kinds(_LOST_KIND))
    windows = _windows(run, ledger)
    _take_nonfinite(run, ledger, windows)
    _take_after_best(ledger, fits, windows)
    _take_throttled(run, ledger)
    _take_data_wait(run, ledger)
    _take_evaluation(ledger, allowed_share * total)
    ledger.take(IDLE, ledger.of_kinds(*_IDLE_KINDS))
    return tuple(_reported(ledger, total, allowed_share))


def _reported(ledger: _Ledger, total: float, allowed_share: float) -> Iterator[Waste]:
    for cause in CAUSES:
        found = ledger.taken.get(cause)
        if found is not None and found.median >= LEAST_SHARE * total:
            yield Waste(
                name=cause,
                joules=found.median,
                share=found.median / total,
                low=found.low,
                high=min(found.high, max(total, found.median)),
                allowed_share=allowed_share if cause == EVALUATION else None,
            )


def _ledger(run: "StoredRun") -> _Ledger:
    import numpy as np

    tables = (run.steps, run.spans)

    def column(name: str) -> "Array":
        return np.concatenate([table[name].to_numpy(dtype=float) for table in tables])

    start, end = column("start_seconds"), column("end_seconds")
    order = np.lexsort((end, start))
    is_step = order < len(run.steps)
    inside, spans = np.flatnonzero(is_step), np.flatnonzero(~is_step)
    kinds = run.spans["kind"].to_numpy(dtype=object).astype(str)
    joules = _filled(column("total_joules")[order]).clip(min=0.0)
    by_domain = run.energy_by_domain()
    counted = sum(by_domain.values())
    return _Ledger(
        start=start[order],
        end=end[order],
        inside=inside,
        steps=order[inside],
        spans=spans,
        kinds=kinds[order[spans] - len(run.steps)],
        joules=joules,
        left=joules.copy(),
        edge=_filled(column("uncertainty_joules")[order]),
        relative=gain_variance(run.domains, by_domain) ** 0.5 / counted if counted > 0.0 else 0.0,
    )


def _filled(values: "Array") -> "Array":
    """Replace missing values by 0."""
    import numpy as np

    return np.where(np.isnan(values), 0.0, values)


def _windows(run: "StoredRun", ledger: _Ledger) -> dict[int, tuple[float, float]]:
    """Return the seconds from the first step of each training to the first step of the next, or to the end."""
    steps, known = run.steps, trainings(run)
    if not len(steps):
        return {}
    if len(known) == 1:
        starts = [float(steps["start_seconds"].iloc[0])]
    else:
        first = steps.groupby("training")["start_seconds"].min()
        starts = [float(first[index]) for index in known]
    ends = [*starts[1:], float(ledger.end.max())]
    return dict(zip(known, zip(starts, ends, strict=True), strict=True))


def _within(ledger: _Ledger, start: float, end: float) -> "Flags":
    flags: Flags = (ledger.start >= start - _ROUNDING) & (ledger.start < end)
    return flags


def _take_nonfinite(run: "StoredRun", ledger: _Ledger, windows: Mapping[int, tuple[float, float]]) -> None:
    """Take the rows after the last finite loss of each training whose later losses are not finite."""
    import numpy as np

    rows = np.zeros(len(ledger.left), dtype=bool)
    for index, (start, end) in windows.items():
        steps = run.steps if len(windows) == 1 else run.steps[run.steps["training"] == index]
        finite = np.flatnonzero(np.isfinite(steps["loss"].to_numpy(dtype=float)))
        last = int(finite[-1]) + 1 if finite.size else 0
        after = steps.iloc[last:]
        if not (after["nonfinite_count"] > 0).any():
            continue
        begin = float(steps["end_seconds"].iloc[last - 1]) if last else start
        rows |= _within(ledger, begin, end)
    ledger.take(NONFINITE, rows)


def _take_after_best(
    ledger: _Ledger,
    fits: "Mapping[int, CurveFit]",
    windows: Mapping[int, tuple[float, float]],
) -> None:
    """Take the rows after the best level of curves that stopped improving."""
    import numpy as np

    cumulative = np.cumsum(ledger.joules)
    rows = np.zeros(len(ledger.left), dtype=bool)
    for index, fit in fits.items():
        best = best_joules(fit)
        if best is None or index not in windows:
            continue
        # A row is counted where it begins after the best level.
        after = cumulative - ledger.joules >= best - _ROUNDING * max(best, 1.0)
        rows |= after & _within(ledger, *windows[index])
    ledger.take(AFTER_BEST, rows)


def best_joules(fit: "CurveFit") -> float | None:
    """Return the joules since the start at which a curve that stopped improving was at its best level.

    For a flat curve it is the first point within 1 % of its level now. None for a curve that improves or is too short,
    and for a flat curve with a plan of the learning rate ahead, which may still lower it.
    """
    import numpy as np

    if fit.state not in (CurveState.FLAT, CurveState.DIVERGED, CurveState.RISING):
        return None
    levels = fit.smoothed.log_values
    if not len(levels) or (fit.state is CurveState.FLAT and fit.planned_joules is not None):
        return None
    if fit.state is not CurveState.FLAT:
        return float(fit.smoothed.joules[int(np.argmin(levels))])
    reached = fit.smoothed.first_crossing(fit.log_now[1] + math.log1p(WITHIN))
    return reached if math.isfinite(reached) else None


def _take_throttled(run: "StoredRun", ledger: _Ledger) -> None:
    """Take the joules by which steps on a throttled board cost more than the other steps of the run."""
    import numpy as np

    inside = ledger.inside
    slowed = _slowed_seconds(run.samples_by_domain) if len(inside) else []
    if not slowed:
        return
    begin, end = ledger.start[inside], ledger.end[inside]
    share = np.zeros(len(inside))
    for starts, ends in slowed:
        share = np.maximum(share, _overlap(begin, end, starts, ends))
    counts = ledger.of_steps(run.steps["step_count"])
    each = ledger.joules[inside] / counts
    is_slow, is_free = share > 0.5, share == 0.0  # noqa: PLR2004 - most of the row
    if min(is_slow.sum(), is_free.sum()) < _FEWEST_ROWS:
        return
    usual = float(np.average(each[is_free], weights=counts[is_free]))
    excess = np.zeros(len(ledger.left))
    excess[inside] = np.where(is_slow, np.maximum(each - usual, 0.0) * counts, 0.0)
    net = float(((each - usual) * counts)[is_slow].sum())
    error = float(counts[is_slow].sum()) * math.hypot(
        standard_error(each[is_slow]), standard_error(each[is_free])
    )
    if net <= Z_90 * error:
        return
    # The noise of single steps averages out, while the sum of their positive parts would not.
    scale = min(net / float(excess.sum()), 1.0)
    rows = np.zeros(len(ledger.left), dtype=bool)
    rows[inside[is_slow]] = True
    ledger.take(THROTTLED, rows, scale * excess, sigma=error)


def _slowed_seconds(samples: "Mapping[str, pd.DataFrame]") -> "list[tuple[Array, Array]]":
    """Return for each accelerator the starts and ends of the times at which heat or the supply slowed it."""
    import numpy as np

    found = []
    for name, rows in samples.items():
        if "throttle" not in rows or not kind_of(name).is_accelerator:
            continue
        known = rows[rows["throttle"].notna() & (rows["throttle"] != "")]
        if not len(known):
            continue
        times = known["time_seconds"].to_numpy(dtype=float)
        is_slow = known["throttle"].map(is_slowdown).to_numpy(dtype=bool)
        # A reading holds until the next one.
        ends = np.append(times[1:], float(rows["time_seconds"].max()))
        chosen = is_slow & (ends > times)
        if chosen.any():
            found.append((times[chosen], ends[chosen]))
    return found


def is_slowdown(reasons: object) -> bool:
    """Return True if throttle reasons contain heat or the power supply, and not only a chosen limit."""
    return any(word in str(reasons).lower() for word in _SLOWDOWNS)


def _overlap(begin: "Array", end: "Array", starts: "Array", ends: "Array") -> "Array":
    """Return the part of each row that lies in the given stretches of time."""
    import numpy as np

    lengths = np.concatenate([[0.0], np.cumsum(ends - starts)])

    def before(moments: "Array") -> "Array":
        after = np.searchsorted(starts, moments, side="right")
        inside = np.clip(
            moments - starts[np.maximum(after - 1, 0)], 0.0, (ends - starts)[np.maximum(after - 1, 0)]
        )
        return np.where(after > 0, lengths[np.maximum(after - 1, 0)] + inside, 0.0)

    seconds = np.maximum(end - begin, _ROUNDING)
    return np.asarray((before(end) - before(begin)) / seconds)


def standard_error(values: "Array") -> float:
    """Return the standard error of a mean from the means of 20 consecutive batches, which allows for correlation."""
    import numpy as np

    pieces = min(_BATCHES, len(values))
    if pieces < 2:  # noqa: PLR2004 - a spread takes two values
        return math.inf
    means = np.array([piece.mean() for piece in np.array_split(values, pieces)])
    return float(means.std(ddof=1) / math.sqrt(pieces))


def _take_data_wait(run: "StoredRun", ledger: _Ledger) -> None:
    """Take the energy of the time in which steps waited for data."""
    import numpy as np

    steps, inside = run.steps, ledger.inside
    if "data_seconds" not in steps or not len(steps):
        return
    waits = ledger.of_steps(steps["data_seconds"])
    seconds = ledger.end[inside] - ledger.start[inside]
    if waits.sum() <= 0.0 or _is_hidden(run, waits, seconds, ledger.of_steps(steps["step_count"])):
        return
    seconds = np.maximum(seconds, _ROUNDING)
    shares = np.clip(waits / seconds, 0.0, 1.0)
    by_time = float((shares * ledger.joules[inside]).sum())
    phase = next((one for one in of_run(run) if one.name == "data"), None)
    if by_time <= 0.0 or phase is None or phase.joules is None:
        return
    joules = np.zeros(len(ledger.left))
    joules[inside] = shares * ledger.joules[inside] * min(phase.joules.median / by_time, 1.0)
    rows = np.zeros(len(ledger.left), dtype=bool)
    rows[inside] = True
    sigma = (phase.joules.high - phase.joules.low) / 2.0 / Z_90
    ledger.take(DATA_WAIT, rows, joules, sigma=sigma)


def _is_hidden(run: "StoredRun", waits: "Array", seconds: "Array", counts: "Array") -> bool:
    """Return True if an accelerator works while the host loads data: longer waits do not make steps longer.

    Args:
        run: The run.
        waits: Seconds of each row in which its steps waited for data.
        seconds: Length of each row.
        counts: Number of steps of each row.
    """
    import numpy as np

    if not any(kind_of(name).is_accelerator for name in run.energy_by_domain()):
        return False
    each, length = waits / counts, seconds / counts
    if len(each) < _FEWEST_ROWS or float(np.std(each)) <= 0.01 * float(np.mean(length)):
        return False
    slope = float(np.cov(each, length)[0, 1] / np.var(each, ddof=1))
    return slope < _BLOCKING


def _take_evaluation(ledger: _Ledger, allowed: float) -> None:
    """Take what evaluations cost beyond the allowed joules, from all of them in proportion."""
    rows = ledger.of_kinds(_EVALUATION_KIND)
    spent = float(ledger.joules[rows].sum())
    if spent > allowed:
        ledger.take(EVALUATION, rows, ledger.joules * ((spent - allowed) / spent))
