"""``energy-profiler run``: scripts behave as under python, and their energy is recorded."""

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path
from textwrap import dedent

import pytest

import profiler
from profiler import load_run
from profiler.cli import main
from profiler.config import ProfilerConfig, keywords
from tests.support.scripts_to_compare import PLAIN, WITH_TORCH

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(profiler.__path__[0]).parent),
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
}
PROFILED = ["-m", "profiler", "run", "--run-dir", "recorded"]
OURS = re.compile(r"^energy-profiler: .*\n|^== (?:.*\n)+?record  .*\n", re.MULTILINE)
"""Output of the profiler on stderr: its messages and the block at the end."""


def start(arguments, folder):
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, env=ENVIRONMENT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process, typed="typed\n"):
    out, err = process.communicate(typed, timeout=60)
    return process.returncode, out, err


def both(arguments, folder):
    """Run it under python and under the profiler; return code, stdout and stderr of both."""
    plain, profiled = start(arguments, folder), start([*PROFILED, *arguments], folder)
    code, out, err = ended(profiled)
    assert "cannot" not in "".join(OURS.findall(err)), err
    return ended(plain), (code, out, OURS.sub("", err))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 5\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("print('package')\n")
    (tmp_path / "package" / "module.py").write_text(
        "import sys; print(__name__, __package__, __spec__.name, sys.argv)\n"
    )
    (tmp_path / "package" / "__main__.py").write_text(
        "import sys; print(__name__, __package__, sys.argv, sys.path[0])\n"
    )
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr(
            "__main__.py", "import sys; print(__name__, __file__, sys.argv, sys.path[0]); sys.exit(2)\n"
        )
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("text", PLAIN.values(), ids=PLAIN)
def test_script_behaves_as_under_python(folder, text):
    (folder / "script.py").write_bytes(dedent(text).encode("latin-1"))
    plain, profiled = both(["script.py", "--name", "-m", "--", "x y"], folder)
    assert profiled == plain


@pytest.mark.slow
@pytest.mark.parametrize("text", WITH_TORCH.values(), ids=WITH_TORCH)
def test_training_script_behaves_as_under_python(folder, text):
    (folder / "script.py").write_text(dedent(text))
    plain, profiled = both(["script.py"], folder)
    assert profiled == (plain[0], plain[1], OURS.sub("", plain[2]))


TARGETS = {
    "a path with dots": ["./package/../script.py", "a"],
    "a module": ["-m", "package.module", "--name", "x"],
    "a package": ["-m", "package", "-m"],
    "a module that is no package": ["-m", "script"],
    "a submodule that does not exist": ["-m", "package.nothing"],
    "a folder": ["package", "a"],
    "a folder without a main": ["empty"],
    "an archive": ["archive.zip", "a"],
    "a compiled script": ["compiled.pyc", "a"],
    "a link from elsewhere": ["elsewhere/link.py"],
}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", TARGETS.values(), ids=TARGETS)
def test_every_kind_of_target_runs_as_under_python(folder, arguments):
    import py_compile

    script = folder / "script.py"
    script.write_text(
        "import sys; print(__name__, __file__, __package__, sys.argv, sys.path[0])\nraise ValueError\n"
    )
    py_compile.compile(str(script), cfile=str(folder / "compiled.pyc"))
    (folder / "empty").mkdir()
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "link.py").symlink_to(script)
    plain, profiled = both(arguments, folder)
    assert profiled == plain


@pytest.mark.slow
def test_energy_of_a_script_without_torch_is_in_spans(folder):
    (folder / "script.py").write_text(
        "import os, sys, time; time.sleep(0.3); print('torch' in sys.modules, os.getenv('OPENBLAS_NUM_THREADS'))\n"
    )
    code, out, err = ended(start([*PROFILED, "--name", "no torch", "script.py"], folder))
    assert (code, out) == (0, f"False {ENVIRONMENT.get('OPENBLAS_NUM_THREADS')}\n"), err
    run = load_run(folder / "recorded")
    assert run.meta["name"] == "no torch"
    assert run.status == "completed"
    assert len(run.steps) == 0
    assert run.spans["end_seconds"].iloc[-1] > 0.3
    assert run.total_joules > 0


TRAIN = """
import os
os.environ["OMP_NUM_THREADS"] = "2"
import torch
print(torch.get_num_threads(), flush=True)
def main():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for step in range(5):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
main()
"""


@pytest.mark.slow
def test_script_configures_torch_itself_and_every_step_is_recorded(folder):
    (folder / "script.py").write_text(TRAIN)
    code, out, err = ended(start([*PROFILED, "script.py"], folder))
    assert (code, out) == (0, "2\n"), err
    run = load_run(folder / "recorded")
    assert list(run.steps["step"]) == [1, 2, 3, 4, 5]
    assert run.steps["loss"].iloc[0] == 1.0


STATUSES = {
    "exit(0)": ("raise SystemExit(0)", "completed"),
    "exit(3)": ("raise SystemExit(3)", "failed"),
    "an exception": ("raise ValueError", "failed"),
    "Ctrl-C": ("raise KeyboardInterrupt", "interrupted"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "status"), STATUSES.values(), ids=STATUSES)
