"""Energy of what a host's processes share, while they end one after the other."""

import math

import pytest

from tests.support.rank_jobs import check_books
from tests.support.scripted_job import CPU_WATTS, Times, gpu_watts, record_job

ENDS = [(0.61, 0.70, 0.83), (0.83, 0.61, 0.70), (0.70, 0.83, 0.61)]
DELAYS = [(0.01, 0.12, 0.24), (0.24, 0.01, 0.12), (0.24, 0.12, 0.01)]


def joules_of(times):
    """Return the true energy of the CPU and of the GPUs."""
    cpu = CPU_WATTS * (max(one.end for one in times) - min(one.start for one in times))
    return cpu, sum(gpu_watts(rank) * (one.end - one.start) for rank, one in enumerate(times))


@pytest.mark.parametrize("delays", DELAYS, ids=str)
@pytest.mark.parametrize("ends", ENDS, ids=str)
def test_no_joule_is_lost_or_counted_twice_while_ranks_end(tmp_path, ends, delays):
    """Some finish their record later than others that ended after them, and take the CPU over too late."""
    times = [
        Times(start=0.02 + 0.01 * rank, end=end, stopped=end + 0.002, finished=end + delay, closed=end + 1.5 * delay)
        for rank, (end, delay) in enumerate(zip(ends, delays, strict=True))
    ]  # fmt: skip
    run = record_job(tmp_path, times)
    check_books(run)
    cpu, gpus = joules_of(times)
    assert run.energy_by_domain()["cpu:package-0"] == pytest.approx(cpu, rel=1e-4)
    assert run.total_joules == pytest.approx(cpu + gpus, rel=1e-4)
    assert run.ranks["joules"].sum() == pytest.approx(run.total_joules)
    assert run.warnings == ()


@pytest.mark.parametrize("victim", [0, 1, 2])
@pytest.mark.parametrize("ends", [(0.61, 0.70, 0.83), (0.83, 0.61, 0.70), (0.61, 0.615, 1.2)], ids=str)
def test_another_process_counts_what_one_killed_at_its_end_had_not_written(tmp_path, ends, victim):
    """The last rows of the killed one are missing, up to half a second of its GPU, but nothing of the shared CPU."""
    times = [
        Times(start=0.02 + 0.01 * rank, end=end, stopped=end + 0.002, finished=end + 0.2, closed=end + 0.3,
              killed=end + 0.1 if rank == victim else math.inf)
        for rank, end in enumerate(ends)
    ]  # fmt: skip
    run = record_job(tmp_path, times)
    check_books(run)
    counted = run.energy_by_domain()["cpu:package-0"] / CPU_WATTS
    if ends[victim] == max(ends):  # the others had ended, so nothing is counted after its last written row
        assert 0.35 < counted < max(ends)
    else:
        assert counted == pytest.approx(max(ends) - times[0].start, rel=1e-4)
    assert sum(run.energy_by_domain().values()) == pytest.approx(run.total_joules, abs=1e-5)
