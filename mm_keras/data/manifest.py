"""A table of examples -> checked rows in splits; every bad row is raised or quarantined here."""

import dataclasses
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mm_keras.data.graphs import read_graph
from mm_keras.data.quarantine import Quarantine, changed_since, file_faults, first_faults
from mm_keras.data.rows import Rows
from mm_keras.data.splits import NAMES, draw_splits
from mm_keras.data.tables import as_numbers, as_text, column_of, read_table
from mm_keras.errors import DataError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.entity import entity_names
from mm_keras.preprocessing.parts import list_frames, padded, sample_evenly, split_paths
from mm_keras.recipe import load_recipe
from mm_keras.registry import nearest


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
                _add_file_faults(key, spec, changed, quarantine, "after it was checked: ")
        quarantine.check_share(self.max_bad if max_bad is None else max_bad)
        table = (
            pd.concat([self.quarantine, quarantine.table()], ignore_index=True)
            if quarantine.faults
            else self.quarantine
        )
        return replace(self, rows=self.rows.take(~quarantine.bad), quarantine=table, seen=seen)

    def __repr__(self):
        counts = {s: int((self.rows.splits == s).sum()) for s in ("train", "validation", "test")}
        bad = self.quarantine["row"].nunique()
        return f"Data({self.name!r}, {', '.join(f'{k}={v}' for k, v in counts.items())}, quarantined={bad})"


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
            share a split).
        recipe: A `Recipe`, or the path of one.
        root: Folder that paths are relative to. Defaults to the manifest's, for a DataFrame the working directory.
        split: Shares of train, validation and test, when there is no `split` column; classes stay in proportion.
            `None` makes all of them test rows.
        seed: Of the split. Defaults to the recipe's.
        max_bad: Share of bad rows above which loading fails. Defaults to `0.05`.
        with_labels: Whether rows need labels, and splits; `False` for prediction. Defaults to `True`.
        lengths: `{input: count of numbers}` of vectors. Defaults to that of an input's first good row.
        graphs: `{input: graph}` of entities, as `Data.graphs` has them. Defaults to the tables that the recipe names.

    Returns:
        A `Data`.

    Raises:
        DataError: When a column is absent, nothing is left, or too many rows are bad.
    """
    recipe, seen = load_recipe(recipe), time.time()
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

    cells, vectors, graphs = {}, {}, dict(graphs or {})
    for key, spec in recipe.inputs.items():
        if spec.kind == "vector":
            length = (lengths or {}).get(key)
            cells[key], vectors[key] = _read_vector(key, spec, table, root, name, quarantine, length)
        elif spec.kind == "entity":
            graphs[key] = graphs.get(key) or read_graph(key, spec, root)
            cells[key] = _read_entity(key, spec, table, graphs[key], name, quarantine)
        else:
            cells[key] = _READ[spec.layout](key, spec, table, root, name, quarantine)
    _check_anything(cells, quarantine)
    labels = _labels(recipe, table, name, quarantine) if with_labels else {}
    quarantine.check_share(max_bad)  # before splits and classes, which would complain of what is left
    splits = _splits(recipe, table, labels, split, recipe.training.seed if seed is None else seed, quarantine)
    classes = _classes(recipe, labels, splits, quarantine) if with_labels else {}
    quarantine.check_share(max_bad)
    rows = Rows(ids, cells, labels, splits, np.arange(1, len(ids) + 1)).take(~quarantine.bad)
    if not len(rows):
        raise DataError(f"{name}: no good row is left. First: {first_faults(quarantine.table(), 3)}")
    return Data(name, rows, quarantine.table(), classes, vectors, max_bad, seen, graphs)


def _read_files(key, spec, table, root, name, quarantine):
    column = spec.column or key
    cells = as_text(column_of(table, column, f"inputs.{key}", name))
    paths = np.array([str(root / cell) if cell else "" for cell in cells], dtype=object)
    _add_file_faults(key, spec, paths, quarantine)
    return paths


def _add_file_faults(key, spec, paths, quarantine, when=""):
    files = paths.reshape(-1)
    faults = file_faults(build_preprocessor(key, spec), files)
    reasons = [when + reason for reason in faults.values()]
    rows = [file * len(paths) // len(files) for file in faults]
    quarantine.add(rows, spec.column or key, [files[f] for f in faults], reasons)


def _read_views(key, spec, table, root, name, quarantine):
    """Absolute paths `(rows, views)`, empty where there is no view."""

    def read(paths):
        if len(paths) > spec.views:
            raise ValueError(f"expected at most {spec.views} pictures. Received: {len(paths)}")
        return [str(root / path) if path else "" for path in paths]

    return _read_parts(key, spec, spec.views, table, name, quarantine, read)


def _read_videos(key, spec, table, root, name, quarantine):
    """Absolute paths `(rows, frames)`: of one GIF, or of the frames that are used; empty behind them."""

    def read(paths):
        paths = [str(root / path) for path in paths if path]
        if len(paths) == 1 and Path(paths[0]).is_dir():
            paths = list_frames(paths[0])
        return [paths[i] for i in sample_evenly(len(paths), spec.frames)]

    return _read_parts(key, spec, spec.frames, table, name, quarantine, read)


def _read_parts(key, spec, count, table, name, quarantine, read):
    column = spec.column or key
    values, rows = column_of(table, column, f"inputs.{key}", name), []
    for row, value in enumerate(values):
        paths = []
        try:
            paths = read(split_paths("" if _is_blank(value) else value))
        except (OSError, ValueError) as error:
            quarantine.add([row], column, [value], str(error))
        rows.append(padded(paths, count, ""))
    paths = np.stack(rows)
    _add_file_faults(key, spec, paths, quarantine)
    return paths


def _read_text(key, spec, table, root, name, quarantine):
    column = spec.column or key
    texts = as_text(column_of(table, column, f"inputs.{key}", name))
    broken = np.flatnonzero([not _is_unicode(text) for text in texts])
    quarantine.add(broken, column, [ascii(texts[r]) for r in broken], "the text holds half a surrogate pair")
    return texts


def _is_unicode(text):
    try:
        return bool(text.encode()) or True
    except UnicodeEncodeError:
        return False


def _read_entity(key, spec, table, graph, name, quarantine):
    column = spec.column or key
    cells = as_text(column_of(table, column, f"inputs.{key}", name))
    names = entity_names(graph)
    known = {"", *names}
    unknown = np.flatnonzero([cell not in known for cell in cells])
    # Of the first few: looking for the nearest name takes its time.
    near = [nearest(cells[row], names[:10_000]) if i < 20 else "" for i, row in enumerate(unknown)]
    reasons = ["the graph has no entity of this name" + (f".{n}" if n else "") for n in near]
    quarantine.add(unknown, column, cells[unknown], reasons)
    return cells


def _read_tabular(key, spec, table, root, name, quarantine):
    cells = {}
    for column, field in spec.fields().items():
        values = column_of(table, column, f"inputs.{key}", name)
        if column in spec.numeric:
            cells[field] = _numbers(values, column, quarantine).astype(np.float32)
        else:
            cells[field] = as_text(values)
    return cells


def _numbers(values, column, quarantine):
    numbers, bad = as_numbers(values)
    rows = np.flatnonzero(bad)
    quarantine.add(rows, column, [values.iloc[r] for r in rows], "not a finite number")
    return np.where(bad, np.nan, numbers)


def _read_vector(key, spec, table, root, name, quarantine, length):
    columns = list(spec.columns) or [c for c in table.columns if spec.prefix and str(c).startswith(spec.prefix)]
    if spec.prefix and not columns:
        raise DataError(f"{name}: inputs.{key}: no column begins with {spec.prefix!r}. Columns: {list(table.columns)}")
    if columns:
        parts = [_numbers(column_of(table, c, f"inputs.{key}", name), c, quarantine) for c in columns]
        values = np.stack(parts, axis=1).astype(np.float32)
        partial = np.flatnonzero(np.isnan(values).any(axis=1) & ~np.isnan(values).all(axis=1) & ~quarantine.bad)
        lacking = [columns[int(np.isnan(values[r]).argmax())] for r in partial]
        quarantine.add(partial, key, lacking, "some numbers of the vector are missing; give all or none")
        return values, columns
    column = spec.column or key
    values = column_of(table, column, f"inputs.{key}", name)
    return _read_arrays(key, spec, column, values, root, name, quarantine, length), [column]


def _read_arrays(key, spec, column, values, root, name, quarantine, length):
    """Lists, or paths of `.npy` files, one vector or sequence each; the first good row sets the count of features."""
    read = _as_series if spec.steps else _as_vector
    arrays = [None] * len(values)
    for row, value in enumerate(values):
        if _is_blank(value):
            continue
        try:
            array = read(_read_npy(root / value) if isinstance(value, str) else value)
            found = array.shape[-1]
            length = length or found
            if found != length:
                what = "features in a step" if spec.steps else "numbers"
                raise ValueError(f"expected {length} {what}, as in the first good row. Received: {found}")
            arrays[row] = array[: spec.steps]
        except (OSError, ValueError, TypeError) as error:
            quarantine.add([row], column, [value], str(error) or type(error).__name__)
    if length is None:
        raise DataError(f"{name}: inputs.{key}: column {column!r} holds no vector.")
    cells = np.full((len(arrays), *((spec.steps,) if spec.steps else ()), length), np.nan, np.float32)
    for row, array in enumerate(arrays):
        if array is not None:
            cells[(row, slice(len(array)))] = array
    return cells


def _is_blank(value):
    return not isinstance(value, list | tuple | np.ndarray) and as_text([value])[0] == ""


def _read_npy(path):
    # Not `np.load`, which also opens archives and pickles.
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _as_vector(value):
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" and not (array.dtype == object and array.ndim == 1):
        raise ValueError(f"expected numbers. Received: {array.dtype}")
    array = array.astype(np.float64).reshape(-1)
    if not array.size:
        raise ValueError("the vector is empty")
    if not (np.abs(array) <= np.finfo(np.float32).max).all():
        raise ValueError("the vector holds NaN or infinity")
    return array.astype(np.float32)


def _as_series(value):
    """Returns float32 `(steps, features)`; a step of NaN alone is missing."""
    if not isinstance(value, list | tuple | np.ndarray):
        raise ValueError(f"expected a list of steps, or the path of a .npy file. Received: {type(value).__name__}")
    steps = [np.asarray(step) for step in value]
    if len({step.shape for step in steps}) > 1:
        raise ValueError(f"steps differ in their shape. Received: {sorted({step.shape for step in steps})}")
    array = np.asarray(steps)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise ValueError(f"expected numbers (steps, features). Received: {array.dtype} {array.shape}")
    if not array.size:
        raise ValueError("the sequence is empty")
    array = array.astype(np.float64)
    none = np.isnan(array).all(axis=1, keepdims=True)
    if not ((np.abs(array) <= np.finfo(np.float32).max) | none).all():
        raise ValueError("a step holds infinity, or NaN beside numbers")
    if none.all():
        raise ValueError("every step is NaN; leave the cell empty where there is none")
    return array.astype(np.float32)


_READ = {
    "image": _read_files,
    "views": _read_views,
    "video": _read_videos,
    "audio": _read_files,
    "text": _read_text,
    "tabular": _read_tabular,
}


def _check_anything(cells, quarantine):
    """A row without a single input says nothing."""
    filled = np.zeros(len(quarantine.ids), bool)
    for cell in cells.values():
        for values in cell.values() if isinstance(cell, dict) else [cell]:
            if values.dtype == object:
                filled |= np.array([v.strip() != "" for v in values.flat], bool).reshape(len(values), -1).any(axis=1)
            else:
                filled |= np.isfinite(values).reshape(len(values), -1).any(axis=1)
    empty = np.flatnonzero(~filled & ~quarantine.bad)
    quarantine.add(empty, "", [""] * len(empty), "every input is missing")


def _labels(recipe, table, name, quarantine):
    labels = {}
    for key, spec in recipe.tasks.items():
        column = spec.column or key
        values = column_of(table, column, f"tasks.{key}", name)
        labels[key] = as_text(values) if spec.kind == "classification" else _numbers(values, column, quarantine)
    blank = [v == "" if v.dtype == object else np.isnan(v) for v in labels.values()]
    none = np.flatnonzero(np.all(blank, axis=0) & ~quarantine.bad)
    quarantine.add(none, ", ".join(recipe.tasks), [""] * len(none), "the row has no label")
    return labels


def _splits(recipe, table, labels, shares, seed, quarantine):
    if not labels or (shares is None and "split" not in table):
        return np.full(len(table), "test", dtype=object)
    if "split" in table:
        given = as_text(table["split"])
        unknown = np.flatnonzero([s.lower() not in NAMES for s in given] & ((given != "") | ~quarantine.bad))
        quarantine.add(unknown, "split", given[unknown], f"split must be one of {sorted(NAMES)}")
        return np.array([NAMES.get(s.lower(), "") for s in given], dtype=object)
    good = np.flatnonzero(~quarantine.bad)
    splits = np.full(len(table), "", dtype=object)
    classes = next((labels[t][good] for t, s in recipe.tasks.items() if s.kind == "classification"), None)
    groups = as_text(table["group"])[good] if "group" in table else None
    splits[good] = draw_splits(len(good), shares, seed, classes, groups) if len(good) else []
    return splits


def _classes(recipe, labels, splits, quarantine):
    """The class names of each task; a label outside them is a fault."""
    found = {}
    for key, spec in recipe.tasks.items():
        if spec.kind != "classification":
            continue
        own = labels[key]
        names = spec.classes
        if names is None:
            seen = {c for c in own[(splits == "train") & ~quarantine.bad] if c != ""}
            names = sorted(seen, key=_natural)
        known = {"", *names}
        unknown = np.flatnonzero([c not in known for c in own])
        where = "the classes of the recipe" if spec.classes else "the classes of the training rows"
        quarantine.add(unknown, spec.column or key, own[unknown], f"unknown label: it is not among {where}")
        if len(names) < 2:
            raise DataError(f"tasks.{key}: the training rows need at least two classes. Received: {list(names)}")
        found[key] = tuple(names)
    return found


def _natural(text):
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)
