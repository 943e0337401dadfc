"""Measure the structure of one or more checkouts: sizes, imports, prose, and files to touch per extension.

    python scripts/measure_structure.py [CHECKOUT ...]

Prints one column per checkout, in Markdown. The default is this checkout. To compare with an earlier commit, make a
work tree of it first: ``git worktree add ../before COMMIT``.
"""

import argparse
import ast
import itertools
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parents[1]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.Lambda)
DOCUMENTED = (ast.Module, ast.ClassDef, *FUNCTIONS)
JOURNEYS = (
    "A loss to the figure",
    "A reading to a step's joules",
    "A target to `should_stop`",
    "A run directory to the page",
)
EXTENSIONS = {
    "modules that contain 'gpu:' (another accelerator)": r"[\"']f?gpu:",
    "modules that contain `pue` (one keyword)": r"\bpue\b",
    "modules that contain `forward_seconds` (one column)": r"\bforward_seconds\b",
    "modules that contain 'chrome-trace' or its module (one exporter)": r"chrome.trace",
    "modules that contain 'exponential' (one curve model)": r"\bexponential\b|\bExponential\b",
}
"""Text of one existing example of each extension point; the modules that contain it know the extension."""

RECORD = """
import torch
from profiler import EnergyProfiler
weights = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.SGD([weights], lr=0.1)
with EnergyProfiler(target_loss=1e-9):
    for _ in range(100):
        optimizer.zero_grad()
        weights.square().sum().backward()
        optimizer.step()
        torch.zeros(300, 300) @ torch.zeros(300, 300)
"""
REPORT = """
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from profiler.cli import main
main(["report", str(next(Path("energy_runs").iterdir())), "-o", "page.html"])
"""
TRACE = """
import atexit, sys, threading
files = set()
def note(frame, event, arg):
    files.add(frame.f_code.co_filename)
sys.setprofile(note)
threading.setprofile(note)
def write():
    sys.setprofile(None)
    threading.setprofile(None)
    with open("files.txt", "w") as out:
        out.writelines(f"{file}\\n" for file in files)
atexit.register(write)
"""
"""Writes the files whose functions ran. Registered first, so that it runs after the profiler's own exit handlers."""


class Checkout:
    """The parsed modules of the package in one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = sorted((root / "profiler").rglob("*.py"))
        self.texts = {path: path.read_text(encoding="utf-8") for path in self.paths}
        self.trees = {path: ast.parse(text) for path, text in self.texts.items()}
        self.names = {path: self._name(path) for path in self.paths}

    def _name(self, path: Path) -> str:
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def nodes(self) -> list[ast.AST]:
        """Return every syntax node of the package."""
        return [node for tree in self.trees.values() for node in ast.walk(tree)]

    def imports(self, *, types: bool) -> dict[str, set[str]]:
        """Return the modules that each module imports, function-local imports included."""
        modules = set(self.names.values())
        graph = {}
        for path, name in self.names.items():
            found = {
                target if target in modules else target.rpartition(".")[0]
                for target in _imported(self.trees[path], types=types)
                if target.split(".")[0] == "profiler"
            }
            graph[name] = (found & modules) - {name}
        return graph


def _imported(tree: ast.AST, *, types: bool) -> list[str]:
    names: list[str] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING") and not types:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names += [str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)]
        names += _imported(node, types=types)
    return names


def components(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the strongly connected components of an import graph, by Kosaraju's algorithm."""
    order: list[str] = []
    _visit_all(graph, list(graph), order)
    backwards: dict[str, set[str]] = {name: set() for name in graph}
    for name, targets in graph.items():
        for target in targets:
            backwards[target].add(name)
    found: list[set[str]] = []
    seen: set[str] = set()
    for name in reversed(order):
        if name not in seen:
            members: list[str] = []
            _visit(backwards, name, seen, members)
            found.append(set(members))
    return found


