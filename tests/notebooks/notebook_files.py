"""The notebooks, in two files of tests, so that two run at a time."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
HALVES = [p for p in NOTEBOOKS if p.stem < "04"], [p for p in NOTEBOOKS if p.stem >= "04"]


def run(path, folder):
    """Runs a notebook from top to bottom; raises when a cell does."""
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    assert [c.execution_count for c in notebook.cells if c.cell_type == "code"][-1] > 5
