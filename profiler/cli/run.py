"""Profile a training script that nobody edits, in the same process, as python would run it.

Options of the profiler come before the script; everything after its name is the script's own. The exit code, the
signals and the tracebacks are the script's.
"""

import argparse
import atexit
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

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
    """A keyword of :class:`profiler.EnergyProfiler` as an option of the command; a ``kind`` of None takes no value."""

    kind: Callable[[str], object] | None
    metavar: str
    help: str


SETTINGS = {
    "name": Setting(str, "NAME", "a name for the run, shown in reports"),
    "run_dir": Setting(str, "DIR", "where to write; by default a new directory under energy_runs"),
    "sample_period_seconds": Setting(float, "SECONDS", "time between samples; chosen by itself if not given"),
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
    if setting.kind is None:
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=setting.help)
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
        ending.stop(error)  # what python runs at exit could make it forget that it was interrupted
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
        self.stop(self.error)

    def stop(self, error: BaseException | None) -> None:
        """End the recording now."""
        self._profiler.__exit__(type(error) if error else None, error, None)
