"""Command line ``energy-profiler``: one module per command, one row per command in ``COMMANDS``.

The module of a command has ``configure(parser)``, ``run(options)``, which returns the exit code, and ``EXAMPLE``.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, NoReturn

from profiler._compat import write_message
from profiler._version import __version__
from profiler.errors import ProfilerError

USAGE_ERROR = 2
"""Exit code for errors that the user can correct."""


class Command(NamedTuple):
    """Module of a command, and its line in the help text."""

    module: str
    help: str


COMMANDS = {
    "run": Command("profiler.cli.run", "profile a training script without editing it"),
    "report": Command("profiler.cli.report", "report what a run cost and what a lower loss would cost"),
    "watch": Command("profiler.cli.watch", "watch a run while it trains, in a terminal or a browser"),
    "list": Command("profiler.cli.listing", "list runs, with their energy and the level of their metric"),
    "compare": Command("profiler.cli.compare", "compare the energy of several runs at equal loss"),
    "allocate": Command("profiler.cli.allocate", "advise which runs of a sweep deserve more energy"),
    "size": Command("profiler.cli.size", "find the model size with the lowest loss for an amount of energy"),
    "merge": Command("profiler.cli.merge", "merge the records of the processes of one job"),
    "export": Command("profiler.cli.export", "export a run to the format of another tool"),
    "cap": Command("profiler.cli.cap", "try power limits while a run trains, and keep the best (needs root)"),
    "doctor": Command("profiler.cli.doctor", "list what this machine can measure, and how to measure more"),
}


class _Parser(argparse.ArgumentParser):
    """Parser that suggests the nearest option for an unknown one."""

    def reject(self, words: Sequence[str]) -> NoReturn:
        """Report unknown arguments with the usage of this command, and exit."""
        options = [option for option in self._option_string_actions if option.startswith("--")]
        for word in words:
            name = word.partition("=")[0]
            if name.startswith("-"):
                self.error(f"unknown option {name}{_suggestion(name, options)}")
        self.error(f"unexpected argument {words[0]}")


def _suggestion(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. A user's error is one line on stderr and exit code 2."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser, command = _parsers(words)
    options, unknown = parser.parse_known_args(words)
    if unknown:
        command.reject(unknown)
    if words[0] != "run":
        # The matrices of a report are small: further threads of numpy would only spin, beside a training too. The
        # variable has no effect once numpy is imported, and a script that is profiled keeps its own settings.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        code: int = options.action(options)
    except ProfilerError as error:
        return _fail(str(error))
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        place = "" if error.filename is None else f": {error.filename}"
        return _fail(f"{error.strerror or error}{place}")
    return code


def _fail(message: str) -> int:
    write_message(f"{' '.join(message.splitlines())}")
    return USAGE_ERROR


def _parsers(words: Sequence[str]) -> tuple[_Parser, _Parser]:
    """Build the parser and that of the chosen command, whose module alone is imported: ``run`` must start fast."""
    parser = _Parser(
        prog="energy-profiler",
        description="Measure what training costs in joules, and forecast what a lower loss will cost.",
    )
    parser.add_argument("--version", action="version", version=f"energy-profiler {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    chosen = words[0] if words else ""
    found = parser
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name, help=command.help, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == chosen:
            found = sub
            module = import_module(command.module)
            sub.description, sub.epilog = module.__doc__, module.EXAMPLE
            module.configure(sub)
            sub.set_defaults(action=module.run)
    if chosen and not chosen.startswith("-") and found is parser:
        parser.error(f"unknown command {chosen}{_suggestion(chosen, tuple(COMMANDS))}")
    return parser, found
