"""Agreement of all ranks on the end of a training."""

import sys

import pytest
import torch

from profiler.integrations.callback_base import any_rank
from tests.support.warm_python import WarmPython


@pytest.mark.parametrize("value", [True, False])
def test_single_process_decides_alone(value):
    assert any_rank(value, torch.device("cpu")) is value


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks its processes")
def test_one_rank_is_sufficient(tmp_path):
    script = """
        import torch
        from profiler.integrations.callback_base import any_rank
        torch.distributed.init_process_group("gloo", init_method="file://{store}", rank={rank}, world_size=2)
        print(any_rank({rank} == 1, "cpu"), any_rank(False, "cpu"))
        torch.distributed.destroy_process_group()
    """
    servers = [WarmPython() for _ in range(2)]
    children = []
    for rank, server in enumerate(servers):
        (tmp_path / str(rank)).mkdir()
        children.append(
            server.start(script.format(store=tmp_path / "store", rank=rank), tmp_path / str(rank))
        )
    statuses = [child.wait() for child in children]
    for server in servers:
        server.close()
    assert statuses == [0, 0], [child.stderr for child in children]
    assert [child.stdout for child in children] == ["True False\n"] * 2
