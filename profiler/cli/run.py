"""Profile a training script without editing it, in the same process, as python would run it.

Options of the profiler come before the script; the arguments after its name belong to the script. Exit code, signals
and tracebacks are those of the script.
"""

import argparse
import atexit
from typing import TYPE_CHECKING, Any

from profiler._compat import exit_by_interrupt
from profiler.cli.common import flag_help
from profiler.config import Keyword, keywords, scalar
from profiler.errors import UsageError

if TYPE_CHECKING:
    from profiler.energy_profiler import EnergyProfiler

EXAMPLE = """\
examples:
  energy-profiler run train.py --epochs 3
  energy-profiler run --name baseline -m my_package.train --epochs 3
  torchrun --nproc-per-node 8 -m profiler run train.py"""

USAGE = "energy-profiler run [OPTION ...] (SCRIPT | -m MODULE) [ARGUMENT ...]"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = USAGE
    for keyword in keywords():
        _add_flag(parser, keyword)
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


def _add_flag(parser: argparse.ArgumentParser, keyword: Keyword) -> None:
    options: dict[str, Any] = {
        "dest": keyword.name,
        "default": argparse.SUPPRESS,
        "help": flag_help(keyword),
    }
    if keyword.type is bool:
        parser.add_argument(keyword.flag, action=argparse.BooleanOptionalAction, **options)
    elif keyword.type is dict:
        parser.add_argument(keyword.flag, action="append", type=_setting, metavar=keyword.metavar, **options)
    elif keyword.type is not None:
        parser.add_argument(keyword.flag, type=keyword.type, metavar=keyword.metavar, **options)


def _setting(text: str) -> tuple[str, object]:
    """Split ``KEY=VALUE``; a value that is a JSON scalar becomes a number, a boolean or None."""
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return name, scalar(value)


def run(options: argparse.Namespace) -> int:
    """Run the script and return its exit code, or raise the exception that ends the process as python would."""
    from profiler.cli import script
    from profiler.energy_profiler import EnergyProfiler

    words = options.module or options.command
    words = words[1:] if words[:1] == ["--"] else words
    if not words:
        raise UsageError("name a script to run, or a module with -m.")
    program = script.Program(words[0], words[1:], is_module=bool(options.module))
    known = {keyword.name for keyword in keywords()}
    given = {name: value for name, value in vars(options).items() if name in known}
    for keyword in keywords():
        if keyword.type is dict and keyword.name in given:
            given[keyword.name] = dict(given[keyword.name])
    profiler = EnergyProfiler(**given)
    ending = _Ending(profiler)
    try:
        program.run()
    except SystemExit as error:
        ending.error = SystemExit(error.code)
        raise
    except KeyboardInterrupt as error:
        script.print_exception(error)
        ending.error = error
        script.exit_by(error)
    except BaseException as error:  # noqa: BLE001 - python prints any exception and exits with 1
        script.print_exception(error)
        ending.error = error
        return 1
    return 0


class _Ending:
    """Stops the recording when the interpreter ends, after the script's threads and exit handlers."""

    def __init__(self, profiler: "EnergyProfiler") -> None:
        self.error: BaseException | None = None
        self._profiler = profiler.start()
        atexit.register(self._at_exit)

    def _at_exit(self) -> None:
        error = self.error
        self._profiler.__exit__(type(error) if error else None, error, None)
        if isinstance(error, KeyboardInterrupt):
            exit_by_interrupt()
