"""Devices of a merged run: their names, their entries in ``run.json``, and their energy over time.

Up to 32 devices keep a log each. Of more, those of one kind are added up (``gpu:all``); the single logs remain in the
directories of the processes.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from profiler.merging.discovery import Outline, Record
from profiler.records import Provenance, kind_of
from profiler.storage.schema import SAMPLES
from profiler.units import MICROJOULES_PER_JOULE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Array = npt.NDArray[np.float64]

MOST_DEVICES = 32
_STATES = ("limit_watts", "sm_mhz", "throttle")
_POINTS = 2_000
"""Samples kept of each log. Energies are cumulative, so the energy between the kept ones stays exact."""
_LEAST_POINTS = 64
_ALL_POINTS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Energy that one process counted of one device: joules since it began, over seconds of the merged window.

    ``states`` are the readings of its power limit, clock and throttle reasons, by the same seconds; None without any.
    """

    device: str
    record: Record
    domain: Mapping[str, Any]
    seconds: "Array"
    joules: "Array"
    states: "pd.DataFrame | None"

    @property
    def total(self) -> float:
        """Energy of the whole log, in joules."""
        return float(self.joules[-1])


def log_of(
    samples: "pd.DataFrame | None", record: Record, domain: Mapping[str, Any], device: str, *, start: float,
    kept_from: float, until: float, logs: int, last: float | None = None,
) -> Log | None:  # fmt: skip
    """Extract one device's energy from its samples; None without any that count.

    Args:
        samples: The process's samples of the device, if there are any.
        record: Its record.
        domain: The device's entry in its ``run.json``.
        device: An identifier of the device.
        start: Start of the process's window on the merged one.
        kept_from: From when on this process counts the device, on the merged window.
        until: End of the process's window on the merged one. A killed process has sampled beyond its last row; those
            samples are excluded.
        logs: Number of logs in all: the more there are, the fewer points each keeps.
        last: Joules at the end of the window; None for those of the samples.
    """
    import numpy as np

    if samples is None or kept_from == math.inf:
        return None
    seconds, joules = samples["time_seconds"].to_numpy() + start, samples["energy_joules"].to_numpy()
    states = _states(samples, seconds, until)
    if seconds[-1] > until or last is not None:
        last = float(np.interp(until, seconds, joules)) if last is None else last
        joules = np.minimum(joules, last)
        seconds, joules = np.append(seconds[seconds < until], until), np.append(joules[seconds < until], last)
    if kept_from > seconds[0]:
        at = float(np.interp(kept_from, seconds, joules))
        later = seconds > kept_from
        seconds, joules = np.append(kept_from, seconds[later]), np.append(0.0, joules[later] - at)
    points = max(min(_POINTS, _ALL_POINTS // max(logs, 1)), _LEAST_POINTS)
    if len(seconds) > points:
        chosen = np.unique(np.round(np.linspace(0, len(seconds) - 1, points)).astype(np.int64))
        seconds, joules = seconds[chosen], joules[chosen]
    return Log(device=device, record=record, domain=domain, seconds=seconds, joules=joules, states=states)


def _states(samples: "pd.DataFrame", seconds: "Array", until: float) -> "pd.DataFrame | None":
    """Return the readings of power limit, clock or throttle reasons by their seconds; None if there are none."""
    is_read = samples["throttle"] != ""
    for name in ("limit_watts", "sm_mhz"):
        is_read |= samples[name].notna()
    if not is_read.any():
        return None
    return samples[list(_STATES)].set_axis(seconds)[is_read.to_numpy()].loc[:until]


def combine(logs: Sequence[Log], end: float) -> "tuple[list[dict[str, Any]], pd.DataFrame]":
    """Return the entries for ``run.json``, and the table of samples up to the merged window's end."""
    import pandas as pd

    groups = _grouped(logs)
    entries = [_entry(name, group) for name, group in groups.items()]
    frames = [
        _frame(name, group, entry["provenance"], end)
        for (name, group), entry in zip(groups.items(), entries, strict=True)
    ]
    if not frames:
        return [], pd.DataFrame({name: [] for name in SAMPLES.columns})
    return entries, pd.concat(frames, ignore_index=True).sort_values(
        "time_seconds", kind="stable", ignore_index=True
    )


def _grouped(logs: Sequence[Log]) -> dict[str, list[Log]]:
    by_device: dict[str, list[Log]] = defaultdict(list)
    for log in logs:
        by_device[log.device].append(log)
    if len(by_device) > MOST_DEVICES:
        by_kind: dict[str, list[Log]] = defaultdict(list)
        for log in logs:
            by_kind[f"{str(log.domain['name']).partition(':')[0]}:all"].append(log)
        return dict(sorted(by_kind.items()))
    return _named(by_device)


def _named(by_device: Mapping[str, list[Log]]) -> dict[str, list[Log]]:
    """Name each device as its domain; where several have one name, append the rank or node it belongs to."""
    names = [str(group[0].domain["name"]) for group in by_device.values()]
    hosts = list(dict.fromkeys(group[0].record.host for group in by_device.values()))
    found = {}
    for name, group in zip(names, by_device.values(), strict=True):
        record = group[0].record
        own = f"rank-{record.rank}" if kind_of(name).is_accelerator else f"node-{hosts.index(record.host)}"
        found[name if names.count(name) == 1 else f"{name}@{own}"] = group
    return found


def _entry(name: str, group: Sequence[Log]) -> dict[str, Any]:
    """Combine the logs of a device, or of devices of a kind, whose gain errors are independent, in one entry."""
    first = group[0].domain
    whole = sum(log.total for log in group)
    devices: dict[str, float] = defaultdict(float)
    gain = 0.0
    for log in group:
        devices[log.device] += log.total * float(log.domain.get("gain_uncertainty", 0.0))
    if whole:
        is_modelled = first["provenance"] == Provenance.MODELLED
        gain = (sum if is_modelled else math.hypot)(
            *([devices.values()] if is_modelled else devices.values())
        )
    return {
        **first,
        "name": name,
        "parent": None,
        "device": first.get("device") if len(devices) == 1 else None,
        "provenance": _worst(log.domain["provenance"] for log in group),
        "gain_uncertainty": gain / whole if whole else float(first.get("gain_uncertainty", 0.0)),
        "edge_watts": math.hypot(*(float(log.domain.get("edge_watts", 0.0)) for log in group)),
        "drift_watts": math.hypot(*(float(log.domain.get("drift_watts", 0.0)) for log in group)),
        "notes": list(dict.fromkeys(note for log in group for note in log.domain.get("notes", ()))),
        "billed": bool(first.get("billed", True)),
        "billed_from_seconds": float(group[0].seconds[0]) if first.get("billed", True) else None,
        "bridged_seconds": sum(float(log.domain.get("bridged_seconds", 0.0)) for log in group) / len(devices),
        "bridged_joules": sum(float(log.domain.get("bridged_joules", 0.0)) for log in group),
        "idle_watts": _idle_watts(group),
        "throttled_seconds": first.get("throttled_seconds") if len(group) == 1 else None,
        "resets": sum(int(log.domain.get("resets", 0)) for log in group),
        "device_count": len(devices),
    }


def _idle_watts(group: Sequence[Log]) -> float | None:
    """Return the idle power of all devices of a group; None where that of one is unknown."""
    watts = {log.device: log.domain.get("idle_watts") for log in group}
    return None if None in watts.values() else math.fsum(map(float, filter(None, watts.values())))


def _worst(provenances: Any) -> str:
    order = [one.value for one in (Provenance.COUNTER, Provenance.INTEGRATED, Provenance.MODELLED)]
    return max(
        (str(one) for one in provenances), key=lambda one: order.index(one) if one in order else len(order)
    )


def _frame(name: str, group: Sequence[Log], provenance: str, end: float) -> "pd.DataFrame":
    """Add the logs up at the moments at which they change, or on a grid if there are too many."""
    import numpy as np
    import pandas as pd

    moments = np.unique(np.concatenate([log.seconds for log in group]))
    if len(moments) > _POINTS * len({log.device for log in group} if len(group) < MOST_DEVICES else [0]):
        moments = np.linspace(moments[0], moments[-1], _POINTS)
    if moments[-1] < end:
        moments = np.append(moments, end)
    joules = np.zeros(len(moments))
    for log in group:
        joules += np.interp(moments, log.seconds, log.joules)
    joules = np.round(joules * MICROJOULES_PER_JOULE) / MICROJOULES_PER_JOULE
    with np.errstate(divide="ignore", invalid="ignore"):
        watts = np.diff(joules, prepend=np.nan) / np.diff(moments, prepend=np.nan)
    frame = pd.DataFrame(
        {"time_seconds": moments, "domain": name, "power_watts": watts, "energy_joules": joules,
         "provenance": provenance, "limit_watts": np.nan, "sm_mhz": np.nan, "throttle": ""}
    )  # fmt: skip
    if len({log.device for log in group}) == 1:
        for log in group:
            if log.states is not None:
                _place(frame, log.states)
    return frame


def _place(frame: "pd.DataFrame", states: "pd.DataFrame") -> None:
    """Write each state of a device into the first row that is not before it."""
    rows = frame["time_seconds"].searchsorted(states.index.to_numpy())
    inside = rows < len(frame)
    for column in _STATES:
        frame.loc[rows[inside], column] = states[column].astype(frame[column].dtype).to_numpy()[inside]


def energy_by_rank(outlines: Sequence[Outline], logs: Sequence[Log]) -> list[dict[str, float]]:
    """Return the joules of each process: its own GPUs, and an equal share of what its node's processes share."""
    own: dict[tuple[int, int], float] = defaultdict(float)
    shared: dict[tuple[str, int], float] = defaultdict(float)
    processes: dict[tuple[str, int], int] = defaultdict(int)
    for outline in outlines:
        processes[outline.record.host, outline.record.attempt] += 1
    for log in logs:
        record = log.record
        if kind_of(str(log.domain["name"])).is_accelerator:
            own[record.rank, record.attempt] += log.total
        elif log.domain.get("billed", True):
            shared[record.host, record.attempt] += log.total
    found = []
    for outline in outlines:
        record = outline.record
        node = record.host, record.attempt
        mine, share = own[record.rank, record.attempt], shared[node] / processes[node]
        found.append({"own_joules": mine, "shared_joules": share, "joules": mine + share})
    return found
