"""Settings of the training in ``EnergyProfiler(config=...)``: flat, plain, finite, and stored."""

import json
import math
import re

import numpy as np
import pytest
import torch

from profiler import EnergyProfiler
from profiler.config import ProfilerConfig, keywords, with_environment
from profiler.errors import UsageError
from tests.support.small_training import scripted, train


def test_scalars_of_numpy_and_torch_become_numbers():
    config = {"lr": np.float32(0.5), "layers": torch.tensor(3), "name": "mlp", "amp": True, "seed": None}
    plain = {"lr": 0.5, "layers": 3, "name": "mlp", "amp": True, "seed": None}
    assert ProfilerConfig(config=config).config == plain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_period_seconds", "fast"),
        ("sensors", 3),
        ("run_dir", 3),
        ("resume", b"run"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(name, value):
    with pytest.raises(UsageError, match=name):
        ProfilerConfig(**{name: value})


@pytest.mark.parametrize("name", [one.name for one in keywords() if one.type is bool])
@pytest.mark.parametrize("value", ["yes", 2, None])
def test_a_switch_is_true_or_false(name, value):
    with pytest.raises(UsageError, match=f"{name} must be True or False"):
        ProfilerConfig(**{name: value})


@pytest.mark.parametrize(
    "config",
    [
        {"lr": math.nan},
        {"lr": math.inf},
        {"layers": [1, 2]},
        {"optimizer": {"name": "sgd"}},
        {"weights": torch.ones(2)},
        {"": 1},
        {3: 1},
        {str(number): number for number in range(1001)},
        [("lr", 0.1)],
    ],
)
def test_other_settings_are_refused(config):
    with pytest.raises(UsageError, match="config"):
        ProfilerConfig(config=config)


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "hub_token",
        "OPENAI_API_KEY",
        "wandb.apiKey",
        "secret",
        "db_password",
        "hubToken",
        "auth-token",
    ],
)
def test_a_secret_is_refused_without_its_value(name):
    with pytest.raises(UsageError, match=re.escape(name)) as refused:
        ProfilerConfig(config={name: "correct horse battery"})
    assert "horse" not in str(refused.value)


@pytest.mark.parametrize("value", ["sk-0123456789abcdef", "hf_0123456789abcdef", "ghp_0123456789abcdef"])
def test_a_secret_is_known_by_its_prefix(value):
    with pytest.raises(UsageError, match="looks like a secret"):
        ProfilerConfig(config={"note": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", "512"), ("pad_token_id", "0"), ("pad_token", "<pad>"), ("token", None), ("use_auth_token", True),
        ("tokenizer", "bpe"), ("keyboard", "qwerty"), ("secretary", "A"), ("sk", "sk-learn"), ("num_tokens", 5),
    ],
)  # fmt: skip
def test_similar_names_are_no_secrets(name, value):
    assert ProfilerConfig(config={name: value}).config == {name: value}


@pytest.mark.parametrize("value", ["x" * 10_001, 1 << 20_000], ids=["text", "number"])
def test_huge_settings_are_refused(value):
    with pytest.raises(UsageError, match="too long"):
        ProfilerConfig(config={"notes": value})


def test_settings_of_a_framework_lose_secrets_with_a_warning(tmp_path, capfd):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)], config={"lr": 0.1}) as prof:
        prof.add_settings(
            {"lr": 0.5, "layers": 3, "hub_token": "correct horse", "model": object(), "bad": math.nan}
        )
        train(5)
    text = (tmp_path / "run" / "run.json").read_text()
    assert json.loads(text)["config"] == {"lr": 0.1, "layers": 3}
    assert "hub_token" in capfd.readouterr().err
    assert "horse" not in text


def test_settings_and_the_last_levels_are_stored(tmp_path):
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)], config={"lr": 0.1}) as prof:
        train(30)
        prof.log(val_error=0.5)
        prof.log(val_error=0.25)
    meta = json.loads((tmp_path / "run" / "run.json").read_text())
    assert meta["config"] == {"lr": 0.1}
    assert meta["totals"]["metrics"]["val_error"] == 0.25
    assert math.isfinite(meta["totals"]["metrics"]["loss"])


# -- environment variables ---------------------------------------------------------------------------------------------


def test_environment_variables_set_defaults():
    environ = {
        "ENERGY_PROFILER_PUE": "1.4", "ENERGY_PROFILER_LIVE": "yes", "ENERGY_PROFILER_TOTAL_STEPS": "500",
        "ENERGY_PROFILER_CONFIG": "cluster=a1, nodes=4", "ENERGY_PROFILER_NAME": " ", "ENERGY_PROFILER_COUNTRY": "FRA",
    }  # fmt: skip
    found = with_environment({"pue": 1.1, "grid_gco2e_per_kwh": 50.0}, environ)
    assert found == {
        "pue": 1.1, "grid_gco2e_per_kwh": 50.0, "live": True, "total_steps": 500,
        "config": {"cluster": "a1", "nodes": 4},
    }  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [("PUE", "high"), ("LIVE", "maybe"), ("CONFIG", "cluster")])
def test_a_wrong_environment_variable_is_named(name, value):
    with pytest.raises(UsageError, match=f"ENERGY_PROFILER_{name} must be"):
        with_environment({}, {f"ENERGY_PROFILER_{name}": value})


def test_a_recording_uses_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ENERGY_PROFILER_PUE", "1.5")
    monkeypatch.setenv("ENERGY_PROFILER_NAME", "site run")
    with EnergyProfiler(run_dir=tmp_path / "run", sensors=[scripted(100.0)]):
        train(3)
    meta = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (meta["name"], meta["prices"]["pue"]) == ("site run", 1.5)


def test_every_flag_has_an_environment_variable():
    for keyword in keywords():
        assert bool(keyword.environment_variable) == (keyword.type is not None)


@pytest.mark.parametrize(
    ("given", "joules"),
    [
        (50, 50.0),
        ("50", 50.0),
        ("50 J", 50.0),
        ("1.5e3J", 1500.0),
        ("2 kWh", 7.2e6),
        ("2kwh", 7.2e6),
        (" 5MJ ", 5e6),
    ],
)
def test_a_budget_is_a_number_of_joules_or_text_with_a_unit(given, joules):
    assert ProfilerConfig(energy_budget=given).budget.energy_joules == pytest.approx(joules)


@pytest.mark.parametrize("given", ["", "0 J", "-5 J", "5 kW", "50 j", "5 mJ", "J", "nan", "1e999 J"])
def test_other_budgets_are_refused_with_an_example(given):
    with pytest.raises(UsageError, match=r"energy_budget must be a positive amount of energy.*2kWh"):
        ProfilerConfig(energy_budget=given)


@pytest.mark.parametrize(("name", "hint"), [("naem", "; did you mean name=?"), ("zzzz", ""), ("prices", "")])
def test_an_unknown_keyword_is_named_with_the_nearest_one(name, hint):
    with pytest.raises(TypeError, match=re.escape(f"EnergyProfiler() has no keyword {name!r}{hint}") + "$"):
        with_environment({name: 1}, {})


def test_an_object_that_is_no_sensor_is_refused():
    with pytest.raises(UsageError, match="sensors must hold sensors"):
        ProfilerConfig(sensors=[3])
