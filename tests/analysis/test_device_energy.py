"""Energy by device and activity adds up to the total, with the part after a moment."""

import pytest

from profiler import load_run
from profiler.analysis.device_energy import pieces_of
from tests.support.runs import write_run


@pytest.fixture
def run(tmp_path):
    return load_run(write_run(tmp_path / "run", steps=400))


def joules_of(pieces, **wanted):
    return sum(
        piece.joules
        for piece in pieces
        if all(getattr(piece, name) == value for name, value in wanted.items())
    )


def test_pieces_add_up_to_the_total_and_to_each_domain(run):
    pieces = pieces_of(run)
    assert joules_of(pieces) == pytest.approx(run.total_joules)
    for domain, joules in run.energy_by_domain().items():
        assert joules_of(pieces, device=domain) == pytest.approx(joules)
    assert joules_of(pieces, activity="setup") == pytest.approx(800.0)
    assert joules_of(pieces, activity="training steps", device="gpu:0") == pytest.approx(30_000.0)


def test_devices_of_one_kind_are_one_piece(tmp_path):
    path = write_run(tmp_path / "run", steps=10)
    for name in ("run.json", "samples.csv"):
        text = (path / name).read_text()
        (path / name).write_text(text.replace("dram:package-0", "cpu:package-1"))
    assert {piece.device for piece in pieces_of(load_run(path))} == {"gpu:0", "2 cpu", ""}


def test_the_part_after_a_moment(run):
    pieces = pieces_of(run, after_joules=30_800.0)
    assert sum(piece.later_joules for piece in pieces) == pytest.approx(10_000.0)
    assert {piece.activity for piece in pieces if piece.later_joules} == {"training steps"}
    assert all(piece.later_joules <= piece.joules for piece in pieces)


def test_a_run_without_steps_has_its_spans(tmp_path):
    pieces = pieces_of(load_run(write_run(tmp_path / "run", steps=0)))
    assert {piece.activity for piece in pieces} == {"setup"}
    assert joules_of(pieces) == pytest.approx(800.0)


def test_unmetered_energy_has_no_pieces(tmp_path):
    path = write_run(tmp_path / "run", steps=5)
    for name in ("steps.csv", "spans.csv"):
        head, *rows = (path / name).read_text().splitlines()
        at = [k for k, column in enumerate(head.split(",")) if column.endswith("_joules")]
        cells = [["" if k in at else cell for k, cell in enumerate(row.split(","))] for row in rows]
        (path / name).write_text("\n".join([head, *map(",".join, cells)]) + "\n")
    assert pieces_of(load_run(path, partial=True)) == ()
