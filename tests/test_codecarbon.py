"""Tables of codecarbon: design power of processors and carbon intensity of countries."""

import json
import random
import re

import pytest

from profiler import _codecarbon
from profiler._codecarbon import cpu_tdp, find_file, grid_intensity, match_cpu, read_cpu_table
from profiler.errors import MissingDependencyError, UsageError
from tests.support.fixtures import run_python

__all__ = ["run_python"]

TABLE = {
    "AMD EPYC 7742": 225.0,
    "AMD EPYC 7763": 280.0,
    "AMD Ryzen 5 3600": 65.0,
    "AMD Ryzen 5 3600X": 95.0,
    "Intel Core i7-8650U": 15.0,
    "Intel Xeon Gold 6248R": 205.0,
    "Intel Xeon Gold 6248R OEM": 150.0,
    "Intel Xeon Processor 9999": 111.0,
}


@pytest.mark.parametrize(
    ("model", "watts"),
    [
        ("AMD EPYC 7763 64-Core Processor", 280.0),
        ("AMD Ryzen 5 3600 6-Core Processor", 65.0),
        ("Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", 15.0),
        ("Intel(R) Core i7-8650U CPU @ 1.90GHz", 15.0),
        ("Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz", 205.0),
        ("intel xeon gold 6248r", 205.0),
        ("AMD EPYC", None),
        ("AMD EPYC Processor", None),
        ("Intel Xeon Processor (Skylake, IBRS)", None),
        ("Intel(R) Xeon(R) Processor @ 2.30GHz", None),
        ("Intel Core", None),
        ("", None),
        ("ARMv8", None),
    ],
)
def test_a_model_matches_its_row_and_a_generic_name_matches_none(model, watts):
    match = match_cpu(model, TABLE)
    assert (match and match[1]) == watts


def test_several_matching_rows_must_have_the_same_power():
    model = "AMD EPYC 7313P 16-Core Processor"
    agreeing = {"AMD EPYC 7313P": 155.0, "EPYC 7313P": 155.0}
    assert match_cpu(model, agreeing) == ("AMD EPYC 7313P", 155.0)
    assert match_cpu(model, {**agreeing, "7313P": 120.0}) is None


def test_rows_without_a_power_are_skipped(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('Name,TDP\nA 100,65\nB 200,\nC 300,unknown\nD 400,-3\n"E, 500",95.5\nA 100,80\n')
    assert read_cpu_table(path) == {"A 100": 65.0, "E, 500": 95.5}


def _codecarbon_match(model, names):
    """Return the match by codecarbon's rule, computed with rapidfuzz."""
    fuzz, process, utils = (pytest.importorskip(f"rapidfuzz.{part}") for part in ("fuzz", "process", "utils"))

    def direct(text):
        return process.extractOne(text, names, processor=str.lower, scorer=fuzz.ratio, score_cutoff=100)

    cleaned = model.replace("(R)", "")
    cleaned = cleaned[: cleaned.find(" CPU @ ")] if cleaned.find(" CPU @ ") > 0 else cleaned
    cleaned = re.sub(r" @\s*\d+\.\d+GHz", "", cleaned.replace(" CPU", ""))
    if match := direct(model) or direct(cleaned):
        return match[0]
    found = process.extract(
        cleaned, names, processor=utils.default_process, scorer=fuzz.token_set_ratio, score_cutoff=100
    )
    return found[0][0] if len(found) == 1 or (found and found[0][1] != found[1][1]) else None


def test_matches_agree_with_rapidfuzz_on_the_table_of_codecarbon():
    path = find_file("data/hardware/cpu_power.csv")
    table = read_cpu_table(path)
    names = list(table)
    chooser = random.Random(7)
    models = [
        f"{name} {chooser.choice(['16-Core Processor', 'CPU @ 2.40GHz', ''])}"
        for name in chooser.sample(names, 40)
    ]
    for model in models:
        theirs, ours = _codecarbon_match(model, names), match_cpu(model, table)
        # Ours also accepts several rows of the same power, and rejects a match without a model number.
        assert theirs is None or ours is None or ours[1] == table[theirs], model
        assert theirs is None or ours is not None or not re.search(r"\w*\d\w*", theirs), model


def test_tables_equal_those_of_the_public_api(run_python):
    """codecarbon's own API returns the same values for the installed version."""
    code = """
        import json
        from codecarbon.input import DataSource
        source = DataSource()
        rows = source.get_cpu_power_data()
        mix = source.get_global_energy_mix_data()
        import pandas as pd
        rows = rows.assign(TDP=pd.to_numeric(rows["TDP"], errors="coerce")).query("TDP > 0")
        rows = rows.drop_duplicates("Name")
        cpu = dict(zip(rows["Name"].tolist(), rows["TDP"].tolist()))
        grid = {code: [entry["carbon_intensity"], entry["country_name"]] for code, entry in mix.items()}
        print(json.dumps({"cpu": cpu, "grid": grid}))
    """
    theirs = json.loads(run_python(code).stdout.splitlines()[-1])
    ours = read_cpu_table(find_file("data/hardware/cpu_power.csv"))
    assert ours == theirs["cpu"]
    for iso_code, (intensity, name) in theirs["grid"].items():
        if intensity:
            assert grid_intensity(iso_code)[0] == intensity
            assert grid_intensity(name)[0] == intensity


def test_lookups_do_not_import_codecarbon(run_python):
    code = """
        import sys
        from profiler._codecarbon import cpu_tdp, grid_intensity
        assert cpu_tdp("AMD EPYC 7763 64-Core Processor")[1] == 280.0
        assert grid_intensity("DE")[0] > 0
        assert not {"codecarbon", "pandas", "pynvml"} & set(sys.modules)
    """
    run_python(code)


def test_without_codecarbon_lookups_raise(monkeypatch):
    monkeypatch.setattr("profiler._codecarbon.find_file", lambda _: None)
    monkeypatch.setattr(
        "profiler._codecarbon._grid_table", _codecarbon._grid_table.__wrapped__
    )  # without its cache
    with pytest.raises(MissingDependencyError, match="pip install"):
        cpu_tdp("AMD EPYC 7763")
    with pytest.raises(MissingDependencyError, match="pip install"):
        grid_intensity("DEU")


@pytest.mark.parametrize(
    "country", ["DEU", "deu", "DE", "de", "Germany", " germany ", "Federal Republic of Germany"]
)
def test_a_country_is_found_by_code_and_by_name(country):
    intensity, source = grid_intensity(country)
    assert 300 < intensity < 500
    assert source.startswith("Germany 20")
    assert "Our World in Data (CC BY), in codecarbon" in source


@pytest.mark.parametrize(
    ("country", "message"),
    [
        ("XX", "Use an ISO code, such as DE, DEU, IN or USA."),
        ("Germny", "Did you mean DEU"),
        ("", "no country ''"),
        ("Central African Republic", "no carbon intensity for Central African Republic"),
    ],
)
def test_a_country_without_a_value_raises(country, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        grid_intensity(country)


@pytest.mark.parametrize("country", ["SWE", "POL", "USA", "CHN", "India", "France", "GB", "Russia", "TR"])
def test_intensities_are_life_cycle_values_per_kwh(country):
    """No grid is below wind power's 10 g or above coal's 1,000 g."""
    assert 10 < grid_intensity(country)[0] < 1000
