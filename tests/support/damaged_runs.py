"""Damaged run directories: random mutations of their files, and a call of everything that reads a run."""

import json
from pathlib import Path

from profiler import load_run
from profiler.emissions import Prices
from profiler.errors import ProfilerError
from profiler.export import FORMATS, export
from profiler.merging.follow import Follower
from profiler.merging.merge import merge
from profiler.reporting import COMPARISON_RENDERERS, comparison, render, render_comparison, report_of
from profiler.reporting.live_report import Watch
from profiler.reporting.run_row import row_of
from profiler.storage.schema import RUN_FILE, TABLES

FILES = (RUN_FILE, *(table.filename for table in TABLES))
VALUES = (
    None, True, False, -1, 0, 1, 10**12, 10**19, 10**400, 0.5, -1e308, 1e308, float("nan"), float("inf"), "", "x", "0",
    "../../x", "\x1b[31m\u202e", "running", "gpu:0", "cpu:package-0", [], {}, [[]], [None], {"": None}, {"name": "x"},
)  # fmt: skip
"""Values of other types, and at the ends of ranges."""
CELLS = (
    "", "nan", "inf", "-inf", "-1", "0", "1", "2", "1e400", "1e12", "1e308", "9" * 30, "1_0",
    "x", '"', "\x00", "\r", "=1+1", "0x1",
    "1.5", "é", "\xff",
)  # fmt: skip


def mutate(run, rng):
    """Mutate one file of a run directory in place; return what was done."""
    files = sorted(file for file in run.rglob("*") if file.name in FILES)
    file = rng.choice(files)
    if rng.random() < 0.2:
        return f"{file.relative_to(run)}: {_mutate_bytes(file, rng)}"
    change = _mutate_json if file.name == RUN_FILE else _mutate_csv
    return f"{file.relative_to(run)}: {change(file, rng)}"


def _mutate_bytes(file, rng):
    content = bytearray(file.read_bytes())
    start = rng.randrange(len(content) + 1)
    end = min(len(content), start + rng.choice((0, 1, 1, 10, 1000)))
    new = rng.choice(
        (b"", bytes([rng.randrange(256)]), b"\x00" * 40, b"\n", b'"', b",", b"\xef\xbb\xbf", b"{" * 2000)
    )
    content[start:end] = new
    if rng.random() < 0.2:
        del content[start:]
    file.write_bytes(bytes(content))
    return f"bytes {start} to {end} became {bytes(new[:10])!r}"


def _mutate_json(file, rng):
    try:
        found = json.loads(file.read_text())
    except ValueError:
        return "nothing"
    places = list(_places(found))
    if not places:
        return "nothing"
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        holder, key = rng.choice(places)
        value = rng.choice(VALUES)
        try:
            if rng.random() < 0.2:
                del holder[key]
            elif isinstance(holder[key], (int, float)) and rng.random() < 0.4:
                holder[key] *= rng.choice((-1, 0, 1.01, 1e6, 1e20))
            else:
                holder[key] = json.loads(json.dumps(value))
        except (KeyError, IndexError, TypeError, OverflowError):
            continue
    file.write_text(json.dumps(found))
    return f"{key!r} became {str(value)[:30]!r}"


def _places(value):
    """Yield every holder and key of a tree."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _mutate_csv(file, rng):
    lines = file.read_text(errors="replace").splitlines(keepends=True)
    if not lines:
        return "nothing"
    row, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.choice(("cell", "cell", "cell", "cell", "drop", "swap", "double"))
    note = f"line {row + 1}: {kind}"
    if kind == "cell":
        cells = lines[row].rstrip("\n").split(",")
        column, cell = rng.randrange(len(cells)), rng.choice(CELLS)
        note += f" {column} was {cells[column]!r}, became {cell!r}"
        cells[column] = cell
        lines[row] = ",".join(cells) + "\n"
    elif kind == "drop":
        del lines[row]
    elif kind == "swap":
        lines[row], lines[other] = lines[other], lines[row]
    else:
        lines.insert(other, lines[row])
    file.write_text("".join(lines), encoding="utf-8", errors="replace")
    return note


def readers(path, *, forecasts, pages):
    """Yield name and call of everything that reads a run directory; those that fit a curve, and pages, on request."""
    run = load_run(path)
    yield "total", lambda: run.total_joules
    yield "partial", lambda: load_run(path, partial=True).summary()
    yield "domains", run.energy_by_domain
    yield "phases", run.energy_by_phase
    yield "merge", lambda: merge([path])
    yield "list", lambda: row_of(load_run(path), Prices())
    yield "follow", lambda: Follower(path).poll().summary()
    for name in FORMATS:
        yield f"export {name}", lambda name=name: export(run, name)
    if forecasts:
        yield "fit", run.fit
        yield "watch", lambda: Watch(path).poll()
        yield "waste", run.waste
        for extension in COMPARISON_RENDERERS if pages else (".txt",):
            yield f"compare {extension}", lambda extension=extension: _compared(run, path, extension)
        for extension in (".txt", ".json", *((".html",) if pages else ())):
            yield f"report {extension}", lambda extension=extension: render(report_of(run), extension)


def _compared(run, path, extension):
    return render_comparison(comparison.compare([run, load_run(path)]), extension)


def read_all(path, *, forecasts=True, pages=False):
    """Call every reader; return the total (None if it is refused) and the failures that are not typed errors."""
    total, failures = None, []
    calls = readers(Path(path), forecasts=forecasts, pages=pages)
    while True:
        name = "load"
        try:
            name, read = next(calls)
            found = read()
        except StopIteration:
            return total, failures
        except ProfilerError:
            if name == "load":
                return total, failures
        except Exception as error:  # noqa: BLE001 - these are what is searched for
            failures.append((name, error))
            if name == "load":
                return total, failures
        else:
            total = found if name == "total" else total
