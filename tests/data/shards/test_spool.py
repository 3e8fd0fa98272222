"""The rows of a table on disk."""

import ast
from types import SimpleNamespace

import numpy as np

from mm_keras.data.shards.spool import Spool, write_spool


def test_any_row_is_read_and_threads_open_it_without_pythons_parser(tmp_path, monkeypatch):
    """Python 3.11.7's parser may fail in threads that use it at once, and NumPy has it read the head of a .npy file."""
    cells = [[f"r{i}", "x" * i, float(i)] for i in range(20)]
    source = SimpleNamespace(columns=["id", "left out", "text", "number"])
    source.rows = lambda: (([c[0], None, *c[1:]], None) for c in cells)
    assert [kept for kept, _ in write_spool(tmp_path, source, ["id", "text", "number"])] == cells

    def parse(*args, **kwargs):
        raise SystemError("AST constructor recursion depth mismatch")

    monkeypatch.setattr(ast, "parse", parse)
    with Spool(tmp_path, ["id", "text", "number"], {"number": np.float64}) as spool:
        assert len(spool) == 20
        assert spool.cells(7) == cells[7]
        table = spool.table([11, 3])
    assert table.values.tolist() == [cells[11], cells[3]]
    assert table["number"].dtype == np.float64
