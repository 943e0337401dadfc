"""Energy by device and activity: the columns of the steps, and the samples within the spans outside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiler.analysis.breakdown import TRAINING, UNWRITTEN
from profiler.analysis.phase_energy import energy_by_phase
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
    steps = run.steps
    for phase, group in steps.groupby("phase", sort=False):
        left = group["total_joules"].fillna(0.0)
        for category, device in names.items():
            joules = group[f"{category}_joules"].fillna(0.0)
            left = left - joules
            total, later = float(joules.sum()), _later(group, joules, after)
            split = {} if phase else _phases(group, f"{category}_joules")
            for activity, share in (split or {str(phase) or TRAINING: 1.0}).items():
                yield device, activity, total * share, later * share
        yield "", str(phase) or TRAINING, float(left.sum()), _later(group, left, after)


def _later(rows: "pd.DataFrame", joules: "pd.Series[float]", after: float | None) -> float:
    return 0.0 if after is None else float(joules[rows["cumulative_joules"] > after].sum())


def _phases(steps: "pd.DataFrame", column: str) -> dict[str, float]:
    """Return the share of each phase in the energy of a device; empty where one of them is not known to 50 %."""
    if len(steps) < 2 or not float(steps[column].sum()) > 0.0:  # noqa: PLR2004 - one step has no variation
        return {}
    phases = energy_by_phase(steps.assign(total_joules=steps[column]))
    known = [(one.name, one.joules) for one in phases if one.joules is not None]
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
    for name, rows in run.samples.groupby("domain", sort=False):
        domain = run.domains.get(str(name))
        if domain is None or not domain.billed:
            continue
        times, joules = rows["time_seconds"].to_numpy(float), rows["energy_joules"].to_numpy(float)
        ends = (np.interp(spans[column], times, joules) for column in ("start_seconds", "end_seconds"))
        start, end = ends
        gained[names[kind_of(str(name)).category]] += np.maximum(end - start, 0.0)
    whole = sum(gained.values(), np.zeros(len(spans)))
    known = whole > _NOTHING
    shares = {
        device: np.divide(joules, whole, out=np.zeros(len(spans)), where=known)
        for device, joules in gained.items()
    }
    return {**shares, "": np.where(known, 0.0, 1.0)}
