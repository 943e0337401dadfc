"""Factors of the energy in every format of a comparison."""

import json

import pytest

from profiler.cli import main
from profiler.reporting import render_comparison
from profiler.reporting.comparison import compare
from tests.support.runs import law, write_run
from tests.support.scripted_tables import Script


def scripted(path, *, pace=1, seconds=0.25, steps=600):
    script = Script(path)
    script.meta["name"] = path.name
    for number in range(1, steps + 1):
        script.step(law(number * pace), seconds=seconds)
    return script.run()


@pytest.fixture
def comparison(tmp_path):
    return compare(
        [scripted(tmp_path / "<b>slow"), scripted(tmp_path / "fast", pace=2, seconds=0.3)], why=True
    )


def test_the_text_has_every_factor(comparison):
    text = render_comparison(comparison, ".txt")
    assert "fast used 0.60 times" in text or "fast used 0.599 times" in text
    assert "steps to the level    0.50" in text
    assert "seconds per step      1.20" in text
    assert "hold for these two runs, not for other seeds" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_the_json_has_every_factor(comparison):
    known = json.loads(render_comparison(comparison, ".json"))
    ratios = {one["name"]: one["ratio"] for one in known["why"]}
    assert list(ratios)[:5] == ["joules", "steps_to_level", "seconds_per_step", "watts", "outside_steps"]
    assert ratios["joules"] == pytest.approx(0.6, rel=0.02)
    assert known["why_joules"][1] / known["why_joules"][0] == pytest.approx(ratios["joules"])
    assert all(one["low"] <= one["ratio"] <= one["high"] for one in known["why"])
    assert known["why_refused"] == ""


def test_the_page_draws_a_bridge(comparison):
    page = render_comparison(comparison, ".html")
    assert 'id="why"' in page
    assert "Why the energy differs" in page
    assert "<b>slow" not in page


def test_nothing_without_being_asked(tmp_path):
    runs = [scripted(tmp_path / "a"), scripted(tmp_path / "b", pace=2)]
    assert "factor" not in render_comparison(compare(runs), ".txt")
    assert "Why the energy" not in render_comparison(compare(runs), ".html")


def test_a_spread_between_seeds_is_stated(tmp_path):
    runs = [scripted(tmp_path / "a"), scripted(tmp_path / "b", pace=2)]
    words = " ".join(render_comparison(compare(runs, why=True, seed_spread=0.05), ".txt").split())
    assert "include the spread of 5 % between seeds" in words


def test_a_level_that_one_run_did_not_reach_is_refused(tmp_path):
    runs = [scripted(tmp_path / "a"), scripted(tmp_path / "b", pace=8)]
    found = compare(runs, why=True, levels=[1.62])
    assert found.why == ()
    assert "No factors of b over a: The two curves have no level" in render_comparison(found, ".txt")


def test_the_command(tmp_path, capsys):
    paths = [str(write_run(tmp_path / name, steps=steps)) for name, steps in (("a", 300), ("b", 400))]
    assert main(["compare", *paths, "--why"]) == 0
    assert "times the energy of a to loss" in capsys.readouterr().out
