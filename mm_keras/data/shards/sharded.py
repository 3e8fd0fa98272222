"""Rows that stay in their shards: what `load` gives of a shards folder."""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from mm_keras.data.manifest import Data
from mm_keras.data.shards.dataset import Shards
from mm_keras.data.shards.stream import column_parts, read_records
from mm_keras.errors import DataError
from mm_keras.registry import nearest


@dataclass(frozen=True, eq=False)
class ShardedRows:
    """Rows of some splits of a shards folder; nothing of them is in memory but what is asked for.

    Training, scoring and prediction stream from it; search, comparison and ensembles hold ids, splits, groups and
    labels. What looks at all cells at once (the checks of data, mixing of sets) needs the rows of a manifest.

    Args:
        shards: The `Shards`.
        recipe: The `Recipe` whose inputs and tasks are read.
        splits_read: The splits, in order.
        has_labels: Whether labels are read.
        chosen: Ascending int array of the rows that count, or `None` for all.
        assigned: String array `(rows,)` of splits in place of the shards' own, or `None`.
    """

    shards: Shards
    recipe: Any
    splits_read: tuple = ("train", "validation", "test")
    has_labels: bool = True
    chosen: Any = None
    assigned: Any = None

    # Several sets are mixed in memory alone.
    sources, shares = None, None

    def _files(self):
        return [f for split in self.splits_read for f in self.shards.info["splits"][split]["shards"]]

    def __len__(self):
        every = sum(f["rows"] for f in self._files())
        return every if self.chosen is None else len(self.chosen)

    def __repr__(self):
        return f"ShardedRows({len(self)}, inputs={sorted(self.cells)}, tasks={sorted(self.labels)})"

    @property
    def cells(self):
        """`{input: Column}`."""
        return _Columns(self, "input", tuple(self.recipe.inputs))

    @property
    def labels(self):
        """`{task: Column}`."""
        return _Columns(self, "label", tuple(self.recipe.tasks) if self.has_labels else ())

    @property
    def ids(self):
        """The rows' ids, a `Column`."""
        return Column(self, "", "id")

    @property
    def numbers(self):
        """The rows' numbers in the table, a `Column`."""
        return Column(self, "", "row")

    @cached_property
    def splits(self):
        """String array `(rows,)` of `"train"`, `"validation"` and `"test"`."""
        if self.assigned is not None:
            return self.assigned
        counts = self.shards.rows
        every = np.repeat(np.array(self.splits_read, dtype=object), [counts[s] for s in self.splits_read])
        return every if self.chosen is None else every[self.chosen]

    @property
    def digest(self):
        """A SHA-256 of what the shards were prepared from, and of the splits, where those are others."""
        own = self.shards.info["rows_sha256"]
        if self.assigned is None:
            return own
        return hashlib.sha256("\x1f".join([own, *self.assigned]).encode()).hexdigest()

    @cached_property
    def groups(self):
        """String array `(rows,)` as of `Rows`, or `None` where no row has one; all records are read for it."""
        found = np.asarray(Column(self, "", "group"))
        return found if (found != "").any() else None

    @property
    def row_bytes(self):
        """Mean bytes of a record."""
        files = self._files()
        return sum(f["bytes"] for f in files) / max(sum(f["rows"] for f in files), 1)

    def split(self, name):
        """Returns the rows of one split."""
        if self.chosen is None and self.assigned is None:
            return replace(self, splits_read=(name,) if name in self.splits_read else ())
        return self.take(self.splits == name)

    def resplit(self, splits):
        """Returns the same rows in other splits, a string array `(rows,)`."""
        return replace(self, assigned=np.asarray(splits, dtype=object))

    def take(self, index):
        """Returns the rows at a mask or at ascending positions.

        Raises:
            DataError: When positions do not ascend: rows that stream have one order.
        """
        index = np.asarray(index)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        if (np.diff(index) <= 0).any():
            raise DataError(f"{self.shards.place}: rows that stream from shards are taken in their order, each once.")
        chosen = index if self.chosen is None else self.chosen[index]
        return replace(self, chosen=chosen, assigned=None if self.assigned is None else self.assigned[index])

    def shard_table(self):
        """Returns `(paths, number of the first row, number of rows)` of the shards that hold any of the rows."""
        files = self._files()
        counts = np.array([f["rows"] for f in files], np.int64)
        starts = np.cumsum(counts) - counts
        keep = counts > 0
        if self.chosen is not None:
            keep &= np.searchsorted(self.chosen, starts) < np.searchsorted(self.chosen, starts + counts)
        paths = [self.shards.place.location(f["file"]) for f, k in zip(files, keep, strict=True) if k]
        return paths, starts[keep], counts[keep]

    def rank(self):
        """Returns int64 `(every row,)`: the place of a row among the chosen, -1 of others."""
        rank = np.full(sum(f["rows"] for f in self._files()), -1, np.int64)
        rank[self.chosen] = np.arange(len(self.chosen))
        return rank

    def position(self, row):
        """Returns the position of a row given by position or id."""
        if isinstance(row, str):
            found = np.flatnonzero(self.ids == row)
            if not len(found):
                raise DataError(f"no row has the id {row!r}.{nearest(row, np.asarray(self.ids)[:10_000])}")
            return int(found[0])
        if not -len(self) <= row < len(self):
            raise DataError(f"row must be between 0 and {len(self) - 1}. Received: {row}")
        return int(row) % len(self)

    def example(self, row):
        """Returns one row as people have it, files as their bytes, missing fields left out.

        Args:
            row: Its position, or its id as a string.
        """
        return self.examples([self.position(row)])[0][1]

    def examples(self, index):
        """Returns `[(id, example, {task: label})]` of some rows, at ascending positions."""
        parsed, found = read_records(self, index), []
        for at in range(len(parsed["id"])):
            example = {}
            for name, spec in self.recipe.inputs.items():
                for key, field in _fields(name, spec):
                    value = _as_given(parsed[key][at], spec)
                    if value is not None:
                        example[field] = value
            labels = {t: _plain(parsed[f"label/{t}"][at]) for t in self.labels}
            found.append((_plain(parsed["id"][at]), example, labels))
        return found

    def targets(self, task):
        """Returns the labels of one task, an array."""
        return np.asarray(self.labels[task])


