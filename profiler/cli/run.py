"""Profile a training script that nobody edits, in the same process, as python would run it.

Options of the profiler come before the script; everything after its name is the script's own. The exit code, the
signals and the tracebacks are the script's.
"""

import argparse
import atexit
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from profiler.ending import end_by_interrupt
from profiler.errors import UsageError

if TYPE_CHECKING:
    from profiler.energy_profiler import EnergyProfiler

EXAMPLE = """\
examples:
  energy-profiler run train.py --epochs 3
  energy-profiler run --name baseline -m my_package.train --epochs 3
  torchrun --nproc-per-node 8 -m profiler run train.py"""

USAGE = "energy-profiler run [OPTION ...] (SCRIPT | -m MODULE) [ARGUMENT ...]"


class Setting(NamedTuple):
    """A keyword of :class:`profiler.EnergyProfiler` as an option of the command; one of kind bool takes no value."""

    kind: Callable[[str], object]
    metavar: str
    help: str


SETTINGS = {
    "name": Setting(str, "NAME", "a name for the run, shown in reports"),
    "run_dir": Setting(str, "DIR", "where to write; by default a new directory under energy_runs"),
    "live": Setting(bool, "", "write one line on stderr every ten seconds"),
    "target_loss": Setting(float, "LOSS", "the loss that forecasts while training are made for"),
    "energy_budget": Setting(float, "JOULES", "say when these are used, or the target is out of their reach"),
    "total_steps": Setting(int, "STEPS", "optimizer steps that the whole run will take"),
    "country": Setting(
        str, "CODE", "take the carbon intensity of electricity from codecarbon's offline table"
    ),
    "grid_gco2e_per_kwh": Setting(float, "GRAMS", "or give it: grams of CO2 equivalent a kWh"),
    "price_per_kwh": Setting(float, "MONEY", "money a kWh, in a currency of your own"),
    "pue": Setting(float, "PUE", "power usage effectiveness of the building; 1 if not given"),
    "resume": Setting(str, "DIR", "an earlier run that this one goes on from, at its end"),
    "sample_period_seconds": Setting(float, "SECONDS", "time between samples; chosen by itself if not given"),
    "time_data_loading": Setting(bool, "", "time torch's data loaders, the default, or leave them alone"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = USAGE
    for name, setting in SETTINGS.items():
        _add(parser, name, setting)
    parser.add_argument(
        "-m",
        dest="module",
        metavar="MODULE",
        nargs=argparse.REMAINDER,
        help="run a module, as python -m does",
    )
    parser.add_argument(
        "command", metavar="SCRIPT", nargs=argparse.REMAINDER, help="a script, and its arguments"
    )


def _add(parser: argparse.ArgumentParser, name: str, setting: Setting) -> None:
    flag = "--" + name.replace("_", "-")
    if setting.kind is bool:
        switch = argparse.BooleanOptionalAction
        parser.add_argument(flag, action=switch, default=argparse.SUPPRESS, help=setting.help)
    else:
        parser.add_argument(
            flag, type=setting.kind, metavar=setting.metavar, default=argparse.SUPPRESS, help=setting.help
        )


def run(options: argparse.Namespace) -> int:
    """Run the script to its end; returns the exit code, or raises what ends the process as the script wanted."""
    from profiler.cli import script
    from profiler.energy_profiler import EnergyProfiler

    words = options.module or options.command
    words = words[1:] if words[:1] == ["--"] else words
    if not words:
        raise UsageError("name a script to run, or a module with -m.")
    program = script.Program(words[0], words[1:], is_module=bool(options.module))
    given = {name: value for name, value in vars(options).items() if name in SETTINGS}
    ending = _Ending(EnergyProfiler(**given))
    try:
        program.run()
    except SystemExit as error:
        ending.error = SystemExit(error.code)
        raise
    except KeyboardInterrupt as error:
        script.show(error)
        ending.error = error
        script.die_of(error)
    except BaseException as error:  # noqa: BLE001 - shown, and ended with, as python does
        script.show(error)
        ending.error = error
        return 1
    return 0


class _Ending:
    """Ends the recording when python itself ends, behind the script's threads and exit handlers."""

    def __init__(self, profiler: "EnergyProfiler") -> None:
        self.error: BaseException | None = None
        self._profiler = profiler.start()
        atexit.register(self._at_exit)

    def _at_exit(self) -> None:
        error = self.error
        self._profiler.__exit__(type(error) if error else None, error, None)
        if isinstance(error, KeyboardInterrupt):
            end_by_interrupt()
