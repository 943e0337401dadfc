"""The command ``energy-profiler``: one file a command, one row each in ``COMMANDS``."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from profiler._version import __version__
from profiler.errors import ProfilerError

USER_MISTAKE = 2
"""Exit code for what the user can put right."""


class Command(NamedTuple):
    """A row of the table: where a command lives and what it is for."""

    module: str
    help: str


COMMANDS = {
    "run": Command("profiler.cli.run", "profile a training script that nobody edits"),
    "report": Command("profiler.cli.report", "what a run cost, and what lower loss will cost"),
    "watch": Command("profiler.cli.watch", "look at a run while it trains, in a terminal or a browser"),
    "compare": Command("profiler.cli.compare", "which of several runs is the cheapest way to each loss"),
    "merge": Command("profiler.cli.merge", "put what the processes of a job recorded together as one run"),
    "export": Command("profiler.cli.export", "write a run in the format of another tool"),
    "doctor": Command(
        "profiler.cli.doctor", "what can be measured on this machine, and what would change that"
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. A user's mistake is one line on stderr and exit code 2."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(words[:1]).parse_args(words)
    action: Callable[[argparse.Namespace], int] = options.action
    try:
        return action(options)
    except ProfilerError as error:
        print(f"energy-profiler: {error}", file=sys.stderr)
        return USER_MISTAKE
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        print(f"energy-profiler: {error.strerror or error}: {error.filename}", file=sys.stderr)
        return USER_MISTAKE


def _parser(chosen: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser. Of the commands only the chosen one is imported: a script is run soon after."""
    parser = argparse.ArgumentParser(
        prog="energy-profiler", description="What training costs in joules, and what lower loss will cost."
    )
    parser.add_argument("--version", action="version", version=f"energy-profiler {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name, help=command.help, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name in chosen:
            module = import_module(command.module)
            sub.description, sub.epilog = module.__doc__, module.EXAMPLE
            module.configure(sub)
            sub.set_defaults(action=module.run)
    return parser
