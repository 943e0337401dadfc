"""``energy-profiler report``: results on stdout, the rest on stderr, user errors in one line with exit code 2."""

import json
import re
import subprocess
import sys
import tempfile
import webbrowser
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from profiler import load_run
from profiler.cli import main
from profiler.reporting import render, report_of
from tests.support.runs import write_run


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run")


def test_prints_the_report(run_dir, capsys):
    assert main(["report", str(run_dir)]) == 0
    out, err = capsys.readouterr()
    assert out == render(report_of(load_run(run_dir)), ".txt")
    assert err == ""


def test_targets_are_forecast(run_dir, capsys):
    assert main(["report", str(run_dir), "--json", "--target", "1.7", "--target", "9"]) == 0
    asked = json.loads(capsys.readouterr().out)["outlook"]["asked"]
    assert [(target["loss"], target["forecast"]["verdict"]) for target in asked] == [
        (1.7, "reachable"),
        (9.0, "reached"),
    ]


def test_a_reward_is_forecast_once_its_best_value_is_stated(tmp_path, capsys):
    rewards = [(10 * k, "reward", 400.0 - 380.0 * k**-0.5) for k in range(1, 41)]
    path = str(write_run(tmp_path / "run", metrics=rewards))
    assert main(["report", path, "--metric", "reward"]) == 0
    assert "State it with --metric reward --best VALUE." in " ".join(capsys.readouterr().out.split())
    assert main(["report", path, "--metric", "reward", "--best", "500", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert (known["metric"], known["refused"]) == ("reward", "")
    assert known["outlook"]["targets"][0]["loss"] == pytest.approx(341.5, abs=1.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--best", "2"), "is loss one?"), (("--metric", "reward", "--best", "1"), "is exceeded by")],
)
def test_a_best_value_that_contradicts_the_metric_is_a_user_error(tmp_path, capsys, arguments, said):
    path = write_run(tmp_path / "run", metrics=[(10 * k, "reward", float(k)) for k in range(1, 41)])
    assert main(["report", str(path), *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("extension", ["txt", "html", "json"])
def test_extension_selects_the_format_and_existing_file_needs_force(run_dir, tmp_path, capsys, extension):
    output = tmp_path / f"report.{extension}"
    assert main(["report", str(run_dir), "-o", str(output)]) == 0
    written = output.read_text()
    assert "scripted" in written
    assert main(["report", str(run_dir), "-o", str(output)]) == 2
    assert "--force" in capsys.readouterr().err
    output.write_text("mine")
    assert main(["report", str(run_dir), "-o", str(output), "--force"]) == 0
    assert output.read_text() == written


SCRIPTS = {"inline": 1_190_000, "directory": 0, "cdn": 0}


@pytest.mark.slow
@pytest.mark.parametrize(("place", "least"), SCRIPTS.items())
def test_plotlyjs_selects_the_place_of_the_script(run_dir, tmp_path, place, least):
    folder = tmp_path / "page"
    folder.mkdir()
    assert main(["report", str(run_dir), "-o", str(folder / "report.html"), "--plotlyjs", place]) == 0
    page = (folder / "report.html").read_text()
    beside = sorted(file.name for file in folder.iterdir() if file.suffix == ".js")
    assert least <= len(page) < least + 400_000
    assert len(beside) == (place == "directory")
    sources = re.findall(r'<script [^>]*src="([^"]+)"', page)
    assert sources == beside or (place == "cdn" and sources[0].startswith("https://cdn.plot.ly/plotly-"))


MISTAKES = {
    "a directory to write to": (["report", "RUN", "-o", "."], ". is a directory"),
    "no such run": (["report", "nowhere"], "there is no such directory"),
    "not a run": (["report", "."], "it has no run.json"),
    "a target that is a word": (["report", "RUN", "--target", "low"], "must be a number"),
    "a target that is NaN": (["report", "RUN", "--target", "nan"], "must be a number"),
    "a format that does not exist": (["report", "RUN", "-o", "report.docx"], ".txt, .html, .json"),
    "a folder that does not exist": (
        ["report", "RUN", "-o", "no/where/report.txt"],
        "No such file or directory",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_user_error_is_one_line_and_exit_code_2(run_dir, capsys, arguments, message):
    assert main([str(run_dir) if argument == "RUN" else argument for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_partial_reads_the_rows_before_the_damage(run_dir, capsys):
    file = run_dir / "steps.csv"
    file.write_text(file.read_text().replace("\n300,", "\nthree hundred,"))
    assert main(["report", str(run_dir)]) == 2
    assert "steps.csv, line 301" in capsys.readouterr().err
    assert main(["report", str(run_dir), "--partial"]) == 0
    assert "299" in capsys.readouterr().out


NO_ROOM = """
import resource, sys
from profiler.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", [["report"], ["export", "--format", "chrome-trace"]], ids=lambda c: c[0])
def test_full_disk_leaves_no_partial_file(run_dir, tmp_path, command):
    page = tmp_path / "page.json"
    for before in (None, "an earlier report"):
        if before:
            page.write_text(before)
        force = ["--force"] if before else []
        done = subprocess.run(
            [sys.executable, "-c", NO_ROOM, *command, run_dir, "-o", page, *force],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert f"cannot write {page}: File too large. Nothing was written; choose another path" in done.stderr
        assert (page.read_text() if page.exists() else None) == before
        assert {file.name for file in tmp_path.iterdir()} - {page.name} == {run_dir.name}


def test_device_is_written_in_place(run_dir):
    command = ["-m", "profiler", "export", run_dir, "--format", "codecarbon", "-o", "/dev/stdout", "--force"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 2


@pytest.mark.parametrize("arguments", [[], ["reprot"], ["compare"], ["report", "a", "--what"]])
def test_usage_error_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    assert "energy-profiler report energy_runs/" in capsys.readouterr().out


@pytest.mark.slow
def test_runs_as_a_module_and_accepts_a_closed_pipe(run_dir):
    script = (
        f'"{sys.executable}" -m profiler report "{run_dir}" --json | head -n 1; exit "${{PIPESTATUS[0]}}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "{\n"


@pytest.mark.parametrize("extension", [".png", ".pdf"])
def test_a_figure_without_matplotlib_names_the_command(run_dir, tmp_path, capsys, extension):
    if find_spec("matplotlib"):
        pytest.skip("matplotlib is installed; tests/integrations_env draws with it")
    assert main(["report", str(run_dir), "-o", str(tmp_path / f"curve{extension}")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "pip install matplotlib" in err
    assert not (tmp_path / f"curve{extension}").exists()


@pytest.mark.parametrize(("output", "has_browser"), [(["-o", "out.html"], True), ([], False)])
def test_open_shows_the_page(run_dir, capsys, monkeypatch, output, has_browser):
    monkeypatch.chdir(run_dir.parent)
    monkeypatch.setattr(tempfile, "tempdir", str(run_dir.parent))
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or has_browser)
    assert main(["report", str(run_dir), "--open", "--plotlyjs", "cdn", *output]) == 0
    page = Path(url2pathname(urlsplit(opened[0]).path))
    assert "<title>" in page.read_text()
    assert ("no browser" in capsys.readouterr().err) is not has_browser


def costs(capsys, *flags):
    assert main(["report", "run", "--json", *flags]) == 0
    return json.loads(capsys.readouterr().out)["cost"]


def test_prices_that_the_run_lacks_come_from_the_environment(tmp_path, capsys, monkeypatch):
    write_run(
        tmp_path / "run",
        meta={"prices": {"pue": 1.2, "grid_gco2e_per_kwh": 100.0, "grid_source": "as given"}},
    )
    for name, value in {"COUNTRY": "FRA", "PRICE_PER_KWH": "0.3", "CURRENCY": "EUR", "PUE": "2"}.items():
        monkeypatch.setenv(f"ENERGY_PROFILER_{name}", value)
    prices = costs(capsys)["prices"]
    assert (prices["pue"], prices["grid_gco2e_per_kwh"]) == (1.2, 100.0)
    assert (prices["price_per_kwh"], prices["currency"]) == (0.3, "EUR")
    assert costs(capsys, "--price-per-kwh", "0.5")["prices"]["price_per_kwh"] == 0.5


def test_an_intensity_over_time_gives_the_carbon(tmp_path, capsys):
    begun = 1_790_000_000
    write_run(tmp_path / "run", steps=392, meta={"started_unix_seconds": float(begun)})
    (tmp_path / "grid.csv").write_text(
        "time,gco2e_per_kwh\n"
        + "".join(
            f"{datetime.fromtimestamp(begun - 50 + 100 * k, UTC).isoformat()},{grams}\n"
            for k, grams in enumerate((100, 300, 900))
        )
    )
    found = costs(capsys, "--intensity", "grid.csv")
    assert found["prices"]["grid_gco2e_per_kwh"] == pytest.approx(200.0)
    assert found["gco2e"]["median"] == pytest.approx(found["kwh"]["median"] * 200.0)
    assert "grid.csv" in found["prices"]["grid_source"]
    assert main(["report", "run", "--intensity", "grid.csv", "--country", "FRA"]) == 2
    assert "not both" in capsys.readouterr().err


def test_a_run_whose_learning_rate_reached_zero_has_no_price(tmp_path, capsys):
    path = write_run(tmp_path / "run", steps=300, learning_rate=lambda step: 1e-3 * (1.0 - step / 300))
    assert main(["report", str(path), "--target", "1.7"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Stop: the learning rate has fallen below 1 % of its peak" in out
    assert "Go on" not in out
    assert "1.700 asked unknown" in out


def test_a_longer_run_is_priced_from_the_part_at_a_constant_rate(tmp_path, capsys):
    path = write_run(
        tmp_path / "run", steps=400, learning_rate=lambda step: 1e-3 * min(1.0, (1.0 - step / 400) / 0.2)
    )
    assert main(["report", str(path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "plan a longer run" in out
    assert "Confidence: low" in out
    assert "! Prices are those of a longer run with a plan of the same shape" in out