def test_status_of_the_run_follows_the_end_of_the_script(folder, text, status):
    (folder / "script.py").write_text(
        f"from profiler.energy_profiler import running\nrunning().log(x=1)\n{text}\n"
    )
    _, _, err = ended(start([*PROFILED, "script.py"], folder))
    assert json.loads((folder / "recorded" / "run.json").read_text())["status"] == status
    assert err.count("\n== ") + err.startswith("== ") == 1


WITHOUT_TRAINING = {
    "a missing module": ("import there_is_no_such_module", 1),
    "its help": ("import argparse; argparse.ArgumentParser().parse_args(['--help'])", 0),
    "a wrong argument": ("import argparse; argparse.ArgumentParser().parse_args(['--wrong'])", 2),
    "Ctrl-C": ("raise KeyboardInterrupt", -signal.SIGINT),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "code"), WITHOUT_TRAINING.values(), ids=WITHOUT_TRAINING)
def test_script_that_ends_before_it_trains_leaves_no_run(folder, text, code):
    (folder / "script.py").write_text(text)
    profiled, _, err = ended(start(["-m", "profiler", "run", "script.py"], folder))
    assert profiled == code
    assert not (folder / "energy_runs").exists()
    assert "the program ended before any training step; its run was not kept\n" in err
    assert "advice" not in err
    assert err.count("Traceback") == ("module" in text or "Interrupt" in text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_ends_the_process_as_it_ends_python(folder, number):
    (folder / "script.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(30)\n")
    ends = []
    for process in (start(["script.py"], folder), start([*PROFILED, "script.py"], folder)):
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        code, out, err = ended(process)
        assert "profiler/cli" not in err
        ends.append((code, out, OURS.sub("", err).splitlines()[-1:]))
    assert ends[0] == ends[1]
    assert ends[0][0] == -number


MISTAKES = {
    "no script": ([], "name a script"),
    "only a dash": (["--"], "name a script"),
    "a script that does not exist": (["nothing.py"], "there is no script nothing.py"),
    "a module that does not exist": (["-m", "nothing_at_all"], "no module named 'nothing_at_all'"),
    "a module without a name": (["-m"], "name a script"),
    "a period that means nothing": (["--sample-period-seconds", "0", "beside.py"], "must be between"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_user_error_is_one_line_and_exit_code_2(folder, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert main(["run", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)
    assert not (folder / "energy_runs").exists()


@pytest.mark.parametrize("name", ["profiler.py", "profiler/__init__.py"])
def test_module_with_the_name_of_this_package_is_refused(folder, capsys, monkeypatch, name):
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    (folder / "script.py").write_text("print('ran')")
    assert main(["run", "script.py"]) == 2
    out, err = capsys.readouterr()
    assert f"{name} has the name of this package; rename it" in err
    assert out == ""


def test_run_imports_only_what_recording_needs(folder):
    (folder / "script.py").write_text("import sys; print(*sys.modules)")
    modules = set(ended(start([*PROFILED, "script.py"], folder))[1].split())
    assert not modules & {"torch", "numpy", "pandas", "plotly", "rich", "codecarbon", "profiler.cli.doctor"}


def test_every_keyword_that_can_be_typed_is_a_flag(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    flags = set(re.findall(r"^  (--[a-z0-9-]+)", capsys.readouterr().out, re.MULTILINE))
    needs_python = {"--sensors", "--on-budget", "--log-to"}
    assert flags.isdisjoint(needs_python)
    assert flags | needs_python == {
        "--" + field.name.replace("_", "-") for field in fields(ProfilerConfig) if field.init
    }


def test_flags_convert_to_the_type_of_their_keyword():
    for keyword in keywords():
        if keyword.type not in (None, bool):
            assert keyword.metavar, keyword.name
            assert keyword.unit or keyword.type is not int, keyword.name


def test_flags_are_stored_in_run_json(folder):
    (folder / "script.py").write_text("print('ran')\n")
    message = [
        "--pue",
        "1.5",
        "--price-per-kwh",
        "0.3",
        "--grid-gco2e-per-kwh",
        "100",
        "--total-steps",
        "70",
        "--live",
    ]
    code, out, err = ended(start([*PROFILED, *message, "script.py"], folder))
    assert (code, out) == (0, "ran\n"), err
    meta = load_run(folder / "recorded").meta
    assert meta["prices"] == {
        "pue": 1.5, "grid_gco2e_per_kwh": 100.0, "grid_source": "as given", "price_per_kwh": 0.3,
    }  # fmt: skip
    assert meta["total_steps"] == 70


def test_unwritable_directory_is_reported_before_the_start(folder):
    (folder / "file").write_text("")
    (folder / "plain.py").write_text("print(1)\n")
    code, out, err = ended(start(["-m", "profiler", "run", "--run-dir", "file/run", "plain.py"], folder))
    assert (code, out) == (0, "1\n")
    begin, block = err.split("== run: completed")
    assert begin.count("cannot write the run directory: Not a directory") == 1
    assert "choose another place with run_dir= or --run-dir" in begin
    assert ", in memory only\n" in begin
    assert "->" not in begin
    assert "record  " not in block


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    out = capsys.readouterr().out
    assert out.startswith("usage: energy-profiler run [OPTION ...] (SCRIPT | -m MODULE) [ARGUMENT ...]\n")
    assert "energy-profiler run train.py --epochs 3" in out
