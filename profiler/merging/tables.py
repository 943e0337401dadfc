"""The four tables of a run in memory, and reading those of one process."""

import io
from typing import TYPE_CHECKING, Any

from profiler.merging.discovery import Outline, Record
from profiler.storage.csv_reader import read_table
from profiler.storage.reader import Tables
from profiler.storage.schema import METRICS, SAMPLES, SPANS, STEPS, Table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

FLOATS = {name: "float64" for name, kind in SPANS.types.items() if kind == "float"}
"""Of a table of spans, the columns whose cells may be empty."""
_CATEGORIES = {"gpu": "gpu_joules", "cpu": "cpu_joules", "dram": "dram_joules"}


def column_of(domain: str) -> str:
    """The column of ``steps.csv`` that a domain is billed in."""
    return _CATEGORIES.get(domain.partition(":")[0], "other_joules")


def read(record: Record, table: Table, *, partial: bool) -> "pd.DataFrame":
    """Read one of a process's tables."""
    return read_table(record.path, table, partial=partial)[0]


def outline(record: Record, *, partial: bool) -> Outline:
    """Read a record's steps and length."""
    import numpy as np

    if not record.has_tables:
        last, window = int(record.totals.get("steps", 0)), float(record.totals.get("window_seconds", 0.0))
        return Outline(
            record=record, ends=np.arange(last, last), end_seconds=np.empty(0), window_seconds=window
        )
    steps, spans = _ends(record, partial=partial), read(record, SPANS, partial=partial)
    ends = steps["end_seconds"].to_numpy()
    window = max(
        (float(frame["end_seconds"].iloc[-1]) for frame in (steps, spans) if len(frame)), default=0.0
    )
    return Outline(record=record, ends=steps["step"].to_numpy(), end_seconds=ends, window_seconds=window)


def _ends(record: Record, *, partial: bool) -> "pd.DataFrame":
    """The two columns of ``steps.csv`` that an outline takes, read twice as fast as all of them."""
    import pandas as pd

    content = (record.path / STEPS.filename).read_bytes()
    whole = io.BytesIO(content[: content.rfind(b"\n") + 1])
    try:
        return pd.read_csv(
            whole, usecols=["step", "end_seconds"], dtype={"step": "int64", "end_seconds": "float64"}
        )
    except ValueError:  # damaged, or without a header yet: the strict reader knows what to do about it
        return read(record, STEPS, partial=partial)


def tables_of(record: Record, blocks: "npt.NDArray[np.int64]", *, partial: bool) -> Tables:
    """Read a record's tables; of one that came as totals alone, what it comes to when spread evenly."""
    if not record.has_tables:
        return _spread(record, blocks)
    steps, spans, samples, metrics = (
        read(record, table, partial=partial) for table in (STEPS, SPANS, SAMPLES, METRICS)
    )
    return Tables(steps=steps, spans=spans, samples=samples, metrics=metrics)


def _spread(record: Record, blocks: "npt.NDArray[np.int64]") -> Tables:
    """Give every step of a rank the same time and the same joules."""
    import numpy as np
    import pandas as pd

    totals = record.totals
    last, window = int(totals.get("steps", 0)), float(totals.get("window_seconds", 0.0))
    ends = blocks[: np.searchsorted(blocks, last) + 1] if last else blocks[:0]
    last = int(ends[-1]) if len(ends) else 0
    counts = np.diff(ends, prepend=0)
    times = ends / max(last, 1) * window
    joules, spans = float(totals.get("step_joules") or 0.0), float(totals.get("span_joules") or 0.0)
    whole = max(joules + spans, 1e-300)
    by_domain: dict[str, float] = totals.get("domain_joules") or {}
    share = counts / max(last, 1) * joules
    columns: dict[str, Any] = {name: np.full(len(ends), np.nan) for name in STEPS.columns}
    columns |= {"step": ends, "step_count": counts, "start_seconds": times - counts / max(last, 1) * window}
    columns |= {"end_seconds": times, "nonfinite_count": 0 * counts, "backwards": 0 * counts, "phase": ""}
    columns |= {"total_joules": share, "uncertainty_joules": 0.0 * share}
    columns |= {"modelled_joules": share * float(totals.get("modelled_joules") or 0.0) / whole}
    for name, amount in by_domain.items():
        before = np.nan_to_num(columns[column_of(name)])
        columns[column_of(name)] = before + share * amount / whole
    return Tables(
        steps=pd.DataFrame(columns),
        spans=_one_span(window, spans, spans * float(totals.get("modelled_joules") or 0.0) / whole),
        samples=_straight(record, window, by_domain),
        metrics=pd.DataFrame({name: [] for name in METRICS.columns}),
    )


def _one_span(window: float, joules: float, modelled: float) -> "pd.DataFrame":
    import pandas as pd

    row = {"start_seconds": window, "end_seconds": window, "kind": "teardown", "total_joules": joules}
    return pd.DataFrame([{**dict.fromkeys(SPANS.columns, 0.0), **row, "modelled_joules": modelled}])


def _straight(record: Record, window: float, by_domain: dict[str, float]) -> "pd.DataFrame":
    import pandas as pd

    provenance = {str(domain["name"]): domain["provenance"] for domain in record.billed}
    rows = [
        {"time_seconds": time, "domain": name, "power_watts": amount / window if window else 0.0,
         "energy_joules": energy, "provenance": provenance.get(name, "counter")}
        for name, amount in by_domain.items()
        for time, energy in ((0.0, 0.0), (window, amount))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(SAMPLES.columns))
