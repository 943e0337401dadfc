import random
import re

import pytest

from profiler.sensors.tdp_table import find_table, match_cpu, read_table

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
def test_models_match_their_own_row_and_generic_names_match_none(model, watts):
    match = match_cpu(model, TABLE)
    assert (match and match[1]) == watts


def test_rows_that_tie_count_where_they_agree():
    model = "AMD EPYC 7313P 16-Core Processor"
    agreeing = {"AMD EPYC 7313P": 155.0, "EPYC 7313P": 155.0}
    assert match_cpu(model, agreeing) == ("AMD EPYC 7313P", 155.0)
    assert match_cpu(model, {**agreeing, "7313P": 120.0}) is None


def test_rows_without_a_power_are_left_out(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('Name,TDP\nA 100,65\nB 200,\nC 300,unknown\nD 400,-3\n"E, 500",95.5\nA 100,80\n')
    assert read_table(path) == {"A 100": 65.0, "E, 500": 95.5}


def _codecarbons_choice(model, names):
    """What codecarbon's rule makes of a name, by rapidfuzz itself."""
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


def test_the_rule_agrees_with_rapidfuzz_on_codecarbons_own_table():
    path = find_table()
    if path is None:
        pytest.skip("codecarbon is not installed")
    table = read_table(path)
    names = list(table)
    chooser = random.Random(7)
    models = [
        f"{name} {chooser.choice(['16-Core Processor', 'CPU @ 2.40GHz', ''])}"
        for name in chooser.sample(names, 40)
    ]
    for model in models:
        theirs, ours = _codecarbons_choice(model, names), match_cpu(model, table)
        # Ours may also accept rows that tie on the power, and refuses a match without a model number.
        assert theirs is None or ours is None or ours[1] == table[theirs], model
        assert theirs is None or ours is not None or not re.search(r"\w*\d\w*", theirs), model


def test_the_table_is_found_without_importing_codecarbon():
    import sys

    before = "codecarbon" in sys.modules
    find_table()
    assert ("codecarbon" in sys.modules) == before
