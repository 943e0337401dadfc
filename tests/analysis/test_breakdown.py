"""Where the energy went adds up."""

import pandas as pd
import pytest

from profiler import load_run
from profiler.analysis.breakdown import parts_of
from tests.support.runs import write_run

COLUMNS = ["start_seconds", "end_seconds", "total_joules"]


def parts(steps, spans):
    return parts_of(
        pd.DataFrame(steps, columns=[*COLUMNS, "phase"]), pd.DataFrame(spans, columns=[*COLUMNS, "kind"])
    )


def test_steps_come_before_spans_by_decreasing_energy():
    steps = [(1.0, 2.0, 5.0, ""), (2.0, 4.0, 20.0, "fine-tuning"), (4.0, 5.0, 5.0, "")]
    spans = [(0.0, 1.0, 1.0, "setup"), (5.0, 9.0, 9.0, "evaluation")]
    found = [
        (part.name, part.in_steps, part.seconds, part.joules, part.share) for part in parts(steps, spans)
    ]
    assert found == [
        ("fine-tuning", True, 2.0, 20.0, 0.5),
        ("training steps", True, 2.0, 10.0, 0.25),
        ("evaluation", False, 4.0, 9.0, 0.225),
        ("setup", False, 1.0, 1.0, 0.025),
    ]


def test_unmetered_parts_have_seconds_and_no_joules():
    (part,) = parts([(0.0, 1.0, float("nan"), "")], [])
    assert (part.seconds, part.joules, part.share) == (1.0, None, None)


def test_parts_add_up_to_the_window_and_the_total(tmp_path):
    run = load_run(write_run(tmp_path / "run"))
    found = parts_of(run.steps, run.spans)
    assert sum(part.seconds for part in found) == pytest.approx(run.summary().window_seconds)
    assert sum(part.joules for part in found) == run.total_joules
    assert sum(part.share for part in found) == pytest.approx(1.0)
