"""A table of examples -> checked rows in splits; every bad row is raised or quarantined here."""

import dataclasses
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mm_keras.data.cells import check_files, read_inputs
from mm_keras.data.labels import find_classes, read_labels
from mm_keras.data.quarantine import Quarantine, changed_since, first_faults
from mm_keras.data.rows import Rows
from mm_keras.data.shards.dataset import is_shards
from mm_keras.data.splits import read_splits
from mm_keras.data.tables import Manifest, as_text, read_table
from mm_keras.errors import DataError
from mm_keras.preprocessing.accelerators import leave_accelerators
from mm_keras.recipe import load_recipe


@dataclass(frozen=True)
class Data:
    """What `load` returns.

    Args:
        name: The manifest's path.
        rows: All good rows, a `Rows`.
        quarantine: DataFrame of the bad ones: row, id, column, value, reason.
        classes: `{task: class names}` of the classification tasks.
        vectors: `{input: columns}` that make up each vector input.
        max_bad: Share of bad rows that was allowed.
        seen: When the files were checked, seconds since the epoch.
        graphs: `{input: graph}` of the entity inputs, as `read_graph` returns them.
    """

    name: str
    rows: Rows
    quarantine: pd.DataFrame
    classes: dict
    vectors: dict
    max_bad: float = 0.05
    seen: float = 0.0
    graphs: dict = dataclasses.field(default_factory=dict)

    @property
    def train(self):
        return self.rows.split("train")

    @property
    def validation(self):
        return self.rows.split("validation")

    @property
    def test(self):
        return self.rows.split("test")

    def narrow(self, recipe):
        """Returns the data with the inputs and tasks of a recipe alone, of more that were loaded."""
        rows, inputs, tasks = self.rows, recipe.inputs, recipe.tasks
        cells, labels = {n: rows.cells[n] for n in inputs}, {n: rows.labels[n] for n in tasks}
        parts = {
            "classes": {n: c for n, c in self.classes.items() if n in tasks},
            "vectors": {n: c for n, c in self.vectors.items() if n in inputs},
            "graphs": {n: g for n, g in self.graphs.items() if n in inputs},
        }
        return replace(self, rows=replace(rows, cells=cells, labels=labels), **parts)

    def recheck(self, recipe, max_bad=None):
        """Returns the data without the rows whose files have gone bad since they were checked.

        Args:
            recipe: The `Recipe`.
            max_bad: Share of rows that may have. Defaults to that of `load`.

        Raises:
            DataError: When more have.
        """
        seen, quarantine = time.time(), Quarantine(self.name, self.rows.ids, self.rows.numbers)
        for key, spec in recipe.inputs.items():
            if spec.kind in ("image", "audio", "video"):
                paths = self.rows.cells[key]
                changed = [p if p and changed_since(p, self.seen - 2) else "" for p in paths.flat]
                changed = np.array(changed, dtype=object).reshape(paths.shape)
                check_files(key, spec, changed, quarantine, "after it was checked: ")
        quarantine.check_share(self.max_bad if max_bad is None else max_bad)
        table = (
            pd.concat([self.quarantine, quarantine.table()], ignore_index=True)
            if quarantine.faults
            else self.quarantine
        )
        return replace(self, rows=self.rows.take(~quarantine.bad), quarantine=table, seen=seen)

    def require(self, recipe):
        """Raises when the data was loaded for another recipe.

        Raises:
            DataError: With the inputs or tasks that it lacks.
        """
        for room, wanted, found in (
            ("inputs", recipe.inputs, self.rows.cells),
            ("tasks", recipe.tasks, self.rows.labels),
        ):
            if lacking := sorted(set(wanted) - set(found)):
                raise DataError(f"{self.name}: was loaded without the {room} {lacking}. Load it with this recipe.")

    @property
    def counts(self):
        """`{split: number of rows}`."""
        return {s: int((self.rows.splits == s).sum()) for s in ("train", "validation", "test")}

    def __repr__(self):
        counts = ", ".join(f"{split}={count}" for split, count in self.counts.items())
        return f"Data({self.name!r}, {counts}, quarantined={self.quarantine['row'].nunique()})"


