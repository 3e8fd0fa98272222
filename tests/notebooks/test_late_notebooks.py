"""The later notebooks run from top to bottom."""

import pytest
from notebook_files import HALVES, run


@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore:Proactor:RuntimeWarning")
@pytest.mark.parametrize("path", HALVES[1])
def test_runs_from_top_to_bottom(path, tmp_path):
    run(path, tmp_path)