@contextlib.contextmanager
def naming(rows):
    """Within it, an error of TensorFlow that a bad shard of `rows` explains is a `DataError` with the shard's file."""
    try:
        yield
    except tf.errors.OpError:
        if isinstance(rows, ShardedRows):
            rows.shards.verify()
        raise


def named(rows, batches):
    """Yields what `batches` of `rows` gives, under `naming`."""
    with naming(rows):
        yield from batches


def _fields(name, spec):
    if spec.kind == "tabular":
        return [(f"input/{name}/{field}", field) for field in spec.fields().values()]
    return [(f"input/{name}", name)]


def _as_given(value, spec):
    if isinstance(value, bytes):
        if spec.kind in ("image", "audio", "video"):
            return value or None
        return value.decode("utf-8", "surrogatepass") or None
    if isinstance(value, np.ndarray) and value.dtype == object:
        parts = list(value)
        while parts and not parts[-1]:
            parts.pop()
        return parts or None
    if not np.any(np.isfinite(value)):
        return None
    if np.ndim(value) == 2:
        return value[: int(np.flatnonzero(np.isfinite(value).any(axis=1)).max()) + 1]
    return value if np.ndim(value) else float(value)


def _plain(value):
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else float(value)


class _Columns(Mapping):
    """Columns by name, made when they are asked for."""

    def __init__(self, rows, kind, names):
        self.rows, self.kind, self.names = rows, kind, names

    def __getitem__(self, name):
        if name not in self.names:
            raise KeyError(name)
        return Column(self.rows, self.kind, name)

    def __iter__(self):
        return iter(self.names)

    def __len__(self):
        return len(self.names)


class Column:
    """A column of rows that stream: iterated over, it holds a thousand at a time; as an array it is read whole.

    Args:
        rows: A `ShardedRows`.
        kind, name: As in `column_parts`.
    """

    def __init__(self, rows, kind, name):
        self.rows, self.kind, self.name, self._whole = rows, kind, name, None

    def parts(self):
        """Yields arrays of some rows, of a table `{field: array}`; each time from the first row on."""
        yield from column_parts(self.rows, self.kind, self.name)

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        for part in self.parts():
            yield from part

    def __array__(self, dtype=None, copy=None):
        if self._whole is None:
            parts = list(self.parts())
            self._whole = np.concatenate(parts) if parts else np.zeros(0, object)
        return self._whole if dtype is None else self._whole.astype(dtype)

    def __getitem__(self, at):
        return np.asarray(self)[at]

    def __eq__(self, other):
        return np.asarray(self) == other

    __hash__ = None


@dataclass(frozen=True, repr=False)
class ShardedData(Data):
    """What `load` returns of a shards folder: a `Data` whose rows stream."""

    @property
    def counts(self):
        rows = self.rows
        if rows.assigned is not None or rows.chosen is not None:
            return super().counts
        return {s: n if s in rows.splits_read else 0 for s, n in rows.shards.rows.items()}

    def narrow(self, recipe):
        """Returns the data with the inputs and tasks of a recipe alone, of more that were loaded."""
        return replace(self, rows=replace(self.rows, recipe=recipe))

    def recheck(self, recipe, max_bad=None):
        """Returns the data as it is: shards hold the bytes, and their sizes were checked when they were opened."""
        return self