def load(
    source,
    recipe,
    *,
    root=None,
    split=(0.8, 0.1, 0.1),
    seed=None,
    max_bad=0.05,
    with_labels=True,
    lengths=None,
    graphs=None,
):
    """Reads a manifest, checks every cell and file, and splits the rows.

    Args:
        source: Path of a CSV, TSV, JSONL or Parquet file, or a DataFrame. Paths in it are relative to the file. Beside
            the recipe's columns it may have `id`, `split` (train, validation or test) and `group` (rows of a group
            share a split). Or a folder that `prepare` made: its rows stream, and keep the splits they were given then.
        recipe: A `Recipe`, or the path of one.
        root: Folder that paths are relative to. Defaults to the manifest's, for a DataFrame the working directory.
        split: Shares of train, validation and test, when there is no `split` column; classes stay in proportion.
            `None` makes all of them test rows.
        seed: Of the split. Defaults to the recipe's.
        max_bad: Share of bad rows above which loading fails. Defaults to `0.05`. Of shards `prepare` has asked it.
        with_labels: Whether rows need labels, and splits; `False` for prediction. Defaults to `True`.
        lengths: `{input: count of numbers}` of vectors. Defaults to that of an input's first good row.
        graphs: `{input: graph}` of entities, as `Data.graphs` has them. Defaults to the tables that the recipe names.

    Returns:
        A `Data`.

    Raises:
        DataError: When a column is absent, nothing is left, or too many rows are bad.
    """
    leave_accelerators()
    recipe, seen = load_recipe(recipe), time.time()
    if is_shards(source):
        from mm_keras.data.shards.opening import load_shards  # which needs `Data`

        return load_shards(source, recipe, with_labels=with_labels, lengths=lengths, graphs=graphs)
    manifest = _open(source, root)
    name, quarantine, tasks = manifest.name, manifest.quarantine, recipe.tasks
    cells, vectors, graphs = read_inputs(manifest, recipe.inputs, lengths or {}, graphs or {})
    labels = read_labels(manifest, tasks) if with_labels else {}
    quarantine.check_share(max_bad)  # before splits and classes, which would complain of what is left
    splits = read_splits(manifest, tasks, labels, split, recipe.training.seed if seed is None else seed)
    classes = find_classes(tasks, labels, splits, quarantine) if with_labels else {}
    quarantine.check_share(max_bad)
    groups = as_text(manifest.table["group"]) if "group" in manifest.table else None
    rows = Rows(quarantine.ids, cells, labels, splits, quarantine.numbers, groups).take(~quarantine.bad)
    if not len(rows):
        raise DataError(f"{name}: no good row is left. First: {first_faults(quarantine.table(), 3)}")
    return Data(name, rows, quarantine.table(), classes, vectors, max_bad, seen, graphs)


def as_data(data, recipe):
    """Returns what `load` returned as it is, and loads anything else."""
    return data if isinstance(data, Data) else load(data, recipe)


def _open(source, root):
    """Reads the table and its ids; returns a `Manifest` whose quarantine holds the lines that cannot be read."""
    table, folder, name, unread = read_table(source)
    root = folder if root is None else Path(root).resolve()
    if not len(table):
        raise DataError(f"{name}: the table has no rows.")
    ids = as_text(table["id"]) if "id" in table else np.array([str(i + 1) for i in range(len(table))], dtype=object)
    quarantine = Quarantine(name, ids)
    quarantine.add(list(unread), "", [""] * len(unread), list(unread.values()))
    if "id" in table:
        empty = np.flatnonzero((ids == "") & ~quarantine.bad)
        quarantine.add(empty, "id", ids[empty], "the id is empty")
        twice = np.flatnonzero(pd.Series(ids).duplicated() & (ids != ""))
        quarantine.add(twice, "id", ids[twice], "an earlier row has this id")
    return Manifest(name, table, root, quarantine)
