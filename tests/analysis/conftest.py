"""A small recorded run with round numbers, written by the product's own writer."""

import pytest

from tests.support.runs import write_run


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run")
