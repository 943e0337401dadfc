"""List what this machine can measure, what it cannot, and the command that changes that.

Every sensor is opened as a recording would open it, and read for a second. The exit code is 0 if hardware measures at
least one device, and 1 if everything is estimated or no sensor can be read.
"""

import argparse
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from profiler._compat import display_path, printable
from profiler.cli import runs
from profiler.cli.common import write_stdout
from profiler.cli.diagnostics import Diagnosis, Gpu, Idle, diagnose, measure_idle, read_driver, read_torch
from profiler.config import keywords
from profiler.distributed import inheritance, rank
from profiler.records import Provenance
from profiler.sensors import cray, external, hwmon, idle, power_limit
from profiler.units import format_seconds, format_watts

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLE = "examples:\n  energy-profiler doctor\n  energy-profiler doctor --idle 30"
SHORTEST_IDLE_SECONDS, LONGEST_IDLE_SECONDS = 1.0, 3600.0
WIDTH = 80
_MEASURED, _NOTHING_MEASURED = 0, 1
_VARIABLES = {
    cray.VARIABLE,
    external.VARIABLE,
    hwmon.VARIABLE,
    inheritance.VARIABLE,
    rank.HOST_ID,
    runs.ROOT_VARIABLE,
    "ENERGY_PROFILER_NEEDS_BROWSER",
    "ENERGY_PROFILER_NEEDS_PROMETHEUS",
}
_HANGING = " " * 12
_PROVENANCE = {Provenance.MODELLED: "estimated"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--idle",
        type=_seconds,
        metavar="SECONDS",
        help="measure and store the power of the idle machine, with which later reports split off idle energy",
    )


def run(options: argparse.Namespace) -> int:
    """Print the diagnosis."""
    from rich.console import Console

    from profiler.recording.metadata import versions

    if options.idle is not None:
        return _run_idle(options.idle, as_json=options.json)
    torch, driver = read_torch(), read_driver()
    diagnosis = diagnose(torch=torch, driver=driver, environ=os.environ, versions=versions())
    advice = power_limit.suggestion(os.environ)
    if options.json:
        write_stdout(json.dumps({**as_dict(diagnosis), "power_limits": advice}, indent=1) + "\n")
        return _MEASURED if diagnosis.measured else _NOTHING_MEASURED
    console = Console(highlight=False, markup=False, emoji=False)
    for text, style in lines(diagnosis, console.width if console.is_terminal else WIDTH):
        console.print(printable(text), style=style, soft_wrap=True)
    if advice:
        console.print(printable(f"! {advice}"), soft_wrap=True)
    return _MEASURED if diagnosis.measured else _NOTHING_MEASURED


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not SHORTEST_IDLE_SECONDS <= seconds <= LONGEST_IDLE_SECONDS:
        raise argparse.ArgumentTypeError(
            f"must be between {SHORTEST_IDLE_SECONDS:g} and {LONGEST_IDLE_SECONDS:g} seconds"
        )
    return seconds


def _run_idle(seconds: float, *, as_json: bool) -> int:
    """Measure and store idle power; fail without storing it if the machine is not idle."""
    found = measure_idle(seconds, environ=os.environ)
    path = None
    if found.watts and not found.problem:
        path = idle.store(found.watts, datetime.now().astimezone(), environ=os.environ)
    if as_json:
        watts = {domain.name: power for domain, power in found.watts.items()}
        known = {"seconds": seconds, "watts": watts, "problem": found.problem, "path": path and str(path)}
        write_stdout(json.dumps({"idle": known}, indent=1) + "\n")
    else:
        write_stdout("\n".join(idle_lines(found, seconds, path)) + "\n")
    return _MEASURED if path is not None else _NOTHING_MEASURED


def idle_lines(found: Idle, seconds: float, path: Path | None) -> Iterator[str]:
    """Yield the idle power of each domain, and where it was stored or why it was not."""
    for domain, watts in found.watts.items():
        yield f"{domain.name:<20} {format_watts(watts):>8}"
    if path is not None:
        yield f"idle power over {format_seconds(seconds)}, stored in {display_path(path)}; later runs use it"
    else:
        yield f"nothing was stored: {found.problem or 'no sensor measures the power of this machine'}"


def as_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the diagnosis for JSON, without the serial numbers of devices."""
    domains = [
        {
            "name": one.domain.name,
            "source": one.domain.source,
            "provenance": one.domain.provenance.value,
            "billed": one.domain.billed,
            "watts": one.watts,
            "update_period_seconds": one.domain.update_period_seconds,
            "read_seconds": one.read_seconds,
            "notes": list(one.domain.notes),
        }
        for one in diagnosis.checked
    ]
    return {
        "versions": dict(diagnosis.versions),
        "host": asdict(diagnosis.host),
        "torch": {"version": diagnosis.torch.version, "problem": diagnosis.torch.problem},
        "driver": diagnosis.driver.version,
        "domains": domains,
        "gpus": [asdict(gpu) for gpu in diagnosis.gpus],
        "refusals": [asdict(refusal) for refusal in diagnosis.refusals],
        "devices_without_sensor": list(diagnosis.devices_without_sensor),
        "measured": [one.domain.name for one in diagnosis.measured],
        "summary": summary(diagnosis),
        "defaults": dict(_defaults(os.environ)),
    }


def lines(diagnosis: Diagnosis, width: int) -> Iterator[tuple[str, str]]:
    """Yield every line with its style. Commands to be typed are not wrapped."""
    yield from ((text, "") for text in _machine(diagnosis))
    if diagnosis.checked:
        yield from (("", ""), ("readable domains", "bold"))
        yield from ((text, "") for text in (*_printed(_domains(diagnosis), width), *_notes(diagnosis, width)))
    if diagnosis.gpus:
        yield from (("", ""), ("GPUs", "bold"))
        yield from ((text, "") for text in _printed(_devices(diagnosis.gpus), width))
    if diagnosis.refusals:
        yield from (("", ""), ("unavailable", "bold"))
        yield from ((text, "") for text in _refusals(diagnosis, width))
    if defaults := _defaults(os.environ):
        yield from (("", ""), ("defaults from environment variables", "bold"))
        yield from ((f"{name}={value}", "") for name, value in defaults)
    for name in unknown_variables(os.environ):
        yield f"{name} is no variable of energy-profiler and is ignored", "yellow"
    yield "", ""
    yield from ((text, "bold") for text in wrap(summary(diagnosis), width))


def _defaults(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    names = [keyword.environment_variable for keyword in keywords()]
    return [(name, environ[name]) for name in names if environ.get(name, "").strip()]


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the variables with the prefix of this program that nothing reads, such as misspelled ones."""
    known = {*_VARIABLES, *(keyword.environment_variable for keyword in keywords())}
    return sorted(name for name in environ if name.startswith("ENERGY_PROFILER_") and name not in known)


