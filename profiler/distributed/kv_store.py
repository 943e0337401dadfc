"""The job's own key-value store, for what hosts must tell each other: a fresh client, a bound, and no collective.

torch.distributed's TCPStore listens at ``MASTER_ADDR:MASTER_PORT`` for as long as the job runs. A client of it works
before, beside and after the process group, and when ranks have died. Nothing here waits longer than its bound or fails.
"""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from profiler._compat import BackgroundCall

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
    asking = BackgroundCall(ask)
    if not asking.wait(_BOUND_SECONDS):
        raise RuntimeError("the job's store does not answer")
    return asking.result()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else os.fsdecode(value)
