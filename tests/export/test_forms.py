"""Forms: what their readers find in them. Strict validators are in tests/integrations_env."""

import json
import re

import pytest

from profiler import load_run
from profiler.cli import main
from profiler.export import FORMATS, export
from tests.support.form_samples import FORMS, SAMPLES, sample_runs
from tests.support.runs import write_run

META = {
    "versions": {"energy-profiler": "0.1.0", "python": "3.11.7", "torch": "2.8.0", "system": "Linux"},
    "prices": {"pue": 1.2, "grid_gco2e_per_kwh": 400.0, "grid_source": "as given", "country": "DEU"},
    "config": {"training_type": "fine-tuning"},
}
KWH = 2 * 400.0 * 900.0 * 1.2 / 3.6e6


@pytest.fixture
def runs(tmp_path):
    return [
        load_run(write_run(tmp_path / name, steps=3_592, meta={"name": name, **META}))
        for name in ("one", "two")
    ]


@pytest.fixture
def free(tmp_path):
    """A run without a carbon intensity."""
    return load_run(write_run(tmp_path / "free", steps=3_592))


def read(runs, name):
    return json.loads(export(runs, name))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_states_the_interval_and_the_measured_share(runs, name):
    text = export(runs, name).decode()
    assert FORMATS[name].takes_several
    assert re.search(r"90 % interval", text)
    assert "100 % measured" in text or '"1.0000"' in text or "100 % of the energy is from hardware" in text


@pytest.mark.parametrize("name", ["model-card", "eu-model-form"])
def test_names_stay_text_in_markdown(tmp_path, name):
    status = {
        "name": "<img src=x onerror=alert(1)>|`",
        "status": "interrupted",
    }  # so that a caveat has the name too
    form = export(
        [load_run(write_run(tmp_path / "run", steps=3_592, meta={**META, **status}))], name
    ).decode()
    assert "onerror" in form
    assert "<img" not in form.replace("\\<", "")


@pytest.mark.parametrize("name", FORMS)
def test_forms_go_to_stdout(runs, name, capsys):
    assert main(["export", *(str(run.path) for run in runs), "--format", name]) == 0
    assert capsys.readouterr().out.encode() == export(runs, name)


def test_model_card_is_read_by_the_hub(runs):
    cards = pytest.importorskip("huggingface_hub")
    card = cards.ModelCard(export(runs, "model-card").decode())
    emissions = card.data.to_dict()["co2_eq_emissions"]
    assert emissions["emissions"] == pytest.approx(KWH * 400.0, rel=0.05), "grams, as the Hub requires"
    assert emissions["training_type"] == "fine-tuning"
    assert emissions["geographical_location"] == "DEU"
    assert emissions["hardware_used"] == "1 x GPU, 1 x processor package"
    assert card.text.strip().startswith("## Environmental impact")


def test_model_card_without_an_intensity_has_no_emissions(free):
    cards = pytest.importorskip("huggingface_hub")
    card = cards.ModelCard(export(free, "model-card").decode())
    assert "co2_eq_emissions" not in card.data.to_dict()
    assert "give --country or --grid-gco2e-per-kwh" in card.text


@pytest.mark.parametrize("name", ['"', "a: b", "---", "\ud800", "x\x1b[31m", "\u2028", "|", "<script>"])
def test_names_cannot_break_a_form(tmp_path, name):
    run = load_run(write_run(tmp_path / "run", steps=40, meta={**META, "name": name}))
    cards = pytest.importorskip("huggingface_hub")
    assert cards.ModelCard(export(run, "model-card").decode()).data.to_dict()["co2_eq_emissions"]
    table = [line for line in export(run, "eu-model-form").decode().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {3}
    for form in ("cyclonedx", "spdx", "boamps"):
        assert read(run, form)


def rows(run):
    lines = export(run, "eu-model-form").decode().splitlines()
    return dict(
        re.fullmatch(r"\| (.*?) \| (.*) \|", line).groups() for line in lines if line.startswith("| ")
    )


def test_eu_form_has_megawatt_hours_and_hardware_days(runs):
    found = rows(runs)
    assert found["Amount of energy used for training"] == "0.00024 MWh"
    assert found["Training time, hardware days"] == "0.0208 days (1 x GPU)"
    assert found["Amount of computation used for training"].startswith("N/A")


def test_eu_form_estimates_operations_from_parameters_and_tokens(tmp_path):
    work = {"parameters": 124_000_000, "tokens": {"total": 1e9}}
    run = load_run(write_run(tmp_path / "run", steps=40, meta={"work": work}))
    assert rows(run)["Amount of computation used for training"].startswith(
        "7.4e+17 floating-point operations"
    )


def test_forms_of_a_run_without_energy_state_that_it_is_unknown(tmp_path):
    run = load_run(write_run(tmp_path / "run", steps=3, meta={"domains": [], "totals": None}))
    assert rows(run)["Amount of energy used for training"].startswith("N/A")
    model = read(run, "cyclonedx")["components"][0]["modelCard"]["considerations"][
        "environmentalConsiderations"
    ]
    assert "energyConsumptions" not in model
    package = next(node for node in read(run, "spdx")["@graph"] if node["type"] == "ai_AIPackage")
    assert "ai_energyConsumption" not in package
    assert "unknown" in package["comment"]


def test_evaluations_are_validation_in_cyclonedx(tmp_path):
    path = write_run(tmp_path / "run", steps=8, meta=META)
    spans = path / "spans.csv"
    spans.write_text(spans.read_text().replace(",setup,", ",evaluation,"))
    model = read(load_run(path), "cyclonedx")["components"][0]["modelCard"]["considerations"]
    consumptions = model["environmentalConsiderations"]["energyConsumptions"]
    assert [one["activity"] for one in consumptions] == ["fine-tuning", "validation"]
    values = [one["activityEnergyCost"]["value"] for one in consumptions]
    assert values == pytest.approx([800 * 1.2 / 3.6e6, 800 * 1.2 / 3.6e6])
    assert {one["energyProviders"][0]["energySource"] for one in consumptions} == {"unknown"}


def test_boamps_quality_follows_the_interval(runs):
    report = read(runs, "boamps")
    assert report["quality"] == "high"
    assert report["measures"][0]["powerConsumption"] == pytest.approx(KWH)
    assert report["task"]["taskStage"] == "finetuning"


def test_spdx_has_the_energy_of_fine_tuning(runs):
    package = next(node for node in read(runs, "spdx")["@graph"] if node["type"] == "ai_AIPackage")
    (energy,) = package["ai_energyConsumption"]["ai_finetuningEnergyConsumption"]
    assert energy["ai_energyQuantity"] == pytest.approx(KWH)
    assert energy["ai_energyUnit"] == "kilowattHour"


def test_samples_in_the_documentation_are_current(tmp_path):
    runs = sample_runs(tmp_path)
    for name, file in FORMS.items():
        assert (SAMPLES / file).read_bytes() == export(runs, name), "run python -m tests.support.form_samples"
