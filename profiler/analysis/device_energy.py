"""Energy by device and activity: the columns of the steps, and the samples within the spans outside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.analysis.breakdown import TRAINING, UNWRITTEN
from profiler.analysis.phase_energy import PhaseTimes
from profiler.records import kind_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from profiler.storage.reader import StoredRun

    Array = npt.NDArray[np.float64]

_KNOWN = 0.5
"""Half of the 90 % interval of a phase, as a share of it, up to which the phase is a piece of its own."""
_NOTHING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The energy of one kind of device in one activity. All pieces add up to the total.

    Attributes:
        device: The domain, or the number and kind of several; empty where it is not recorded by device.
        activity: ``training steps``, a phase of them that is known to 50 %, a user phase, or the kind of a span.
        joules: Its energy, in joules.
        later_joules: The part of it after a moment of the run, in joules; 0 without one.
    """

    device: str
    activity: str
    joules: float
    later_joules: float = 0.0


def pieces_of(run: "StoredRun", after_joules: float | None = None) -> tuple[Piece, ...]:
    """Split the counted energy of a run by device and activity.

    Args:
        run: The run.
        after_joules: Joules since the start at a moment, after which the later part of each piece is counted.
    """
    names = _devices(run)
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for device, activity, joules, later in (
        *_in_steps(run, names, after_joules),
        *_outside(run, names, after_joules),
    ):
        before = found.get((device, activity), (0.0, 0.0))
        found[device, activity] = before[0] + joules, before[1] + later
    pieces = [
        Piece(device=device, activity=activity, joules=round(joules, 6), later_joules=round(later, 6))
        for (device, activity), (joules, later) in found.items()
        if joules > _NOTHING
    ]
    order = list(dict.fromkeys((*names.values(), "")))
    return tuple(
        sorted(pieces, key=lambda one: (order.index(one.device), one.activity != TRAINING, -one.joules))
    )


def _devices(run: "StoredRun") -> dict[str, str]:
    """Return the name of each category of counted devices."""
    members: dict[str, list[str]] = {}
    for name, domain in run.domains.items():
        if domain.billed:
            members.setdefault(kind_of(name).category, []).append(name)
    return {
        category: names[0] if len(names) == 1 else f"{len(names)} {category}"
        for category, names in members.items()
    }


def _in_steps(
    run: "StoredRun", names: dict[str, str], after: float | None
) -> Iterator[tuple[str, str, float, float]]:
    for phase, group in _user_phases(run.steps):
        left = group["total_joules"].fillna(0.0)
        # The phases of a single step cannot be separated.
        times = None if phase or len(group) < 2 else PhaseTimes(group)  # noqa: PLR2004
        for category, device in names.items():
            joules = group[f"{category}_joules"].fillna(0.0)
            left = left - joules
            total, later = float(joules.sum()), _later(group, joules, after)
            split = _phases(times, f"{category}_joules") if times is not None and total > 0.0 else {}
            for activity, share in (split or {phase or TRAINING: 1.0}).items():
                yield device, activity, total * share, later * share
        yield "", phase or TRAINING, float(left.sum()), _later(group, left, after)


def _user_phases(steps: "pd.DataFrame") -> "Iterator[tuple[str, pd.DataFrame]]":
    """Yield the rows of each user phase; in the usual case of a single one, the table itself."""
    names = steps["phase"].unique()
    if len(names) == 1:
        yield str(names[0]), steps
        return
    for name, rows in steps.groupby("phase", sort=False):
        yield str(name), rows


def _later(rows: "pd.DataFrame", joules: "pd.Series[float]", after: float | None) -> float:
    return 0.0 if after is None else float(joules[rows["cumulative_joules"] > after].sum())


def _phases(times: PhaseTimes, column: str) -> dict[str, float]:
    """Return the share of each phase in the energy of a device; empty where one of them is not known to 50 %."""
    known = [(one.name, one.joules) for one in times.energy(column) if one.joules is not None]
    total = sum(joules.median for _, joules in known)
    if not total or any(j.high - j.low > 2 * _KNOWN * j.median for _, j in known):
        return {}
    return {name: joules.median / total for name, joules in known}


def _outside(
    run: "StoredRun", names: dict[str, str], after: float | None
) -> Iterator[tuple[str, str, float, float]]:
    """Yield the energy of the spans: their totals, divided as the samples within them."""
    spans = run.spans[run.spans["total_joules"].notna()]
    shares = _shares(run, spans, names)
    for kind, group in spans.groupby("kind", sort=False):
        rows = spans.index.get_indexer(group.index)
        for device, share in shares.items():
            part = group["total_joules"] * share[rows]
            yield device, str(kind), float(part.sum()), _later(group, part, after)
    if run.unrecorded is not None:
        joules = run.unrecorded.step_joules + run.unrecorded.span_joules
        yield "", UNWRITTEN, max(0.0, joules), 0.0


def _shares(run: "StoredRun", spans: "pd.DataFrame", names: dict[str, str]) -> dict[str, "Array"]:
    """Return the share of each device in the energy of each span."""
    import numpy as np

    gained = {device: np.zeros(len(spans)) for device in names.values()}
    for name, rows in run.samples_by_domain.items():
        domain = run.domains.get(name)
        if domain is None or not domain.billed:
            continue
        times, joules = rows["time_seconds"].to_numpy(float), rows["energy_joules"].to_numpy(float)
        ends = (np.interp(spans[column], times, joules) for column in ("start_seconds", "end_seconds"))
        start, end = ends
        gained[names[kind_of(name).category]] += np.maximum(end - start, 0.0)
    whole = sum(gained.values(), np.zeros(len(spans)))
    known = whole > _NOTHING
    shares = {
        device: np.divide(joules, whole, out=np.zeros(len(spans)), where=known)
        for device, joules in gained.items()
    }
    return {**shares, "": np.where(known, 0.0, 1.0)}