def _visit_all(graph: dict[str, set[str]], names: list[str], order: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name not in seen:
            _visit(graph, name, seen, order)


def _visit(graph: dict[str, set[str]], name: str, seen: set[str], order: list[str]) -> None:
    seen.add(name)
    for target in sorted(graph[name]):
        if target not in seen:
            _visit(graph, target, seen, order)
    order.append(name)


def longest_chain(graph: dict[str, set[str]]) -> int:
    """Return the number of modules on the longest chain of imports; a cycle counts with all its modules."""
    groups = components(graph)
    home = {name: number for number, group in enumerate(groups) for name in group}
    length: dict[int, int] = {}

    def chain(number: int) -> int:
        if number not in length:
            beyond = {home[target] for name in groups[number] for target in graph[name]} - {number}
            length[number] = len(groups[number]) + max((chain(other) for other in beyond), default=0)
        return length[number]

    return max(chain(number) for number in range(len(groups)))


def within(graph: dict[str, set[str]], package: str) -> dict[str, set[str]]:
    """Return the part of an import graph that lies in one package."""
    inside = {name for name in graph if f"{name}.".startswith(f"{package}.")}
    return {name: graph[name] & inside for name in inside}


def import_rows(code: Checkout) -> dict[str, str]:
    """Return the rows about imports."""
    graph = code.imports(types=False)
    packages = sorted({".".join(name.split(".")[:2]) for name in graph if name.count(".") > 1})
    inner = {package: longest_chain(within(graph, package)) for package in packages}
    worst = max(inner, key=inner.__getitem__)
    rows = {
        "longest import chain, in all": str(longest_chain(graph)),
        "longest import chain within a package": f"{inner[worst]} ({worst.split('.')[1]})",
    }
    for types, label in (
        (False, "import cycles (modules in each)"),
        (True, "the same, annotations included"),
    ):
        cycles = sorted((len(c) for c in components(code.imports(types=types)) if len(c) > 1), reverse=True)
        rows[label] = ", ".join(map(str, cycles)) or "none"
    return rows


def size_rows(code: Checkout) -> dict[str, str]:
    """Return the rows about sizes."""
    modules = [len(text.splitlines()) for text in code.texts.values()]
    functions = [_length(node) for node in code.nodes() if isinstance(node, FUNCTIONS)]
    return {
        "modules": str(len(modules)),
        "lines": f"{sum(modules):,}",
        "lines per module, median / p90 / max": _spread(modules),
        "lines per function, median / p90 / max": _spread(functions),
    }


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _spread(numbers: list[int]) -> str:
    return f"{median(numbers):.0f} / {quantiles(numbers, n=10)[-1]:.0f} / {max(numbers)}"


def prose_rows(code: Checkout) -> dict[str, str]:
    """Return the rows about comments, docstrings and parameters typed ``Callable``."""
    comments = sum(_comment_lines(path) for path in code.paths)
    lines = sum(len(text.splitlines()) for text in code.texts.values())
    constants = sum(_constant_docstring_lines(code.nodes()))
    docstrings = [ast.get_docstring(node) or "" for node in code.nodes() if isinstance(node, DOCUMENTED)]
    callables = list(callable_parameters(code))
    return {
        "comment lines": f"{comments} ({100 * comments / lines:.1f} %)",
        "the same with docstrings of constants": (
            f"{comments + constants} ({100 * (comments + constants) / lines:.1f} %)"
        ),
        "docstrings that begin with What, Whether, How or That which": str(
            sum(bool(re.match(r"(What|Whether|How|That which)\b", text)) for text in docstrings)
        ),
        "parameters typed Callable, aliases included": str(len(callables)),
        "of these kept (stored, passed on or captured)": str(sum(one.is_kept for one in callables)),
    }


def _constant_docstring_lines(nodes: Iterable[ast.AST]) -> Iterator[int]:
    """Yield the number of lines of each docstring that follows an assignment: the reason for a constant."""
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef):
            for before, after in itertools.pairwise(node.body):
                if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
                    yield after.end_lineno - after.lineno + 1 if after.end_lineno else 1


def _comment_lines(path: Path) -> int:
    """Return the number of lines that hold nothing but a comment; directives to tools are not counted."""
    with path.open("rb") as file:
        return sum(
            token.type == tokenize.COMMENT
            and token.line.lstrip().startswith("#")
            and not re.match(r"#\s*(noqa|type:|ruff:|pragma|!)", token.string)
            for token in tokenize.tokenize(file.readline)
        )


