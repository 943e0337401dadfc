"""What hosts tell each other through the job's own store, and that nobody waits for those who tell nothing."""

import socket
import threading
from datetime import timedelta

import pytest
import torch.distributed as dist

from profiler.distributed import kv_store as stores
from profiler.distributed.kv_store import Board, open_board


@pytest.fixture
def server():
    store = dist.TCPStore(
        "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=3)
    )
    yield store
    del store


def address(server):
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port)}


def test_everybody_settles_on_the_first_proposal(server):
    boards = [open_board(address(server), "run") for _ in range(3)]
    assert [board.agree(f"proposal {index}") for index, board in enumerate(boards)] == ["proposal 0"] * 3
    assert open_board(address(server), "another run").agree("its own") == "its own"


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
    assert open_board(environ, "run") is None


def test_where_nobody_listens_there_is_no_store():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert open_board({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}, "run") is None


def test_a_store_that_has_gone_costs_nothing():
    class Gone:
        def __getattr__(self, name):
            def fail(*arguments):
                raise RuntimeError("Connection reset by peer")

            return fail

    with pytest.raises(RuntimeError, match="Connection reset"):
        Board(Gone(), "run").agree("proposal")


class Frozen:
    """A store that takes questions and answers none of them, until it is thawed."""

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
    monkeypatch.setattr(stores, "_BOUND_SECONDS", 0.05)
    made = Frozen()
    yield made
    made.thawed.set()
    wait_for_threads()


def test_a_store_that_does_not_answer_is_not_waited_for(frozen):
    board = Board(frozen, "run")
    with pytest.raises(RuntimeError, match="does not answer"):
        board.agree("proposal")


def test_whoever_listens_and_never_answers_is_no_store(monkeypatch):
    monkeypatch.setattr(stores, "_BOUND_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:
        environ = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(silent.getsockname()[1])}
        assert open_board(environ, "run") is None
    wait_for_threads()
