"""``energy-profiler merge`` of a single record."""

from profiler import load_run
from profiler.cli import main
from tests.support.runs import write_run


def test_single_record_is_copied_with_a_message(tmp_path, capsys):
    run, copy = write_run(tmp_path / "run"), tmp_path / "copy"
    assert main(["merge", str(run), "-o", str(copy)]) == 0
    assert capsys.readouterr().out == f"{copy}: a copy of the only record; nothing to merge\n"
    assert load_run(copy).total_joules == load_run(run).total_joules
