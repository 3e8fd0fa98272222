"""Every notebook is stored as it ran, and stays small; the first ones run from top to bottom."""

import pytest
from notebook_files import HALVES, NOTEBOOKS, run


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_as_it_ran(path):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    assert all(c.source.count("\n") < 20 for c in cells)
    assert path.stat().st_size < 2**20


@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore:Proactor:RuntimeWarning")
@pytest.mark.parametrize("path", HALVES[0])
def test_runs_from_top_to_bottom(path, tmp_path):
    run(path, tmp_path)
