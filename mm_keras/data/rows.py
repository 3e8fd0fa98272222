"""Checked rows of a manifest, as columns."""

from dataclasses import dataclass, field, replace

import numpy as np

from mm_keras.errors import DataError
from mm_keras.registry import nearest


@dataclass(frozen=True)
class Rows:
    """Rows that passed every check.

    Args:
        ids: String array `(rows,)`.
        cells: `{input: array (rows, ...)}`, for tabular inputs `{input: {field: array (rows,)}}`. Files are absolute
            paths, empty where the input is missing; of inputs of several files `(rows, files)`. Sequences are
            `(rows, steps, features)`, NaN where there is no step.
        labels: `{task: array (rows,)}`: class names, empty where unlabelled, or float64 numbers, NaN where unlabelled.
        splits: String array `(rows,)` of `"train"`, `"validation"` and `"test"`.
        numbers: Int array `(rows,)`, the rows' numbers in the table, 1 the first after the header.
        groups: String array `(rows,)` of the table's column `group`, empty where a row is a group of its own; `None`
            without that column.
        sources: String array `(rows,)`: of which set each row is, when several are mixed; else `None`.
        shares: `{source: share of a training pass}` of those sets; else `None`.
    """

    ids: np.ndarray
    cells: dict
    labels: dict = field(default_factory=dict)
    splits: np.ndarray | None = None
    numbers: np.ndarray | None = None
    groups: np.ndarray | None = None
    sources: np.ndarray | None = None
    shares: dict | None = None

    def __len__(self):
        return len(self.ids)

    def __repr__(self):
        return f"Rows({len(self)}, inputs={sorted(self.cells)}, tasks={sorted(self.labels)})"

    def take(self, index):
        """Returns the rows at an index array or a bool mask, in that order."""

        def pick(value):
            return {k: v[index] for k, v in value.items()} if isinstance(value, dict) else value[index]

        cells = {name: pick(value) for name, value in self.cells.items()}
        labels = {name: value[index] for name, value in self.labels.items()}
        parts = (self.splits, self.numbers, self.groups, self.sources)
        rest = (None if part is None else part[index] for part in parts)
        return Rows(self.ids[index], cells, labels, *rest, self.shares)

    def split(self, name):
        """Returns the rows of one split."""
        return self.take(self.splits == name)

    def resplit(self, splits):
        """Returns the same rows in other splits, a string array `(rows,)`."""
        return replace(self, splits=splits)

    def example(self, row):
        """Returns one row as people have it: `{field: value}`, missing fields left out.

        Args:
            row: Its position, or its id as a string.
        """
        at = self.position(row)
        example = {}
        for name, cell in self.cells.items():
            for key, values in cell.items() if isinstance(cell, dict) else [(name, cell)]:
                value = _as_written(values[at])
                missing = len(value) == 0 if isinstance(value, str | list) else not np.any(np.isfinite(value))
                if not missing:
                    example[key] = value if isinstance(value, str | list | np.ndarray) else float(value)
        return example

    def position(self, row):
        """Returns the position of a row given by position or id."""
        if isinstance(row, str):
            found = np.flatnonzero(self.ids == row)
            if not len(found):
                raise DataError(
                    f"no row has the id {row!r}.{nearest(row, self.ids[:10_000])} Ids: {list(self.ids[:3])} .."
                )
            return int(found[0])
        if not -len(self) <= row < len(self):
            raise DataError(f"row must be between 0 and {len(self) - 1}. Received: {row}")
        return int(row) % len(self)

    def targets(self, task):
        """Returns the labels of one task."""
        return self.labels[task]


def _as_written(value):
    """Returns one cell without its padding: a list of paths, or the steps up to the last real one."""
    if not isinstance(value, np.ndarray):
        return value
    filled = value != "" if value.dtype == object else np.isfinite(value)
    if value.ndim == 1 and value.dtype != object:
        return value
    last = int(np.flatnonzero(filled.reshape(len(value), -1).any(axis=1)).max(initial=-1)) + 1
    return value[:last].tolist() if value.dtype == object else value[:last]
