"""What can be measured on this machine, what cannot, and the command that changes it.

Every sensor is opened as a recording would open it and read for a second. The exit code is 0 when hardware measures at
least one device, and 1 when everything here is estimated or nothing can be had.
"""

import argparse
import io
import os
from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

from profiler.cli.diagnostics import Checkup, Gpu, ask_driver, ask_torch, examine
from profiler.units import format_seconds, format_watts

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLE = "example:\n  energy-profiler doctor"
WIDTH = 80
_MEASURED, _NOTHING_MEASURED = 0, 1
_HANGING = " " * 12


def configure(parser: argparse.ArgumentParser) -> None:
    """There are no options: what is found is what a recording would use."""
    del parser


def run(options: argparse.Namespace) -> int:
    """Examine the machine and say what was found."""
    from rich.console import Console

    from profiler.recording.metadata import versions

    del options
    torch, driver = ask_torch(), ask_driver()
    checkup = examine(torch=torch, driver=driver, environ=os.environ, versions=versions())
    console = Console(highlight=False, markup=False, emoji=False)
    for text, style in lines(checkup, console.width if console.is_terminal else WIDTH):
        console.print(text, style=style, soft_wrap=True)
    return _MEASURED if checkup.measured else _NOTHING_MEASURED


def lines(checkup: Checkup, width: int) -> Iterator[tuple[str, str]]:
    """Every line with its style. What a user is to type stands on one line, however long."""
    yield from ((text, "") for text in _machine(checkup))
    if checkup.checked:
        yield from (("", ""), ("energy can be read from", "bold"))
        yield from ((text, "") for text in (*_printed(_domains(checkup), width), *_notes(checkup, width)))
    if checkup.gpus:
        yield from (("", ""), ("GPUs", "bold"))
        yield from ((text, "") for text in _printed(_devices(checkup.gpus), width))
    if checkup.refusals:
        yield from (("", ""), ("not used", "bold"))
        yield from ((text, "") for text in _refusals(checkup, width))
    yield "", ""
    yield from ((text, "bold") for text in wrap(verdict(checkup), width))


def _printed(table: "Table", width: int) -> list[str]:
    from rich.console import Console

    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as seen:
        console.print(table)
    return [line.rstrip() for line in seen.get().splitlines()]


def _refusals(checkup: Checkup, width: int) -> Iterator[str]:
    for refusal in checkup.refusals:
        head = f"  {refusal.source:<9} "
        yield from wrap(refusal.reason, width, initial_indent=head, subsequent_indent=_HANGING)
        if refusal.remedy:
            yield f"{_HANGING}-> {refusal.remedy}"


def _machine(checkup: Checkup) -> Iterator[str]:
    host, versions = checkup.host, checkup.versions
    where = [
        *(["virtual machine"] if host.virtual else []),
        *([f"{host.container} container"] if host.container else []),
    ]
    yield f"energy-profiler {versions.get('energy-profiler', '')}, Python {versions.get('python', '')}"
    yield f"system     {host.system} {host.machine}" + (f" ({', '.join(where)})" if where else "")
    sockets = f"{host.sockets} socket{'s' if host.sockets > 1 else ''}"
    yield f"processor  {host.cpu_model or 'unknown'}, {sockets}, {host.threads} threads"
    yield f"torch      {_torch(checkup)}"
    if checkup.driver.version:
        yield f"driver     NVIDIA {checkup.driver.version}"
    if checkup.unmetered:
        yield f"! nothing measures {', '.join(checkup.unmetered)}: totals of runs that use it are incomplete"


def _torch(checkup: Checkup) -> str:
    torch = checkup.torch
    if torch.problem:
        return f"cannot be imported: {torch.problem}"
    if torch.version is None:
        return 'not installed, which recording needs: pip install "energy-profiler[torch]"'
    number = len(torch.devices)
    return f"{torch.version}, {number or 'no'} CUDA device{'s' if number > 1 else ''}"


def _domains(checkup: Checkup) -> "Table":
    table = _table("domain", ">power", ">renewed", ">a reading", "", "source")
    for one in checkup.checked:
        domain = one.domain
        period = domain.update_period_seconds
        table.add_row(
            domain.name,
            "no change" if one.watts is None else format_watts(one.watts),
            "-" if period is None else format_seconds(period),
            format_seconds(one.read_seconds),
            domain.provenance.value + ("" if domain.billed else ", not billed"),
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


def _notes(checkup: Checkup, width: int) -> Iterator[str]:
    """What must be known to trust a domain, once each."""
    notes: dict[str, list[str]] = {}
    for one in checkup.checked:
        for note in one.domain.notes:
            notes.setdefault(note, []).append(one.domain.name)
    for note, names in notes.items():
        yield from wrap(f"{', '.join(names)}: {note}", width, initial_indent="! ", subsequent_indent="  ")


def verdict(checkup: Checkup) -> str:
    """What it comes to, in a sentence."""
    measured = [one.domain.name for one in checkup.measured]
    modelled = [c.domain.name for c in checkup.checked if c.domain.billed and c not in checkup.measured]
    estimated = f"{', '.join(modelled)} {'is' if len(modelled) == 1 else 'are'} estimated, good to about 50 %"
    if measured and modelled:
        return f"A run here measures {', '.join(measured)}; {estimated}."
    if measured:
        return f"A run here measures {', '.join(measured)}."
    if modelled:
        return f"Nothing here is measured: {estimated}."
    return "Nothing here can be metered: a run records its steps and losses, and no energy."
