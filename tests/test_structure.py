"""Import directions, the cost of an import, the public API, and the private names that tests use."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import profiler

ROOT = Path(profiler.__file__).parent
ORDER = (
    {"errors", "units", "clock", "_version"},
    {"records", "uncertainty", "_compat", "lr_plan", "_codecarbon"},
    {"emissions", "budget", "work"},
    {"sensors", "torch_hooks", "distributed", "storage", "forecasting"},
    {"config", "analysis"},
    {"recording"},
    {"merging"},
    {"reporting"},
    {"run"},
    {"monitoring", "export"},
    {"energy_profiler"},
    {"integrations", "cli", "testing"},
    {"__init__", "__main__"},
)
"""Packages and top-level modules in import order: each imports only itself and groups before its own."""

RANK = {name: rank for rank, group in enumerate(ORDER) for name in group}
LONGEST_CHAIN = 16
LONGEST_CHAIN_IN_A_PACKAGE = 6

HEAVY = {"torch", "numpy", "pandas", "scipy", "plotly", "rich", "codecarbon", "pynvml", "psutil"}


def name_of(path):
    parts = ("profiler", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def group_of(module):
    return module.split(".")[1] if "." in module else "__init__"


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imported_names(tree, *, types):
    """Yield the dotted names that a module imports, function-local and constant ``import_module`` calls included."""
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node) and not types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))
        yield from imported_names(node, types=types)


def imports_of(module, *, types=False):
    """Return the modules of this package that ``module`` imports."""
    tree = ast.parse(PATHS[module].read_text(encoding="utf-8"))
    found = set()
    for name in imported_names(tree, types=types):
        if name.split(".")[0] == "profiler":
            found.add(name if name in PATHS else name.rpartition(".")[0])
    return found - {module}


GRAPH = {module: imports_of(module) for module in PATHS}


def cycles(graph):
    """Return the groups of modules that import each other in a circle (Tarjan's algorithm)."""
    index, low, stack, found = {}, {}, [], []

    def visit(module):
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in graph[module]:
            if target not in index:
                visit(target)
            if target in stack:
                low[module] = min(low[module], low[target])
        if low[module] == index[module]:
            circle = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for module in graph:
        if module not in index:
            visit(module)
    return found


def longest_chain(inside=None):
    """Return the longest chain of imports, within one package or in all."""
    known = {}

    def chain(module):
        if module not in known:
            targets = [t for t in GRAPH[module] if inside is None or group_of(t) == inside]
            known[module] = [module, *max((chain(target) for target in targets), key=len, default=[])]
        return known[module]

    modules = [module for module in GRAPH if inside is None or group_of(module) == inside]
    return max((chain(module) for module in modules), key=len)


def test_every_package_has_a_group():
    assert {group_of(module) for module in PATHS} <= set(RANK)


@pytest.mark.parametrize("module", PATHS)
def test_imports_keep_their_direction(module):
    own = group_of(module)
    wrong = [
        target
        for target in imports_of(module, types=True)
        if group_of(target) not in {own, "__init__"} and RANK[group_of(target)] >= RANK[own]
    ]
    assert not wrong, f"{module} must not import {wrong}"


def test_no_modules_import_each_other_in_a_circle():
    """Not even for annotations: a type that both sides need has a module below them."""
    assert cycles({module: imports_of(module, types=True) for module in PATHS}) == []


@pytest.mark.parametrize("package", [None, *sorted({group_of(m) for m in PATHS if m.count(".") > 1})])
def test_import_chains_are_short(package):
    chain = longest_chain(package)
    assert len(chain) <= (LONGEST_CHAIN if package is None else LONGEST_CHAIN_IN_A_PACKAGE), " -> ".join(
        chain
    )


TESTS = sorted(Path(__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_each_private_import_has_a_reason(path):
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("profiler"):
            for alias in node.names:
                private = alias.name.startswith("_") and f"{node.module}.{alias.name}" not in PATHS
                assert not private or "#" in lines[alias.lineno - 1], f"{path}:{alias.lineno}: {alias.name}"


def test_the_public_api_has_docstrings():
    for name in profiler.__all__:
        public = getattr(profiler, name)
        if isinstance(public, str):
            continue
        members = vars(public).items() if isinstance(public, type) else ()
        missing = [
            f"{name}.{member}"
            for member, value in members
            if not member.startswith("_")
            and (callable(value) or isinstance(value, property))
            and not value.__doc__
        ]
        assert public.__doc__, name
        assert not missing


def loaded_after(statement):
    script = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_profiler_loads_nothing_heavy():
    assert not loaded_after("import profiler; profiler.EnergyProfiler; profiler.load_run") & HEAVY


@pytest.mark.slow
def test_training_does_not_load_what_only_reports_need():
    script = (
        "import torch, sys\n"
        "from profiler import EnergyProfiler\n"
        "p = torch.nn.Parameter(torch.ones(2)); o = torch.optim.SGD([p], lr=0.1)\n"
        "before = set(sys.modules)\n"
        "with EnergyProfiler():\n"
        "    p.sum().backward(); o.step()\n"
        "    print('LOADED', *(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(next(line for line in done.stdout.splitlines() if line.startswith("LOADED")).split())
    assert not loaded & {"pandas", "plotly", "codecarbon", "scipy", "numpy", "rich", "torch._dynamo"}


def test_the_public_surface_is_frozen():
    assert profiler.__all__ == [
        "CurveFit",
        "EnergyProfiler",
        "Forecast",
        "Interval",
        "ProfilerError",
        "Run",
        "__version__",
        "fit_curve",
        "load_run",
    ]
    assert all(getattr(profiler, name) is not None for name in profiler.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = profiler.nothing


def test_a_script_named_profiler_py_is_named_in_the_error(tmp_path):
    (tmp_path / "profiler.py").write_text("from profiler import EnergyProfiler\n")
    script = tmp_path / "profiler.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "EnergyProfiler" in done.stderr.splitlines()[-1]
    assert str(script) in done.stderr.splitlines()[-1]
