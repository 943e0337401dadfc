"""Loops of frameworks and of several processes: number of steps and their losses."""

import pytest

from tests.support import distributed_loops, framework_loops
from tests.support.loops_page import HEAD, PAGE, is_on_page, note_of, run_distributed, run_frameworks
from tests.support.training_loops import BY_HAND, LOOPS, MANUAL
from tests.torch_hooks.test_compile import LOOPS as COMPILED

pytestmark = pytest.mark.slow

EVALUATIONS = {
    "Lightning, automatic": 2,
    "Lightning, accumulating": 2,
    "Lightning, mixed precision": 2,
    "Trainer of transformers": 2,
    "Trainer of transformers, accumulating": 2,
}
"""Number of evaluations between the steps of each loop."""


@pytest.fixture(scope="module")
def frameworks(tmp_path_factory):
    for name in ("lightning", "transformers", "accelerate"):
        pytest.importorskip(name)
    return run_frameworks(tmp_path_factory.mktemp("frameworks"))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return run_distributed(tmp_path_factory.mktemp("distributed"))


def check(found):
    assert [count for _, count in found["seen"]] == [count for _, count in found["truth"]]
    assert [loss for loss, _ in found["seen"]] == pytest.approx(
        [loss for loss, _ in found["truth"]], rel=1e-6
    )
    assert found["warnings"] == []


@pytest.mark.parametrize("name", framework_loops.LOOPS)
def test_framework(frameworks, name):
    found = frameworks[name]
    check(found)
    assert found["evaluations"] == EVALUATIONS.get(name, 0)
    assert all(found["loaded"]), "each step must have a loading time"
    assert is_on_page(name, found["seen"], found["truth"], note_of(framework_loops.LOOPS[name]))


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", distributed_loops.LOOPS)
def test_several_processes(ranks, name, rank):
    found = ranks[rank][name]
    check(found)
    assert is_on_page(name, found["seen"], found["truth"], note_of(distributed_loops.LOOPS[name]))


def test_the_page_lists_exactly_these_loops():
    table = PAGE.read_text(encoding="utf-8").partition("|---|---|---|---|\n")[2].partition("\n\n")[0]
    names = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()]
    compiled = [f"torch.compile: {loop.__name__}" for loop in COMPILED]
    assert names == [*LOOPS, *MANUAL, *BY_HAND, *compiled, *framework_loops.LOOPS, *distributed_loops.LOOPS]
    assert HEAD.partition("**")[2] in PAGE.read_text(encoding="utf-8")
