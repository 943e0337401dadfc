"""Agreement of hosts through the job's own store, with a timeout."""

import socket
import threading
from datetime import timedelta

import pytest
import torch.distributed as dist

from profiler.distributed import kv_store as stores
from profiler.distributed.kv_store import KeyValueStore, connect


@pytest.fixture
def server():
    store = dist.TCPStore(
        "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=3)
    )
    yield store
    del store


def address(server):
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port)}


def test_all_hosts_agree_on_the_first_proposal(server):
    boards = [connect(address(server), "run") for _ in range(3)]
    assert [board.agree(f"proposal {index}") for index, board in enumerate(boards)] == ["proposal 0"] * 3
    assert connect(address(server), "another run").agree("its own") == "its own"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"MASTER_ADDR": "127.0.0.1"},
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "no"},
        {"MASTER_PORT": "1"},
    ],
)
def test_without_an_address_there_is_no_store(environ):
    assert connect(environ, "run") is None


def test_an_unused_port_is_no_store():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert connect({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}, "run") is None


def test_a_store_that_has_gone_raises():
    class Gone:
        def __getattr__(self, name):
            def fail(*arguments):
                raise RuntimeError("Connection reset by peer")

            return fail

    with pytest.raises(RuntimeError, match="Connection reset"):
        KeyValueStore(Gone(), "run").agree("proposal")


class Frozen:
    """A store that answers no call until it is thawed."""

    def __init__(self):
        self.thawed = threading.Event()

    def _hang(self, *arguments):
        self.thawed.wait()
        raise RuntimeError("Connection reset by peer")

    check = get = set = compare_set = _hang


def wait_for_threads():
    for thread in threading.enumerate():
        if thread.name.startswith("energy-profiler"):
            thread.join()


@pytest.fixture
def frozen(monkeypatch):
    monkeypatch.setattr(stores, "_TIMEOUT_SECONDS", 0.05)
    made = Frozen()
    yield made
    made.thawed.set()
    wait_for_threads()


def test_a_frozen_store_raises_after_the_timeout(frozen):
    board = KeyValueStore(frozen, "run")
    with pytest.raises(RuntimeError, match="does not answer"):
        board.agree("proposal")


def test_a_silent_listener_is_no_store(monkeypatch):
    monkeypatch.setattr(stores, "_TIMEOUT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:
        environ = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(silent.getsockname()[1])}
        assert connect(environ, "run") is None
    wait_for_threads()
