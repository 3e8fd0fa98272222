"""Bad rows: found before training, named with file, row and reason, and left out."""

import os
import re

import numpy as np
import pandas as pd
import tensorflow as tf

from mm_keras.data.shards.places import file_fault
from mm_keras.errors import DataError
from mm_keras.preprocessing.chain import PLAIN, compiled, untuned

COLUMNS = ["row", "id", "column", "value", "reason"]


class Quarantine:
    """Collects the faults of a table's rows.

    Args:
        name: Of the table, for messages.
        ids: The rows' ids.
        numbers: The rows' numbers in the table. Defaults to 1 for the first after the header, and so on.
    """

    def __init__(self, name, ids, numbers=None):
        self.name, self.ids, self.faults = name, ids, []
        self.numbers = np.arange(1, len(ids) + 1) if numbers is None else numbers

    def add(self, rows, column, values, reason):
        """Notes a fault of each row; `reason` is one text or one for each."""
        reasons = [reason] * len(rows) if isinstance(reason, str) else reason
        for row, value, why in zip(rows, values, reasons, strict=True):
            self.faults.append((int(row), column, str(value), why))

    @property
    def bad(self):
        """Bool array: which rows have a fault."""
        bad = np.zeros(len(self.ids), bool)
        bad[[row for row, *_ in self.faults]] = True
        return bad

    def table(self):
        """Returns a DataFrame: row (its number), id, column, value, reason."""
        faults = sorted(self.faults, key=lambda fault: fault[0])
        return pd.DataFrame([(int(self.numbers[r]), self.ids[r], *rest) for r, *rest in faults], columns=COLUMNS)

    def check_share(self, most):
        """Raises when more than the share `most` of the rows is bad.

        Raises:
            DataError: With the count and the first faults.
        """
        count = int(self.bad.sum())
        if count > most * len(self.ids):
            raise DataError(
                f"{self.name}: {count} of {len(self.ids)} rows are bad, more than max_bad={most:g} allows. "
                f"First: {first_faults(self.table())}"
            )


def first_faults(table, count=5):
    """Returns the first lines of a quarantine's table as one line of text."""
    return "; ".join(
        f"row {row} ({i}){f', {column}' if column else ''}: {reason}"
        for row, i, column, _, reason in table.head(count).itertuples(index=False)
    )


def file_faults(preprocessor, paths):
    """Reads and decodes every file once, in parallel; returns `{row: reason}` of those that fail.

    Args:
        preprocessor: Of an input that reads files.
        paths: Absolute paths, each of one file; empty ones are missing inputs, not faults.
    """
    faults = {row: fault for row, path in enumerate(paths) if path and (fault := file_fault(path))}
    rows = np.array([r for r, p in enumerate(paths) if p and r not in faults], np.int64)
    if len(rows):
        files = tf.data.Dataset.from_tensor_slices((np.arange(len(rows)), [paths[r] for r in rows]))
        decoded = untuned(files).map(_check_of(preprocessor), num_parallel_calls=tf.data.AUTOTUNE)
        fine = np.zeros(len(rows), bool)
        for at, _ in decoded.ignore_errors(log_warning=False).batch(256).as_numpy_iterator():
            fine[at] = True
        faults |= {int(r): _reason(preprocessor, paths[r]) for r in rows[~fine]}
    return faults


# Tracing one takes as long as reading thousands of small files, and a table is read again for every recipe and fold.
_CHECKS = {}


def _check_of(preprocessor):
    """Returns the function of `(number, path)`, scalars, that fails on a file that cannot be read and decoded.

    It is traced once a process, for it depends on the recipe's words alone, not on what a preprocessor has learned. It
    gives the number and a sum of what was decoded: what no result needs, a graph leaves out.
    """
    key = type(preprocessor), preprocessor.name, preprocessor.spec.model_dump_json()
    if key not in _CHECKS:
        if len(_CHECKS) >= 64:
            _CHECKS.pop(next(iter(_CHECKS)))

        def attempt(number, path):
            decoded = preprocessor.decode(preprocessor.read(_cell(preprocessor, path)))
            return number, tf.reduce_sum(tf.ensure_shape(decoded, preprocessor.decoded_shape))

        traced = compiled(attempt, tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.string))
        _CHECKS[key] = PLAIN(lambda number, path: traced(number, path))
    return _CHECKS[key]


def changed_since(path, moment):
    """Whether a file is gone, or may have changed after a moment, seconds since the epoch."""
    try:
        return os.stat(path).st_ctime >= moment
    except OSError:
        return True


def _cell(preprocessor, path):
    """Returns the cell that holds this one file."""
    parts = getattr(preprocessor, "parts", None)
    return path if parts is None else tf.pad(path[None], [[0, parts - 1]], constant_values="")


def _reason(preprocessor, path):
    """Decodes one bad file again, where the error keeps its text."""
    return _attempt(preprocessor, path, lambda path: preprocessor.read(_cell(preprocessor, path)))


def decode_fault(preprocessor, contents):
    """Returns why the bytes of one file cannot be decoded, in the words in which `file_faults` says it.

    Args:
        preprocessor: Of an input that reads files.
        contents: Bytes.
    """
    return _attempt(preprocessor, contents, lambda c: {preprocessor.name: _cell(preprocessor, c)})


def _attempt(preprocessor, value, read):
    attempt = tf.data.Dataset.from_tensors(value).map(PLAIN(lambda value: preprocessor.decode(read(value))))
    try:
        next(iter(attempt))
    except tf.errors.OpError as error:
        return clean_message(error.message)
    except UnicodeDecodeError as error:  # the message quotes bytes of the file
        return clean_message(error.object.decode(errors="backslashreplace"))
    return "it could not be decoded"


def clean_message(text):
    """Returns TensorFlow's message without the names of graph nodes and data sets."""
    text = re.sub(r"Error in user-defined function .*? with iterator: \S+: ", "", text)
    text = re.sub(r"\{\{[^}]*\}\}|\[Op:[^\]]*\]|assertion failed:|\x1b\[[0-9;]*m", "", text).splitlines()
    text = next((line.strip() for line in text if line.strip()), "")
    return re.sub(r"\s+", " ", re.sub(r"\[(.*?)\]", r"\1", text)).strip().rstrip(".")
