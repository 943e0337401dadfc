"""Report of BoAmps 0.1 (Boavizta), the open format for the energy of AI tasks.

Required entries that a run does not record are ``unknown`` or ``other``; settings of the run with the names of BoAmps
fill them: ``taskFamily``, ``algorithmName``, ``dataType``, ``infraType``.
"""

import json
from typing import TYPE_CHECKING, Any

from profiler.errors import UsageError
from profiler.export import form_text as words
from profiler.export.facts import facts_of
from profiler.records import Provenance, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiler.export.facts import Facts
    from profiler.records import Interval
    from profiler.run import Run

SPECIFICATION = "https://github.com/Boavizta/BoAmps/tree/main/model"
_QUALITIES = {"high": 0.10, "medium": 0.25, "low": 0.50}
"""Largest error of each grade, as a share."""
_DATA_TYPES = frozenset(
    {"tabular", "audio", "boolean", "image", "video", "object", "text", "token", "word", "other"}
)
_INFRASTRUCTURES = frozenset({"publicCloud", "privateCloud", "onPremise", "other"})
_BYTES_PER_GB = 1e9
_BILLION = 1e9


def export(runs: "Sequence[Run]") -> bytes:
    """Return the report as JSON.

    Raises:
        UsageError: The energy is unknown; the format requires it.
    """
    facts = facts_of(runs)
    if facts.kwh is None:
        raise UsageError("a BoAmps report requires an energy, and at least one run has none.")
    content = {
        "header": _header(facts),
        "task": _task(facts),
        "measures": [_measure(facts, facts.kwh)],
        **_system(facts),
        "software": {"language": "python", **_named("version", facts.versions.get("python"))},
        "infrastructure": {
            "infraType": _chosen(facts.config.get("infraType"), _INFRASTRUCTURES),
            "components": _components(facts),
        },
        **_environment(facts),
        **_named("quality", quality(facts)),
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def quality(facts: "Facts") -> str | None:
    """Return the grade that contains the interval; None if devices are missing or it is wider than the lowest grade."""
    if facts.kwh is None or not facts.kwh.median or facts.is_incomplete:
        return None
    error = (facts.kwh.high - facts.kwh.median) / facts.kwh.median
    return next((grade for grade, largest in _QUALITIES.items() if error <= largest), None)


def _header(facts: "Facts") -> dict[str, Any]:
    return {
        "formatVersion": "0.1",
        "formatVersionSpecificationUri": SPECIFICATION,
        "reportId": str(facts.uuid),
        "reportDatetime": _moment(facts.ended),
        "reportStatus": "draft",
    }


def _moment(when: Any) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S") if when is not None else words.UNKNOWN


def _task(facts: "Facts") -> dict[str, Any]:
    algorithm = {
        **_named("algorithmName", _text(facts, "algorithmName")),
        **_named("parametersNumber", facts.parameters and facts.parameters / _BILLION),
        **(
            {"framework": "pytorch", "frameworkVersion": words.plain(str(v))}
            if (v := facts.versions.get("torch"))
            else {}
        ),
    }
    unit, quantity = _quantity(facts)
    data_type = facts.config.get("dataType") or unit
    dataset = {
        "dataUsage": "input",
        "dataType": _chosen(data_type, _DATA_TYPES),
        **_named("dataQuantity", quantity),
    }
    return {
        "taskStage": "finetuning" if facts.stage == "fine-tuning" else "training",
        "taskFamily": _text(facts, "taskFamily") or words.UNKNOWN,
        "algorithms": [algorithm],
        "dataset": [dataset],
        "taskDescription": words.plain(f"{facts.name}. {words.methods(facts)}"),
    }


def _quantity(facts: "Facts") -> tuple[str, float | None]:
    if "tokens" in facts.work:
        return "token", facts.work["tokens"]
    return "other", facts.work.get("samples")


def _text(facts: "Facts", key: str) -> str | None:
    value = facts.config.get(key)
    return words.plain(value) if isinstance(value, str) else None


def _measure(facts: "Facts", kwh: "Interval") -> dict[str, Any]:
    return {
        "measurementMethod": words.TOOL,
        "version": str(facts.versions.get(words.TOOL, words.VERSION)),
        **_named("cpuTrackingMode", _tracking(facts, accelerators=False)),
        **_named("gpuTrackingMode", _tracking(facts, accelerators=True)),
        "powerConsumption": kwh.median,
        "measurementDuration": facts.window_seconds,
        **({"measurementDateTime": _moment(facts.began)} if facts.began is not None else {}),
    }


def _tracking(facts: "Facts", *, accelerators: bool) -> str | None:
    found = [
        "constant" if source.provenance is Provenance.MODELLED and "constant" in source.text else source.text
        for source in facts.sources
        if any(_is_tracked(domain, accelerators=accelerators) for domain in source.domains)
    ]
    return words.plain("; ".join(dict.fromkeys(found))) or None


def _is_tracked(domain: str, *, accelerators: bool) -> bool:
    kind = kind_of(domain)
    return kind.measures_accelerators_only if accelerators else "cpu" in kind.covers


def _system(facts: "Facts") -> dict[str, Any]:
    system = facts.versions.get("system")
    return {"system": {"os": words.plain(str(system))}} if system else {}


def _components(facts: "Facts") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind, counts in (("gpu", facts.accelerators), ("cpu", facts.processors)):
        found += [
            {"componentName": words.plain(name), "componentType": kind, "nbComponent": count}
            for name, count in counts.items()
        ]
    if facts.memory_bytes is not None:
        found.append(
            {"componentType": "ram", "nbComponent": 1, "memorySize": facts.memory_bytes / _BYTES_PER_GB}
        )
    return found or [{"componentType": "server", "nbComponent": 1}]


def _environment(facts: "Facts") -> dict[str, Any]:
    grids = {prices.grid_gco2e_per_kwh for prices in facts.prices}
    if not facts.country:  # the format requires it
        return {}
    grid = grids.pop() if len(grids) == 1 else None
    return {
        "environment": {
            "country": words.plain(facts.country),
            **_named("powerSourceCarbonIntensity", grid),
        }
    }


def _chosen(value: Any, choices: frozenset[str]) -> str:
    return str(value) if value in choices else "other"


def _named(name: str, value: Any) -> dict[str, Any]:
    return {} if value is None else {name: value}