def _printed(table: "Table", width: int) -> list[str]:
    from rich.console import Console

    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as seen:
        console.print(table)
    return [line.rstrip() for line in seen.get().splitlines()]


def _refusals(diagnosis: Diagnosis, width: int) -> Iterator[str]:
    for refusal in diagnosis.refusals:
        head = f"  {refusal.source:<9} "
        yield from wrap(refusal.reason, width, initial_indent=head, subsequent_indent=_HANGING)
        if refusal.remedy:
            yield f"{_HANGING}-> {refusal.remedy}"


def _machine(diagnosis: Diagnosis) -> Iterator[str]:
    host, versions = diagnosis.host, diagnosis.versions
    where = [
        *(["virtual machine"] if host.virtual else []),
        *([f"{host.container} container"] if host.container else []),
    ]
    yield f"energy-profiler {versions.get('energy-profiler', '')}, Python {versions.get('python', '')}"
    yield f"system     {host.system} {host.machine}" + (f" ({', '.join(where)})" if where else "")
    sockets = f"{host.sockets} socket{'s' if host.sockets > 1 else ''}"
    yield f"processor  {host.cpu_model or 'unknown'}, {sockets}, {host.threads} threads"
    yield f"torch      {_torch(diagnosis)}"
    if diagnosis.driver.version:
        yield f"driver     NVIDIA {diagnosis.driver.version}"
    if diagnosis.devices_without_sensor:
        devices = ", ".join(diagnosis.devices_without_sensor)
        yield f"! no sensor covers {devices}: totals of runs that use it are incomplete"


def _torch(diagnosis: Diagnosis) -> str:
    torch = diagnosis.torch
    if torch.problem:
        return f"cannot be imported: {torch.problem}"
    if torch.version is None:
        return "not installed: steps are recorded where the loop calls prof.step(loss=...)"
    number = len(torch.devices)
    return f"{torch.version}, {number or 'no'} CUDA device{'s' if number > 1 else ''}"


def _domains(diagnosis: Diagnosis) -> "Table":
    table = _table("domain", ">power", ">update", ">reading", "", "source")
    for one in diagnosis.checked:
        domain = one.domain
        period = domain.update_period_seconds
        table.add_row(
            domain.name,
            "no change" if one.watts is None else format_watts(one.watts),
            "-" if period is None else format_seconds(period),
            format_seconds(one.read_seconds),
            _PROVENANCE.get(domain.provenance, domain.provenance.value)
            + ("" if domain.billed else ", not counted"),
            domain.source,
        )
    return table


def _devices(gpus: tuple[Gpu, ...]) -> "Table":
    table = _table("torch", "here", "nvidia-smi", "identity", "model")
    for gpu in gpus:
        table.add_row(
            "not visible" if gpu.cuda_index is None else f"cuda:{gpu.cuda_index}",
            gpu.domain or "-",
            "-" if gpu.nvml_index is None else str(gpu.nvml_index),
            gpu.identity or "-",
            gpu.model,
        )
    return table


def _table(*heads: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        table.add_column(
            head.lstrip(">"), justify="right" if head.startswith(">") else "left", overflow="fold"
        )
    return table


def _notes(diagnosis: Diagnosis, width: int) -> Iterator[str]:
    """Yield the notes about the domains, each once."""
    notes: dict[str, list[str]] = {}
    for one in diagnosis.checked:
        for note in one.domain.notes:
            notes.setdefault(note, []).append(one.domain.name)
    for note, names in notes.items():
        yield from wrap(f"{', '.join(names)}: {note}", width, initial_indent="! ", subsequent_indent="  ")


def summary(diagnosis: Diagnosis) -> str:
    """Summarize the diagnosis in a sentence."""
    measured = [one.domain.name for one in diagnosis.measured]
    modelled = [c.domain.name for c in diagnosis.checked if c.domain.billed and c not in diagnosis.measured]
    estimated = f"{', '.join(modelled)} {'is' if len(modelled) == 1 else 'are'} estimated, good to about 50 %"
    if measured and modelled:
        return f"A run here measures {', '.join(measured)}; {estimated}."
    if measured:
        return f"A run here measures {', '.join(measured)}."
    if modelled:
        return f"Nothing here is measured: {estimated}."
    return "No sensor can be read here: a run records steps and losses, and no energy."
