"""The job's own key-value store, for what hosts must tell each other: a fresh client, a bound, and no collective.

torch.distributed's TCPStore listens at ``MASTER_ADDR:MASTER_PORT`` for as long as the job runs. A client of it works
before, beside and after the process group, and when ranks have died. Nothing here waits longer than its bound or fails.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from profiler._compat import Aside

_BOUND_SECONDS = 3.0
_PAUSE_SECONDS = 0.02
_ROOT = "energy_profiler"

_T = TypeVar("_T")


class Board:
    """What the processes of one run tell each other.

    Args:
        store: A ``torch.distributed.Store``.
        run: What they all call their run.
    """

    def __init__(self, store: Any, run: str) -> None:
        self._store = store
        self._run = run

    def agree(self, proposal: str) -> str:
        """Settle on the first proposal that anybody made.

        Raises:
            RuntimeError: The store has gone, or does not answer.
        """
        return _text(_answer(lambda: self._store.compare_set(self._name("directory"), "", proposal)))

    def publish(self, rank: int, attempt: int, record: Mapping[str, Any]) -> None:
        """Tell what became of a rank; nobody hears it where the store has gone."""
        with suppress(RuntimeError):
            _answer(lambda: self._store.set(self._name(attempt, rank), json.dumps(record)))

    def collect(self, ranks: Iterable[int], attempt: int, seconds: float) -> dict[int, dict[str, Any]]:
        """What others have told, by rank, waiting ``seconds`` for them in all, and for the store its bound."""
        found: dict[int, dict[str, Any]] = {}
        asking = Aside(lambda: self._collect(ranks, attempt, time.monotonic() + seconds, found))
        if asking.wait(seconds + _BOUND_SECONDS):
            asking.result()
        return dict(found)

    def _collect(
        self, ranks: Iterable[int], attempt: int, deadline: float, found: dict[int, dict[str, Any]]
    ) -> None:
        with suppress(RuntimeError):  # the store has gone: what is known by now is all there is
            for rank in ranks:
                name = self._name(attempt, rank)
                while not self._store.check([name]) and time.monotonic() < deadline:
                    time.sleep(_PAUSE_SECONDS)
                if self._store.check([name]):
                    found[rank] = dict(json.loads(_text(self._store.get(name))))

    def _name(self, *of: object) -> str:
        return "/".join(str(part) for part in (_ROOT, self._run, *of))


def open_board(environ: Mapping[str, str], run: str) -> Board | None:
    """Reach the job's store; None where there is none, or where it does not answer within a few seconds."""
    address, port = environ.get("MASTER_ADDR"), environ.get("MASTER_PORT", "")
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or not address or not port.isdecimal():
        return None
    try:
        with socket.create_connection((address, int(port)), timeout=_BOUND_SECONDS):
            pass  # torch's own client would try again and again, and print each failure
        store = _answer(
            lambda: distributed.TCPStore(
                address,
                int(port),
                is_master=False,
                timeout=timedelta(seconds=_BOUND_SECONDS),
                wait_for_workers=False,
            )
        )
    except (OSError, RuntimeError, ValueError):
        return None
    return Board(store, run)


def _answer(ask: Callable[[], _T]) -> _T:
    """Ask, and wait for the answer no longer than the bound: torch's client waits for a frozen server for ever.

    Raises:
        RuntimeError: There was no answer in time.
    """
    asking = Aside(ask)
    if not asking.wait(_BOUND_SECONDS):
        raise RuntimeError("the job's store does not answer")
    return asking.result()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else os.fsdecode(value)