@dataclass(frozen=True, slots=True)
class CallableParameter:
    """A parameter typed ``Callable``.

    Attributes:
        place: File and line.
        text: Function, name and type.
        is_kept: False if the function only calls it, as a higher-order function does; True if it stores it, passes it
            on or captures it, so that a caller's method hides behind it.
    """

    place: str
    text: str
    is_kept: bool


def callable_parameters(code: Checkout) -> Iterator[CallableParameter]:
    """Yield the parameters typed ``Callable`` or with an alias of it."""
    aliases = {"Callable"}
    for node in code.nodes():
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Callable["):
            aliases.add(ast.unparse(node.targets[0]))
    pattern = re.compile(rf"\b({'|'.join(sorted(aliases))})\b")
    for path, tree in code.trees.items():
        for function in (node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)):
            for argument in (node for node in ast.walk(function.args) if isinstance(node, ast.arg)):
                kind = ast.unparse(argument.annotation) if argument.annotation is not None else ""
                if pattern.search(kind):
                    yield CallableParameter(
                        place=f"{path.relative_to(code.root)}:{argument.lineno}",
                        text=f"{function.name}({argument.arg}: {kind})",
                        is_kept=_is_kept(argument.arg, function),
                    )


def _is_kept(name: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return true if a parameter is used otherwise than in a call of it by the function itself."""
    inner = {
        id(node)
        for one in ast.walk(function)
        if one is not function and isinstance(one, SCOPES)
        for node in ast.walk(one)
    }
    calls = {id(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)} - inner
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == name]
    return any(id(use) not in calls for use in uses)


def journey_rows(code: Checkout) -> dict[str, str]:
    """Return the number of files on each journey of docs/architecture.md, and of those that two operations execute."""
    page = code.root / "docs" / "architecture.md"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    rows = {}
    for title in JOURNEYS:
        section = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
        files = set(re.findall(r"profiler/[\w/]+\.(?:py|html|js|css)", section[1])) if section else set()
        missing = sorted(file for file in files if not (code.root / file).exists())
        if missing:
            sys.exit(f"{page} names files that do not exist: {', '.join(missing)}")
        rows[f"files on the journey: {title}"] = str(len(files)) if section else "-"
    return rows


def execution_rows(code: Checkout) -> dict[str, str]:
    """Return the number of modules whose functions run during a recording, and during a report of it."""
    rows = {}
    with TemporaryDirectory() as folder:
        for label, script in (("a recording", RECORD), ("a report as a page", REPORT)):
            environment = os.environ | {"PYTHONPATH": str(code.root)}
            program = [sys.executable, "-c", TRACE + script]
            done = subprocess.run(
                program, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(f"{label} failed in {code.root}:\n{done.stderr}")
            ran = set(Path(folder, "files.txt").read_text(encoding="utf-8").splitlines())
            rows[f"modules executed by {label}"] = str(len(ran & {str(path) for path in code.paths}))
    return rows


def extension_rows(code: Checkout) -> dict[str, str]:
    """Return the number of modules that name one existing example of each extension point."""
    return {
        label: str(sum(bool(re.search(pattern, text)) for text in code.texts.values()))
        for label, pattern in EXTENSIONS.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", nargs="*", type=Path, default=[HERE])
    parser.add_argument(
        "--no-execution", action="store_true", help="skip the rows that need to run the package"
    )
    parser.add_argument("--list", action="store_true", help="list the parameters typed Callable instead")
    arguments = parser.parse_args()
    columns = [Checkout(root.resolve()) for root in arguments.checkout]
    if arguments.list:
        for one in (one for code in columns for one in callable_parameters(code)):
            print(f"{'kept   ' if one.is_kept else 'applied'} {one.place} {one.text}")
        return
    measures = [size_rows, import_rows, prose_rows, journey_rows, extension_rows]
    if not arguments.no_execution:
        measures.append(execution_rows)
    tables = [{k: v for measure in measures for k, v in measure(code).items()} for code in columns]
    print("| | " + " | ".join(str(code.root) for code in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for label in tables[0]:
        print(f"| {label} | " + " | ".join(table[label] for table in tables) + " |")


if __name__ == "__main__":
    main()
