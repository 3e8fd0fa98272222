"""Bad rows: found before training, named with file, row and reason, and left out."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from mm_keras.errors import DataError
from mm_keras.preprocessing.guard import guarded

COLUMNS = ["row", "id", "column", "value", "reason"]


class Quarantine:
    """Collects the faults of a table's rows.

    Args:
        name: Of the table, for messages.
        ids: The rows' ids.
    """

    def __init__(self, name, ids):
        self.name, self.ids, self.faults = name, ids, []

    def add(self, rows, column, values, reason):
        """Notes a fault of each row; `reason` is one text or one for each."""
        reasons = [reason] * len(rows) if isinstance(reason, str) else reason
        for row, value, why in zip(rows, values, reasons, strict=True):
            self.faults.append((int(row) + 1, self.ids[row], column, str(value), why))

    @property
    def bad(self):
        """Bool array: which rows have a fault."""
        bad = np.zeros(len(self.ids), bool)
        bad[[row - 1 for row, *_ in self.faults]] = True
        return bad

    def table(self):
        """Returns a DataFrame: row (1 is the first after the header), id, column, value, reason."""
        return pd.DataFrame(sorted(self.faults, key=lambda fault: fault[0]), columns=COLUMNS)

    def check_share(self, most):
        """Raises when more than the share `most` of the rows is bad.

        Raises:
            DataError: With the count and the first faults.
        """
        count = int(self.bad.sum())
        if count > most * len(self.ids):
            first = "; ".join(f"row {r} ({i}), {c}: {why}" for r, i, c, _, why in sorted(self.faults)[:5])
            raise DataError(
                f"{self.name}: {count} of {len(self.ids)} rows are bad, more than max_bad={most:g}. First: {first}"
            )


def file_faults(preprocessor, paths):
    """Reads and decodes every file once, in parallel; returns `{row: reason}` of those that fail.

    Args:
        preprocessor: Of an input that reads files.
        paths: Absolute paths; empty ones are missing inputs, not faults.
    """
    faults = {}
    for row, path in enumerate(paths):
        if path and not Path(path).is_file():
            faults[row] = "there is no such file"
        elif path and Path(path).stat().st_size == 0:
            faults[row] = "the file is empty"
    rows = np.array([r for r, p in enumerate(paths) if p and r not in faults], np.int64)
    if len(rows):
        attempt = guarded(
            lambda raw: preprocessor.decode(preprocessor.read(raw["path"])), tf.zeros(preprocessor.decoded_shape)
        )
        files = tf.data.Dataset.from_tensor_slices(np.asarray(paths, dtype=str)[rows])
        checked = files.map(lambda path: attempt({"path": path})[1], num_parallel_calls=tf.data.AUTOTUNE).batch(256)
        fine = np.concatenate(list(checked.as_numpy_iterator()))
        faults |= {int(r): _reason(preprocessor, paths[r]) for r in rows[~fine]}
    return faults


def _reason(preprocessor, path):
    """Decodes one bad file again, outside a graph, where the error has a text."""
    try:
        preprocessor.decode(preprocessor.read(tf.constant(path)))
    except tf.errors.OpError as error:
        return clean_message(error.message)
    return "it could not be decoded"


def clean_message(text):
    """Returns TensorFlow's message without the names of graph nodes."""
    text = re.sub(r"\{\{[^}]*\}\}|\[Op:[^\]]*\]|assertion failed:|\x1b\[[0-9;]*m", "", text).splitlines()
    text = next((line.strip() for line in text if line.strip()), "")
    return re.sub(r"\s+", " ", re.sub(r"\[(.*?)\]", r"\1", text)).strip().rstrip(".")
