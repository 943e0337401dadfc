"""Execution of a script or module in this process, as ``python`` would run it."""

import builtins
import importlib.util
import os
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import NoReturn

import profiler
from profiler.errors import UsageError

_PACKAGE = profiler.__name__
_OURS = "profiler.cli."


class Program:
    """Script, directory or archive with a ``__main__``, or module (``python -m``).

    Args:
        target: Path, or dotted name of the module.
        arguments: Its arguments, ``sys.argv[1:]``.
        is_module: Whether ``target`` is the name of a module.

    Raises:
        UsageError: There is no such script or module.
    """

    def __init__(self, target: str, arguments: Sequence[str], *, is_module: bool) -> None:
        self._target = target
        self._arguments = arguments
        self._is_module = is_module
        self._is_container = not is_module and pkgutil.get_importer(target) is not None
        _search_first(self._folder())
        self._check()

    def _folder(self) -> str:
        """Return ``sys.path[0]`` of the program."""
        if self._is_module:
            return str(Path.cwd())
        target = Path(self._target)
        return str(target.absolute() if self._is_container else target.resolve().parent)

    def _check(self) -> None:
        if self._is_module:
            package = self._target.partition(".")[0]
            if not package or importlib.util.find_spec(package) is None:
                raise UsageError(f"there is no module named {package!r} to run.")
        elif not Path(self._target).exists():
            raise UsageError(f"there is no script {self._target}.")
        _refuse_our_name(Path(self._folder()))

    def run(self) -> None:
        """Run it in a ``__main__`` of its own; its exceptions propagate."""
        sys.argv[:] = [self._target, *self._arguments]
        sys.modules["__main__"] = main = _fresh_main()
        if self._is_module:
            sys.argv[0] = "-m"
            runpy._run_module_as_main(self._target)  # type: ignore[attr-defined] # noqa: SLF001 - this is python -m
        elif self._is_container:
            runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined] # noqa: SLF001
        else:
            _run_file(self._target, main)


def _refuse_our_name(folder: Path) -> None:
    """Refuse a program with a module named like this package, which it would import by mistake.

    Raises:
        UsageError: There is such a module.
    """
    for theirs in (folder / f"{_PACKAGE}.py", folder / _PACKAGE / "__init__.py"):
        if theirs.exists() and not theirs.samefile(profiler.__file__):
            raise UsageError(
                f"{theirs} has the name of this package; rename it, or the script would import this package instead."
            )


def print_exception(error: BaseException) -> None:
    """Print an uncaught exception as python does, without the frames above the program."""
    error.__traceback__ = shown = _without_ours(error.__traceback__)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, shown
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    sys.excepthook(type(error), error, shown)


def exit_by(error: KeyboardInterrupt) -> NoReturn:
    """End the process as an interrupt ends python, after the traceback was printed."""
    hook = sys.excepthook

    def show_nothing(*_: object) -> None:
        sys.excepthook = hook

    sys.excepthook = show_nothing
    raise error


def _search_first(folder: str) -> None:
    """Set ``sys.path[0]``, which holds the directory of this command."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _fresh_main() -> ModuleType:
    main = ModuleType("__main__")
    main.__builtins__ = builtins  # type: ignore[attr-defined]
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    return main


def _run_file(path: str, main: ModuleType) -> None:
    absolute = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH117, PTH118 - python keeps the dots of the path
    loader = (SourcelessFileLoader if path.endswith(".pyc") else SourceFileLoader)("__main__", absolute)
    main.__dict__.update({"__file__": absolute, "__cached__": None, "__loader__": loader})
    if isinstance(loader, SourceFileLoader):
        exec(compile(loader.get_data(absolute), absolute, "exec", dont_inherit=True), main.__dict__)  # noqa: S102 - running code is the purpose
    else:
        exec(loader.get_code("__main__") or "", main.__dict__)  # noqa: S102 - running code is the purpose


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    """Remove the frames at the top that belong to this command."""
    while traceback is not None and str(traceback.tb_frame.f_globals.get("__name__")).startswith(_OURS):
        traceback = traceback.tb_next
    return traceback
