"""Rank detection from launchers' environments and the process group."""

import pytest

from profiler.distributed.rank import HOST_ID, Identity, detect_rank, host_id, run_key

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "0",
    "SLURM_RESTART_COUNT": "1",
}


def test_the_environment_of_torchrun():
    assert detect_rank(TORCHRUN) == Identity(
        rank=3, world_size=4, attempt=2, local_world_size=2, job="master 10.0.0.1:29500", is_elastic=True
    )


def test_a_named_rendezvous_names_the_job():
    assert detect_rank(TORCHRUN | {"TORCHELASTIC_RUN_ID": "abc"}).job == "torchelastic abc"


def test_the_environment_of_a_slurm_job_step():
    assert detect_rank(SLURM) == Identity(
        rank=5, world_size=8, attempt=1, local_world_size=4, job="slurm 77.0", is_elastic=False
    )


def test_a_launcher_inside_slurm_takes_precedence():
    assert detect_rank(SLURM | TORCHRUN).rank == 3


def test_a_batch_script_of_slurm_is_one_process():
    """Its environment counts the tasks it may start, and no step has been started yet."""
    assert detect_rank({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "77"}) == Identity()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"RANK": "0"},
        {"WORLD_SIZE": "2"},
        {"RANK": "x", "WORLD_SIZE": "2"},
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
        {"RANK": "", "WORLD_SIZE": ""},
    ],
)
def test_any_other_environment_is_a_single_process(environ):
    assert detect_rank(environ) == Identity()


def test_the_process_group_takes_precedence():
    """``mp.spawn`` hands ranks over as arguments, and sets no environment."""
    found = detect_rank({"MASTER_ADDR": "localhost", "MASTER_PORT": "12355"}, (1, 2))
    assert (found.rank, found.world_size, found.job) == (1, 2, "master localhost:12355")
    assert detect_rank(TORCHRUN, (0, 2)).rank == 0


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        ({}, True),
        ({"LOCAL_WORLD_SIZE": "4"}, False),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, False),
    ],
)
def test_a_job_may_span_hosts(changes, may):
    assert detect_rank(TORCHRUN | changes).may_span_hosts is may


def test_only_rank_0_is_main():
    assert [detect_rank(TORCHRUN | {"RANK": rank}).is_main for rank in "0123"] == [True, False, False, False]


def test_hosts_are_identified_by_a_short_hash():
    assert host_id({HOST_ID: "a"}) != host_id({HOST_ID: "b"})
    assert host_id({}) == host_id({})
    assert len(host_id({HOST_ID: "a"})) == 12


def test_all_ranks_have_the_same_key_and_each_run_another():
    ranks = [detect_rank(TORCHRUN | {"RANK": rank, "TORCHELASTIC_RESTART_COUNT": "0"}) for rank in "0123"]
    assert len({run_key(identity, 0) for identity in ranks}) == 1
    assert run_key(ranks[0], 0) != run_key(ranks[0], 1)
    assert run_key(ranks[0], 0) != run_key(detect_rank(SLURM), 0)
