"""The job's own key-value store, through which hosts agree on a name: a client of its own, with a timeout.

torch.distributed's TCPStore listens at ``MASTER_ADDR:MASTER_PORT`` for as long as the job runs. A client of it works
before, beside and after the process group, and when ranks have died. No collective operation is involved.
"""

import os
import socket
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

from profiler._compat import BackgroundCall

_TIMEOUT_SECONDS = 3.0
_ROOT = "energy_profiler"

_T = TypeVar("_T")


class KeyValueStore:
    """Values that the processes of one run share.

    Args:
        store: A ``torch.distributed.Store``.
        run_key: The key of the run, the same in all of its processes.
    """

    def __init__(self, store: Any, run_key: str) -> None:
        self._store = store
        self._run_key = run_key

    def agree(self, proposal: str) -> str:
        """Return the proposal of the process that called this first.

        Raises:
            RuntimeError: The store has gone, or does not answer in time.
        """
        name = f"{_ROOT}/{self._run_key}/directory"
        return _text(_answer(BackgroundCall(lambda: self._store.compare_set(name, "", proposal))))


def connect(environ: Mapping[str, str], run_key: str) -> KeyValueStore | None:
    """Connect to the job's store; None where there is none, or where it does not answer in time."""
    address, port = environ.get("MASTER_ADDR"), environ.get("MASTER_PORT", "")
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or not address or not port.isdecimal():
        return None
    try:
        with socket.create_connection((address, int(port)), timeout=_TIMEOUT_SECONDS):
            pass  # torch's own client retries for long, and prints each failure
        store = _answer(
            BackgroundCall(
                lambda: distributed.TCPStore(
                    address,
                    int(port),
                    is_master=False,
                    timeout=timedelta(seconds=_TIMEOUT_SECONDS),
                    wait_for_workers=False,
                )
            )
        )
    except (OSError, RuntimeError, ValueError):
        return None
    return KeyValueStore(store, run_key)


def _answer(pending: BackgroundCall[_T]) -> _T:
    """Return the result of a call, with a timeout of our own: torch's client waits for a frozen server without one.

    Raises:
        RuntimeError: There was no answer in time.
    """
    if not pending.wait(_TIMEOUT_SECONDS):
        raise RuntimeError("the job's store does not answer")
    return pending.result()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else os.fsdecode(value)
