"""A table of any size, read a row at a time: CSV, TSV, JSONL, Parquet, a DataFrame, or a tree of folders."""

import csv
import io
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mm_keras.data.shards.places import RemoteFile, is_address, open_system
from mm_keras.data.splits import NAMES
from mm_keras.data.tables import READERS, delimited_lines, json_lines
from mm_keras.errors import DataError

BATCH = 4096  # rows of a Parquet file in memory at a time


@dataclass(frozen=True)
class Source:
    """A table before it is read.

    Args:
        name: What messages call it.
        root: What its paths are relative to: a `Path`, or a `RemoteFile`.
        columns: Names of its columns.
        dtypes: `{column: dtype}` where a column has one of its own; cells of other columns are texts or objects.
        rows: Function that gives an iterator of `(list of cells, fault)` from the first row on.
    """

    name: str
    root: Any
    columns: list
    dtypes: dict
    rows: Any


def open_source(source, recipe, root=None):
    """Returns the `Source` of a manifest or a folder tree.

    Args:
        source: As `load` takes it, or a folder of `split/class/file` or `class/file`; each may be an address.
        recipe: A `Recipe`; of a folder tree it has one input of files and one classification.
        root: What paths are relative to. Defaults to the table's folder.

    Raises:
        DataError: When it is absent, of another kind, or cannot be read.
    """
    if isinstance(source, pd.DataFrame):
        found = _open_frame(source)
    elif _is_folder(source):
        return _open_tree(RemoteFile(source) if is_address(source) else Path(source).resolve(), recipe)
    else:
        found = _open_file(source)
    if twice := sorted({c for c in found.columns if found.columns.count(c) > 1 and c != ""}):
        raise DataError(f"{found.name}: columns of one name stand twice: {twice}")
    if root is not None:
        root = RemoteFile(root) if is_address(root) else Path(root).resolve()
        found = Source(found.name, root, found.columns, found.dtypes, found.rows)
    return found


def _is_folder(source):
    if is_address(source):
        system, path = open_system(source)
        return system.isdir(path)
    return Path(source).is_dir()


def _open_frame(table):
    named = [n for n in table.index.names if n is not None and n not in table.columns]
    table = (table.reset_index(level=named) if named else table).reset_index(drop=True)

    def rows():
        for start in range(0, len(table), BATCH):
            part = table.iloc[start : start + BATCH]
            for cells in zip(*(part[c] for c in part.columns), strict=True):
                yield list(cells), ""

    return Source("table", Path.cwd(), list(table.columns), dict(table.dtypes), rows)


def _open_file(source):
    name = str(source)
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in READERS:
        raise DataError(f"{name}: a manifest ends in one of {sorted(READERS)}, or is a folder of split/class/file.")
    is_remote = is_address(source)
    root = RemoteFile(name.rpartition("/")[0]) if is_remote else Path(source).parent.resolve()
    if not is_remote and not Path(source).is_file():
        raise DataError(f"{name}: there is no such file.")
    with _faults(name, suffix):
        if suffix == ".parquet":
            return _open_parquet(name, root)
        if suffix == ".jsonl":
            return _open_json(name, root)
        return _open_delimited(name, root, "\t" if suffix == ".tsv" else ",")


@contextmanager
def _faults(name, suffix):
    try:
        yield
    except (ValueError, OSError, csv.Error) as error:  # Arrow's errors are ValueErrors
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: cannot be read as {suffix[1:]}: {error}") from None


def _open(name):
    if is_address(name):
        system, path = open_system(name)
        return system.open(path, "rb")
    return open(name, "rb")


def _text(name, newline):
    return io.TextIOWrapper(_open(name), encoding="utf-8-sig", newline=newline)


def _open_delimited(name, root, delimiter):
    with _text(name, "") as file:
        columns = next(delimited_lines(file, delimiter))

    def rows():
        with _faults(name, ".csv"), _text(name, "") as file:
            lines = delimited_lines(file, delimiter)
            next(lines)
            yield from lines

    return Source(name, root, columns, {}, rows)


def _open_json(name, root):
    columns = {}
    with _text(name, "\n") as file:
        for record, _ in json_lines(file):
            columns |= dict.fromkeys(record)

    def rows():
        with _faults(name, ".jsonl"), _text(name, "\n") as file:
            for record, fault in json_lines(file):
                yield [record.get(c) for c in columns], fault

    return Source(name, root, list(columns), {}, rows)


def _open_parquet(name, root):
    import pyarrow.parquet as parquet

    with _open(name) as file:
        empty = parquet.ParquetFile(file).schema_arrow.empty_table().to_pandas(ignore_metadata=True)
    columns = list(empty.columns)
    kept = [c for c in columns if not str(c).startswith("__index_level_")]

    def rows():
        with _faults(name, ".parquet"), _open(name) as file:
            for batch in parquet.ParquetFile(file).iter_batches(BATCH, columns=kept):
                part = batch.to_pandas(ignore_metadata=True)
                for cells in zip(*(part[c] for c in kept), strict=True):
                    yield list(cells), ""

    return Source(name, root, kept, {c: empty[c].dtype for c in kept}, rows)


def _open_tree(folder, recipe):
    """A folder of `split/class/file`, or of `class/file`, which is split as a table without the column is."""
    files = [(n, s) for n, s in recipe.inputs.items() if s.kind in ("image", "audio", "video")]
    classes = [(n, s) for n, s in recipe.tasks.items() if s.kind == "classification"]
    if len(files) != 1 or len(recipe.inputs) != 1 or len(classes) != 1 or len(recipe.tasks) != 1:
        raise DataError(
            f"{folder}: a folder tree gives one input of files and one classification. Received: inputs "
            f"{list(recipe.inputs)}, tasks {list(recipe.tasks)}. Give a manifest."
        )
    columns = ["id", files[0][1].column or files[0][0], classes[0][1].column or classes[0][0]]
    tops = _entries(folder, folders=True)
    has_splits = bool(tops) and all(top.lower() in NAMES for top in tops)
    if not tops:
        raise DataError(f"{folder}: expected folders of split/class/file or class/file; it holds no folder.")

    def rows():
        for top in tops:
            for name in _entries(folder / top, folders=True) if has_splits else [top]:
                place = f"{top}/{name}" if has_splits else top
                for file in _entries(folder / place, folders=False):
                    path = f"{place}/{file}"
                    yield [path, path, name, *([top] if has_splits else [])], ""

    return Source(str(folder), folder, [*columns, *(["split"] if has_splits else [])], {}, rows)


def _entries(folder, folders):
    """Returns the names of the folders, or of all else, in a folder; hidden ones are left out."""
    if isinstance(folder, RemoteFile):
        system, path = open_system(str(folder))
        found = [(e["name"].rstrip("/").rpartition("/")[2], e["type"] == "directory") for e in system.ls(path)]
    else:
        found = [(e.name, e.is_dir()) for e in os.scandir(folder)]
    return sorted(name for name, is_folder in found if is_folder == folders and not name.startswith("."))
