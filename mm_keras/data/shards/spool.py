"""The rows of a table on disk, any of them at once: what lets rows be shuffled whose table does not fit in memory."""

import hashlib
import io
import pickle
from array import array
from pathlib import Path

import numpy as np
import pandas as pd

from mm_keras.data.tables import as_text


class Spool:
    """Rows as `write_spool` left them.

    Args:
        folder: Where they lie.
        columns: Names of the cells of a row.
        dtypes: `{column: dtype}`, as in `Source`.
    """

    def __init__(self, folder, columns, dtypes):
        self.columns, self.dtypes = columns, dtypes
        # Plain numbers: the head of a .npy file is read by Python's parser, which on 3.11 fails with a `SystemError`
        # now and then, when threads use it at once and the collector runs in between.
        self._offsets = np.memmap(Path(folder) / "offsets", np.int64, mode="r")
        self._file = (Path(folder) / "rows.pickle").open("rb", buffering=0)  # rows are asked for in no order

    def __len__(self):
        return len(self._offsets) - 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def cells(self, row):
        """Returns the list of one row's cells."""
        return self._between(int(self._offsets[row]), int(self._offsets[row + 1]))

    def _between(self, first, end):
        self._file.seek(first)
        return pickle.loads(self._file.read(end - first))

    def table(self, rows):
        """Returns a DataFrame of some rows, with the dtypes that the whole table has."""
        rows = np.asarray(rows)
        edges = zip(self._offsets[rows].tolist(), self._offsets[rows + 1].tolist(), strict=True)
        table = pd.DataFrame([self._between(*pair) for pair in edges], columns=self.columns, dtype=object)
        for column, dtype in self.dtypes.items():
            try:
                table[column] = table[column].astype(dtype)
            except (TypeError, ValueError):
                continue  # whole numbers beside an absent one
        return table


def write_spool(folder, source, columns):
    """Writes the rows of a source and yields each.

    Args:
        folder: An existing folder.
        source: A `Source`.
        columns: Which of its columns are kept.

    Yields:
        `(list of the kept cells, fault)`.

    Returns:
        A hex digest of everything that was written; the result of `yield from`.
    """
    at, offsets, digest, place = [source.columns.index(c) for c in columns], array("q", [0]), hashlib.sha256(), 0
    with (Path(folder) / "rows.pickle").open("wb") as file:
        for cells, fault in source.rows():
            kept = [cells[i] for i in at]
            content = _bytes(kept)
            file.write(content)
            digest.update(content)
            place += len(content)
            offsets.append(place)
            yield kept, fault
    (Path(folder) / "offsets").write_bytes(offsets.tobytes())
    return digest.hexdigest()


def _bytes(cells):
    """Pickles without a memo, so that equal cells give equal bytes, whether they are one object or two."""
    content = io.BytesIO()
    pickler = pickle.Pickler(content, protocol=5)
    pickler.fast = True
    pickler.dump(cells)
    return content.getvalue()


class Ids:
    """The rows' ids, read from the spool when asked for; a sequence as `Quarantine` takes it.

    Args:
        spool: A `Spool`.
    """

    def __init__(self, spool):
        self.spool, self.at = spool, spool.columns.index("id") if "id" in spool.columns else None

    def __len__(self):
        return len(self.spool)

    def __getitem__(self, row):
        return str(int(row) + 1) if self.at is None else as_text([self.spool.cells(row)[self.at]])[0]
