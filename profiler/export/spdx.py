"""SPDX 3.0.1: an AI package with its training energy, as JSON-LD.

SPDX has no field for an interval or a measured share; they are part of the package's comment.
"""

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from profiler.export import form_text as words
from profiler.export.facts import facts_of
from profiler.reporting import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiler.export.facts import Facts
    from profiler.run import Run

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
_CREATION = "_:creation"


def export(runs: "Sequence[Run]") -> bytes:
    """Return the document."""
    facts = facts_of(runs)
    package, tool, document = (
        f"urn:uuid:{uuid.uuid5(facts.uuid, part)}" for part in ("package", "tool", "document")
    )
    content = {
        "@context": CONTEXT,
        "@graph": [
            {
                "@id": _CREATION,
                "type": "CreationInfo",
                "specVersion": "3.0.1",
                # The time of the record, not of the export: the same runs give the same document.
                "created": f"{facts.ended or datetime.fromtimestamp(0, UTC):%Y-%m-%dT%H:%M:%SZ}",
                "createdBy": [tool],
            },
            {
                "spdxId": tool,
                "type": "SoftwareAgent",
                "creationInfo": _CREATION,
                "name": f"{words.TOOL} {words.VERSION}",
            },
            {
                "spdxId": package,
                "type": "ai_AIPackage",
                "creationInfo": _CREATION,
                "name": words.plain(facts.name) or "model",
                "comment": _comment(facts),
                **_energy(facts),
            },
            {
                "spdxId": document,
                "type": "SpdxDocument",
                "creationInfo": _CREATION,
                "profileConformance": ["core"],
                "rootElement": [package],
                "element": [package, tool],
            },
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _comment(facts: "Facts") -> str:
    energy = "unknown" if facts.kwh is None else words.amount(facts.kwh, text.kwh)
    return f"Energy of the training: {energy}, {words.measured(facts)}. {words.methods(facts)}"


def _energy(facts: "Facts") -> dict[str, Any]:
    if facts.kwh is None:
        return {}
    stage = "finetuning" if facts.stage == "fine-tuning" else "training"
    description = {
        "type": "ai_EnergyConsumptionDescription",
        "ai_energyQuantity": facts.kwh.median,
        "ai_energyUnit": "kilowattHour",
    }
    return {
        "ai_energyConsumption": {
            "type": "ai_EnergyConsumption",
            f"ai_{stage}EnergyConsumption": [description],
        }
    }
