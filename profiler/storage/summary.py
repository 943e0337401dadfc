"""What a recorded run comes to, from its tables."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from profiler.records import Metered, Refusal, Summary
from profiler.units import MICROJOULES_PER_JOULE

if TYPE_CHECKING:
    import pandas as pd

    from profiler.storage.reader import StoredRun


def summary_of(run: "StoredRun", joules: Mapping[str, float]) -> Summary:
    """Sum a run up.

    Args:
        run: The run.
        joules: Energy of each of its domains in the window, in joules.
    """
    totals, steps, spans = run.meta.get("totals") or {}, run.steps, run.spans
    metered = any(domain.billed for domain in run.domains.values())
    bridged = {
        entry["name"]: float(entry.get("bridged_seconds", 0.0)) for entry in run.meta.get("domains", ())
    }
    ends = [float(frame["end_seconds"].iloc[-1]) for frame in (steps, spans) if len(frame)]
    edge = totals.get("edge_joules", steps["uncertainty_joules"].iloc[-1] if len(steps) else 0.0)
    modelled = exact_sum(steps["modelled_joules"], spans["modelled_joules"])
    return Summary(
        path=str(run.path),
        name=str(run.meta.get("name", "")),
        status=run.status,
        started_at=str(run.meta.get("started_at", "")),
        window_seconds=max(ends, default=0.0),
        metered=tuple(
            Metered(domain=run.domains[name], joules=energy, bridged_seconds=bridged[name])
            for name, energy in joules.items()
        ),
        missing=tuple(run.meta.get("missing", ())),
        refusals=tuple(Refusal(**refusal) for refusal in run.meta.get("refusals", ())),
        warnings=run.warnings,
        steps=int(steps["step_count"].sum()),
        step_joules=exact_sum(steps["total_joules"]) if metered else None,
        step_seconds=float((steps["end_seconds"] - steps["start_seconds"]).sum()),
        **_training(steps, spans, metered=metered),
        span_joules=exact_sum(spans["total_joules"]) if metered else None,
        modelled_joules=modelled if metered else None,
        edge_joules=float(edge),
        sampler_cpu_seconds=run.meta.get("overhead", {}).get("sampler_cpu_seconds"),
    )


def _training(steps: "pd.DataFrame", spans: "pd.DataFrame", *, metered: bool) -> dict[str, Any]:
    """Energy and time from the start of the first step to the end of the last, with what lies between them."""
    if not len(steps):
        return {"training_joules": 0.0 if metered else None, "training_seconds": 0.0}
    start, end = float(steps["start_seconds"].iloc[0]), float(steps["end_seconds"].iloc[-1])
    between = spans[(spans["start_seconds"] >= start) & (spans["end_seconds"] <= end)]
    joules = exact_sum(steps["total_joules"], between["total_joules"]) if metered else None
    return {"training_joules": joules, "training_seconds": end - start}


def exact_sum(*columns: "pd.Series[float]") -> float:
    """Sum joules written in whole microjoules without rounding on the way."""
    whole = sum(
        int((column.dropna() * MICROJOULES_PER_JOULE).round().astype("int64").sum()) for column in columns
    )
    return whole / MICROJOULES_PER_JOULE
