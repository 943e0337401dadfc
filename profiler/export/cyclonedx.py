"""CycloneDX 1.6 (ECMA-424): a machine-learning model with its energy as environmental considerations.

The standard gives neither an interval nor a measured share a field, so they are properties.
"""

import json
from typing import TYPE_CHECKING, Any

from profiler.export import form_text as words
from profiler.export.facts import facts_of
from profiler.records import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiler.export.facts import Facts
    from profiler.run import Run

_GRAMS_PER_TONNE = 1e6
_UNKNOWN = "unknown"


def export(runs: "Sequence[Run]") -> bytes:
    """Return the bill of materials as JSON."""
    facts = facts_of(runs)
    name = words.plain(facts.name) or "model"
    content = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{facts.uuid}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": words.TOOL, "version": words.VERSION}]},
        },
        "components": [
            {
                "type": "machine-learning-model",
                "bom-ref": name,
                "name": name,
                "modelCard": {"considerations": {"environmentalConsiderations": _considerations(facts)}},
            }
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _considerations(facts: "Facts") -> dict[str, Any]:
    properties = [
        _property("energy", "unknown" if facts.kwh is None else "kWh at the building's meter"),
        *_ends("energy", facts.kwh, "kwh"),
        *_ends("co2", facts.gco2e, "gco2e"),
        _property(
            "measured_share", f"{facts.measured_share:.4f}" if facts.measured_share is not None else "unknown"
        ),
        _property("method", words.methods(facts)),
    ]
    if facts.kwh is None:
        return {"properties": properties}
    stage = "fine-tuning" if facts.stage == "fine-tuning" else "training"
    consumptions = [_consumption(facts, stage, 1.0 - facts.validation_share)]
    if facts.validation_share:
        consumptions.append(_consumption(facts, "validation", facts.validation_share))
    return {"energyConsumptions": consumptions, "properties": properties}


def _consumption(facts: "Facts", activity: str, share: float) -> dict[str, Any]:
    assert facts.kwh is not None
    cost = {"value": facts.kwh.median * share, "unit": "kWh"}
    emitted = {}
    if facts.gco2e is not None:
        tonnes = facts.gco2e.median * share / _GRAMS_PER_TONNE
        emitted = {"co2CostEquivalent": {"value": tonnes, "unit": "tCO2eq"}}
    provider = {"organization": {"name": _UNKNOWN}, "energySource": _UNKNOWN, "energyProvided": cost}
    return {"activity": activity, "energyProviders": [provider], "activityEnergyCost": cost, **emitted}


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"{words.TOOL}:{name}", "value": value}


def _ends(name: str, interval: Interval | None, unit: str) -> list[dict[str, str]]:
    if interval is None:
        return []
    ends = {"low": interval.low, "high": interval.high}
    return [_property(f"{name}_90_percent_{end}_{unit}", f"{value:.6g}") for end, value in ends.items()]
