"""Forms, checked by the validators and readers of their standards."""

import io
import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from jsonschema import Draft4Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4
from spdx_python_model import v3_0_1 as spdx

from profiler import load_run
from profiler.errors import UsageError
from profiler.export import export
from tests.support.form_samples import sample_runs
from tests.support.runs import write_run

SCHEMAS = Path(__file__).parent / "boamps_schema"
STRANGE = {
    "one step": {"steps": 1},
    "hostile name": {"steps": 3, "meta": {"name": '=1+1</script>\x1b[31m\u202e\u2028\n,"\ud800'}},
    "no name": {"steps": 3, "meta": {"name": ""}},
    "no start": {"steps": 3, "meta": {"started_at": ""}},
    "no energy": {"steps": 3, "meta": {"domains": [], "totals": None}},
    "a device without a sensor": {"steps": 3, "meta": {"missing": ["gpu:1"]}},
    "strange settings": {
        "steps": 3,
        "meta": {"config": {"taskFamily": 3, "dataType": "smell", "training_type": None}},
    },
}


@pytest.fixture(params=["samples", *STRANGE])
def runs(request, tmp_path):
    if request.param == "samples":
        return sample_runs(tmp_path)
    return [load_run(write_run(tmp_path / "run", **STRANGE[request.param]))]


def test_cyclonedx_passes_its_strict_validator(runs):
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(export(runs, "cyclonedx").decode())
    assert errors is None


def boamps_validator():
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    resources = [(one["id"], Resource(one, DRAFT4)) for one in schemas.values()]
    return Draft4Validator(schemas["report_schema.json"], registry=Registry().with_resources(resources))


def test_boamps_passes_its_schema(runs):
    if runs[0].total_joules is None:
        with pytest.raises(UsageError, match="requires an energy"):
            export(runs, "boamps")
        return
    assert list(boamps_validator().iter_errors(json.loads(export(runs, "boamps")))) == []


@pytest.mark.parametrize("part", ["measures", "task", "infrastructure"])
def test_the_schema_of_boamps_finds_what_is_missing(tmp_path, part):
    report = json.loads(export(sample_runs(tmp_path), "boamps"))
    assert boamps_validator().is_valid(report)
    del report[part]
    assert not boamps_validator().is_valid(report)


def test_spdx_is_read_by_its_model(runs):
    found = spdx.SHACLObjectSet()
    spdx.JSONLDDeserializer().read(io.BytesIO(export(runs, "spdx")), found)
    assert not list(found.missing_ids)
    (package,) = found.foreach_type(spdx.ai_AIPackage)
    assert "% interval" in package.comment or "unknown" in package.comment
    if runs[0].total_joules is None:
        assert package.ai_energyConsumption is None
        return
    (energy,) = package.ai_energyConsumption.ai_trainingEnergyConsumption
    unit = spdx.ai_EnergyUnitType.NAMED_INDIVIDUALS["kilowattHour"]
    assert energy.ai_energyUnit == unit
    assert energy.ai_energyQuantity > 0
