"""The README and the pages in docs/: commands parse, examples use what exists, and links lead somewhere.

Examples that need other packages run in ``tests/integrations_env``; the site is built in ``test_packaging.py``.
"""

import ast
import importlib
import importlib.util
import inspect
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from profiler import CurveFit, EnergyProfiler, cli, load_run
from profiler.run import Run
from tests.support.runs import write_run
from tests.support.training_loops import batch, network

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
KNOWN = {"prof": EnergyProfiler, "run": Run, "fit": CurveFit}
"""Classes of the names that examples use for them; a tracker's run has other methods."""
OF_TRACKERS = {"log"}


def blocks(name, *languages):
    return [code for language, code in BLOCK.findall(TEXTS[name]) if language in languages]


def commands(name):
    """Return the words of each command line of the product, without comments, pipes and redirections."""
    for code in blocks(name, "bash", "yaml"):
        for line in code.replace("\\\n", " ").splitlines():
            for found in re.finditer(r"energy-profiler (?!;)([^|;'>]*(?:'[^']*'[^|;'>]*)*)", line):
                if line[: found.start()].rstrip().endswith(("name:", "clone REPOSITORY")):
                    continue
                yield shlex.split(found[1].rstrip("'`"), comments=True)


COMMANDS = [(name, words) for name in TEXTS for words in commands(name) if words]


def test_the_pages_have_commands_and_examples():
    assert len(COMMANDS) > 50
    assert {words[0] for _, words in COMMANDS} == set(cli.COMMANDS)


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_printed_command_has_arguments_that_exist(command, monkeypatch):
    module = importlib.import_module(cli.COMMANDS[command].module)
    monkeypatch.setattr(module, "run", lambda _: 0)
    for name, words in COMMANDS:
        if words[0] == command:
            assert cli.main(words) == 0, (name, words)


def parsed(name):
    return [ast.parse(re.sub(r"^%\w+.*$", "", code, flags=re.MULTILINE)) for code in blocks(name, "python")]


@pytest.mark.parametrize("name", [name for name in TEXTS if blocks(name, "python")])
def test_examples_use_what_exists(name):
    keywords = set(inspect.signature(EnergyProfiler).parameters)
    for node in (node for tree in parsed(name) for node in ast.walk(tree)):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "profiler":
            if node.module.startswith("profiler.integrations"):
                assert importlib.util.find_spec(node.module), node.module
                continue
            module = importlib.import_module(node.module)
            assert [one.name for one in node.names if not hasattr(module, one.name)] == []
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "EnergyProfiler"
        ):
            assert {one.arg for one in node.keywords} - keywords == set()
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in KNOWN:
            is_there = hasattr(KNOWN[node.value.id], node.attr) or node.attr in OF_TRACKERS
            assert is_there, f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_the_first_example_runs_as_printed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = network()
    scope = {
        "loader": [batch()] * 3,
        "model": model,
        "loss_fn": torch.nn.functional.mse_loss,
        "opt": torch.optim.SGD(model.parameters(), lr=0.01),
    }
    exec(compile(blocks(name, "python")[0], name, "exec"), scope)
    assert len(scope["prof"].run.steps) == 3


def test_the_examples_of_results_run_as_printed(tmp_path):
    scope = {"prof": SimpleNamespace(run=load_run(write_run(tmp_path / "run")))}
    (code,) = [code for code in blocks("README.md", "python") if "run.energy_by_domain" in code]
    exec(compile(code, "README.md", "exec"), scope)
    assert scope["fit"].joules_at(loss=0.8).verdict


def slug(heading):
    """Return the anchor of a heading, as GitHub and MyST make it."""
    plain = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading.strip()).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("name", TEXTS)
def test_links_and_anchors_lead_somewhere(name):
    page = ROOT / name
    prose = re.sub(r"^```.*?^```", "", TEXTS[name], flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith(("http:", "https:")):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize(
    "name", [name for name in TEXTS if name != "docs/programs.md"]
)  # it names files of others
def test_named_files_of_the_repository_exist(name):
    named = re.findall(r"`((?:examples|scripts|tests|docs|profiler)/[\w./-]+)`", TEXTS[name])
    assert [file for file in named if "NAME" not in file and not (ROOT / file).exists()] == []
