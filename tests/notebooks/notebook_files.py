"""The notebooks, in two files of tests, so that two run at a time."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# The longer ones, whose subjects have another notebook, a test or the demo. `make test-long` runs them.
LONG = ("01", "02", "03", "04", "05", "06", "07", "08")


def of_the_ci(path):
    """Returns the path as a parameter of a test, marked by how long the notebook takes."""
    mark = pytest.mark.long if path.stem.startswith(LONG) else pytest.mark.slow
    return pytest.param(path, id=path.stem, marks=mark)


HALVES = [of_the_ci(p) for p in NOTEBOOKS if p.stem < "06"], [of_the_ci(p) for p in NOTEBOOKS if p.stem >= "06"]


def run(path, folder):
    """Runs a notebook from top to bottom; raises when a cell does."""
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    assert [c.execution_count for c in notebook.cells if c.cell_type == "code"][-1] > 5
