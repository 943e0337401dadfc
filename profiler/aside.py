"""Work that may never end, such as a call of a driver or of a frozen host, done where nobody has to wait for it."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Aside(Generic[_T]):
    """Work under way on a daemon thread of its own.

    Where no thread can start any more it is done at once instead, without a bound: some Pythons start none while
    they end, and a record must be complete there too.
    """

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work
        self._results: list[_T] = []
        self._errors: list[Exception] = []
        self._thread = threading.Thread(target=self._do, name="energy-profiler-aside", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._do()

    def _do(self) -> None:
        try:
            self._results.append(self._work())
        except Exception as error:  # noqa: BLE001 - raised again where the result is asked for
            self._errors.append(error)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end. Returns whether it has come to it."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> _T:
        """What the work came to, once it has ended. An error of it is raised here."""
        if self._errors:
            raise self._errors[0]
        return self._results[0]
