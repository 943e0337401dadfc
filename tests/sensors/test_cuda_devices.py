import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.sensors.cuda_devices import Board, visible_boards

UUIDS = [f"GPU-{letter * 8}-1111-2222-3333-444444444444" for letter in "abcd"]
BOARDS = [Board(uuid=uuid, bus_id=f"00000000:0{i + 1}:00.0", model="H100") for i, uuid in enumerate(UUIDS)]


def chosen(selection, boards=BOARDS, **environ):
    if selection is not None:
        environ["CUDA_VISIBLE_DEVICES"] = selection
    return [(index, boards.index(board)) for index, board in visible_boards(boards, environ).boards]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2", [2]),
        ("2,0", [2, 0]),
        (" 3 , 1 ", [3, 1]),
        ("1,-1,2", [1]),
        ("0,9,1", [0]),
        ("0,bad,1", [0]),
        ("1gpu2,2ampere", [1, 2]),
        ("1,1", []),
        ("0,1,0,2", []),
        (UUIDS[2], [2]),
        (f"{UUIDS[3]},{UUIDS[0]}", [3, 0]),
        ("GPU-bb", [1]),
        ("GPU-", []),
        ("GPU-bb,GPU-zz,GPU-aa", [1]),
        ("GPU-bb,0", [1]),
        ("0,GPU-bb", [0]),
        ("GPU-bb,GPU-bb", []),
        ("GPU-bb,GPU-bbb", []),
    ],
)
def test_selections_follow_the_rules_of_cuda(selection, expected):
    assert chosen(selection) == list(enumerate(expected))


@pytest.fixture(scope="module")
def cuda():
    """The module ``torch.cuda``."""
    return pytest.importorskip("torch").cuda


def _torch_selection(cuda, selection):
    """Return the ordinals that torch selects for the same variable."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = selection
    try:
        parsed = cuda._parse_visible_devices()
    finally:
        del os.environ["CUDA_VISIBLE_DEVICES"]
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
    if parsed and isinstance(parsed[0], str):
        return cuda._transform_uuid_to_ordinals(parsed, UUIDS)
    beyond = next((i for i, ordinal in enumerate(parsed) if ordinal >= len(UUIDS)), len(parsed))
    return parsed[:beyond]


items = st.one_of(
    st.integers(-2, 6).map(str),
    st.sampled_from(["", " 1", "2 ", "+3", "1x", "x1", "GPU-", "GPU-zz", "none"]),
    st.sampled_from(UUIDS).flatmap(lambda uuid: st.integers(4, len(uuid)).map(lambda n: uuid[:n])),
)


@given(st.lists(items, max_size=6).map(",".join))
def test_selections_agree_with_torch(cuda, selection):
    assert [board for _, board in chosen(selection)] == _torch_selection(cuda, selection)


@given(st.text(max_size=30).filter(lambda text: "\0" not in text))
def test_any_text_is_parsed(selection):
    found = chosen(selection)
    assert [index for index, _ in found] == list(range(len(found)))


def test_bus_order_on_request():
    small = Board(uuid="GPU-small", bus_id="00000000:01:00.0", model="T4", speed=1.0)
    large = Board(uuid="GPU-large", bus_id="00000000:02:00.0", model="H100", speed=9.0)
    by_bus = visible_boards([large, small], {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "0"})
    assert by_bus.boards == ((0, small),)
    assert by_bus.notes == ()


def test_different_boards_are_numbered_from_the_fastest_with_a_note():
    small = Board(uuid="GPU-small", bus_id="00000000:01:00.0", model="T4", speed=1.0)
    large = Board(uuid="GPU-large", bus_id="00000000:02:00.0", model="H100", speed=9.0)
    guessed = visible_boards([small, large], {})
    assert guessed.boards == ((0, large), (1, small))
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in guessed.notes[0]


def test_a_uuid_needs_no_note():
    small = Board(uuid="GPU-small", bus_id="00000000:01:00.0", model="T4", speed=1.0)
    large = Board(uuid="GPU-large", bus_id="00000000:02:00.0", model="H100", speed=9.0)
    named = visible_boards([small, large], {"CUDA_VISIBLE_DEVICES": "GPU-small"})
    assert named.boards == ((0, small),)
    assert named.notes == ()


@pytest.mark.parametrize("selection", ["MIG-11", "MIG-11,MIG-22", f"MIG-{UUIDS[1]}/3/0"])
def test_instances_select_their_board_once(selection):
    split = Board(uuid=UUIDS[1], bus_id="2", model="H100", mig=True, mig_uuids=("MIG-1111", "MIG-2222"))
    boards = [BOARDS[0], split]
    assert chosen(selection, boards) == [(0, 1)]


def test_unselected_instances_have_a_note():
    split = Board(uuid=UUIDS[1], bus_id="2", model="H100", mig=True, mig_uuids=("MIG-1111",))
    assert "CUDA_VISIBLE_DEVICES=MIG-" in visible_boards([BOARDS[0], split], {}).notes[0]
    assert visible_boards([BOARDS[0], split], {"CUDA_VISIBLE_DEVICES": "MIG-1111"}).notes == ()


def test_uuids_of_cuda_override_the_selection():
    bare = [UUIDS[2].removeprefix("GPU-"), UUIDS[0]]
    found = visible_boards(BOARDS, {"CUDA_VISIBLE_DEVICES": "3"}, cuda_uuids=bare)
    assert [(index, BOARDS.index(board)) for index, board in found.boards] == [(0, 2), (1, 0)]


def test_an_unlisted_device_keeps_its_index():
    found = visible_boards(BOARDS, {}, cuda_uuids=["elsewhere", UUIDS[1]])
    assert [(index, BOARDS.index(board)) for index, board in found.boards] == [(1, 1)]
