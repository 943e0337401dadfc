"""Banned language patterns in the source, the templates and the documentation. CONTRIBUTING.md has the rules."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BANNED = {
    r"say|says|said|saying|tell|tells|told|telling|speak|speaks|spoke|spoken": "warn, log, report, state, pass",
    r"whoever|somebody|nobody|everybody": "the user, the process, no caller",
    r"told apart|left aside|set aside|put right|puts right|handed over|hands? over": "distinguished, excluded, fixed",
    r"for ever|by now|goes? on without|comes? to nothing": "always, now, continues without",
    r"knows? of|stands? for|lets? us": "has, represents, allows",
    r"renewed every|joules a step|us a step": "update interval of, per step",
}
"""Patterns of whole words, and what to write instead. Identifiers count."""

SUFFIXES = {".py", ".md", ".html", ".js", ".css", ""}


def place_of(path):
    """Return the package of a source file, or the name of a page."""
    parts = path.relative_to(ROOT).parts
    if parts[0] == "profiler":
        return parts[1].removesuffix(".py")
    return parts[0] if parts[0] in {"examples", "scripts"} else "/".join(parts)


def files():
    for folder in ("profiler", "docs", "scripts", "examples"):
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.is_file())
    yield from sorted(ROOT.glob("*.md"))
    yield ROOT / "pyproject.toml"


PLACES = {}
for _path in files():
    # Minified scripts are those of others.
    is_ours = "__pycache__" not in _path.parts and not _path.name.endswith(".min.js")
    if _path.suffix in SUFFIXES and is_ours:
        PLACES.setdefault(place_of(_path), []).append(_path)


def docstrings(path):
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, documented) and (text := ast.get_docstring(node)):
            yield node.body[0].lineno, text


def banned_in(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for pattern, instead in BANNED.items():
            for match in re.finditer(rf"\b(?:{pattern})\b", line, re.IGNORECASE):
                yield f"{path.relative_to(ROOT)}:{number}: {match[0]!r} (better: {instead})"
    if path.suffix == ".py":
        for number, text in docstrings(path):
            if re.match(r"(What|Whether|How|That which)\b", text):
                yield f"{path.relative_to(ROOT)}:{number}: begins with {text.split()[0]!r}"


@pytest.mark.parametrize("place", PLACES)
def test_prose_has_no_banned_pattern(place):
    found = [line for path in PLACES[place] for line in banned_in(path)]
    assert not found, "\n".join(found)
