"""What a run remembers of its data: every row's cells and split, and some rows whole."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from mm_keras.data.rows import Rows
from mm_keras.data.shards.opening import load_shards
from mm_keras.data.shards.sharded import ShardedRows
from mm_keras.errors import DataError
from mm_keras.preprocessing.raw import raw_batch
from mm_keras.recipe import load_recipe

MOST_ROWS, MOST_BYTES = 256, 64 * 2**20


def save_rows(folder, recipe, data):
    """Writes `rows.parquet`: ids, splits, sources of mixed sets, cells (absolute paths) and labels of all good rows.

    Of rows that stream it writes `shards.json`, the place of their shards; and `rows.parquet` with their splits, where
    those are not the shards' own.
    """
    rows, listed = data.rows, Path(folder) / "rows.parquet"
    if isinstance(rows, ShardedRows):
        if rows.assigned is not None:
            pd.DataFrame({"split": rows.assigned}).to_parquet(listed, index=False)
        text = json.dumps({"shards": str(rows.shards.place), "rows_sha256": rows.shards.info["rows_sha256"]}, indent=1)
        (Path(folder) / "shards.json").write_text(text, encoding="utf-8")
        return
    columns = {"id": rows.ids, "split": rows.splits, "row": rows.numbers}
    if rows.sources is not None:
        columns["source"] = rows.sources
    columns |= {f"label:{task}": values for task, values in rows.labels.items()}
    for name, cell in rows.cells.items():
        for key, values in cell.items() if isinstance(cell, dict) else [("", cell)]:
            columns[f"input:{name}:{key}"] = _nested(values) if values.ndim > 1 else values
    pd.DataFrame(columns).to_parquet(listed, index=False)


def load_rows(folder, split=None):
    """Reads what `save_rows` wrote; returns a `Rows` or a `ShardedRows`, of one split if it is named."""
    if (Path(folder) / "shards.json").is_file():
        rows = _load_sharded(Path(folder))
        return rows if split is None else rows.split(split)
    table = pd.read_parquet(Path(folder) / "rows.parquet")
    cells, labels = {}, {}
    for column in table.columns:
        kind, _, rest = column.partition(":")
        if kind == "label":
            labels[rest] = _array(table[column])
        elif kind == "input":
            name, _, key = rest.partition(":")
            if key:
                cells.setdefault(name, {})[key] = _array(table[column])
            else:
                cells[name] = _array(table[column])
    ids, splits = table["id"].to_numpy(dtype=object), table["split"].to_numpy(dtype=object)
    sources = table["source"].to_numpy(dtype=object) if "source" in table else None
    rows = Rows(ids, cells, labels, splits, table["row"].to_numpy(), sources=sources)
    return rows if split is None else rows.split(split)


def _load_sharded(folder):
    held = json.loads((folder / "shards.json").read_text(encoding="utf-8"))
    rows = load_shards(held["shards"], load_recipe(folder / "recipe.yaml")).rows
    if rows.shards.info["rows_sha256"] != held["rows_sha256"]:
        raise DataError(f"{held['shards']}: holds other rows than when {folder} was trained.")
    listed = folder / "rows.parquet"
    return rows.resplit(pd.read_parquet(listed)["split"].to_numpy(dtype=object)) if listed.is_file() else rows


def _array(column):
    first = column.iloc[0] if len(column) else None
    if isinstance(first, np.ndarray):
        return np.stack([_whole(value) for value in column])
    return column.to_numpy(dtype=object) if isinstance(first, str) else column.to_numpy()


def _nested(values):
    """Returns what Parquet takes: lists of one-dimensional arrays."""
    return [_nested(value) if value.ndim > 1 else value for value in values]


def _whole(value):
    """Returns an array that Parquet gave as an array of arrays, or any other value as it is."""
    if isinstance(value, np.ndarray) and len(value) and isinstance(value[0], np.ndarray):
        return np.stack([_whole(part) for part in value])
    return value


class Examples:
    """Rows with their files' bytes, so that a run can be exported and explained where its data is not.

    Args:
        table: DataFrame of fields, labels (`label:<task>`), `id` and `split`.
    """

    def __init__(self, table):
        self.table = table

    def __len__(self):
        return len(self.table)

    @property
    def ids(self):
        return self.table["id"].to_numpy(dtype=object)

    def example(self, row):
        """Returns `{field: raw value}` of a row given by position or id."""
        at = int(np.flatnonzero(self.ids == row)[0]) if isinstance(row, str) else row
        fields = {k: v for k, v in self.table.iloc[at].items() if k not in ("id", "split") and ":" not in k}
        return {k: _whole(v) for k, v in fields.items()}

    def targets(self, task):
        """Returns the labels of one task."""
        return self.table[f"label:{task}"].to_numpy()


def save_examples(folder, preprocessors, data):
    """Writes `examples.parquet`: up to 256 rows, 64 MiB, validation before training, with their files' bytes."""
    records, size = [], 0
    for row_id, split, example, own in _kept(data):
        raw = raw_batch(preprocessors, [example])
        record = {field: values[0] for field, values in raw.items()}
        size += sum(_bytes(v) for v in record.values())
        record = {k: _nested(v) if np.ndim(v) > 1 else v for k, v in record.items()}
        if size > MOST_BYTES and records:
            break
        labels = {f"label:{task}": value for task, value in own.items()}
        records.append({"id": row_id, "split": split, **labels, **record})
    pd.DataFrame(records).to_parquet(Path(folder) / "examples.parquet", index=False)


def _kept(data):
    """Yields `(id, split, example, {task: label})` of the rows that a run keeps, one after another."""
    rows = data.rows
    if isinstance(rows, ShardedRows):
        left = MOST_ROWS
        for split in ("validation", "train"):
            own = rows.split(split)
            for start in range(0, min(left, len(own)), 32):
                for row_id, example, labels in own.examples(range(start, min(start + 32, left, len(own)))):
                    yield row_id, split, example, labels
            left -= min(left, len(own))
        return
    rank = np.array([{"validation": 0, "train": 1}.get(s, 2) for s in rows.splits])
    for at in [int(i) for i in np.argsort(rank, kind="stable") if rank[i] < 2][:MOST_ROWS]:
        labels = {task: values[at] for task, values in rows.labels.items()}
        yield rows.ids[at], rows.splits[at], rows.example(at), labels


def _bytes(value):
    if isinstance(value, np.ndarray):
        return sum(map(len, value)) if value.dtype == object else value.nbytes
    return len(value) if isinstance(value, bytes) else 0


def load_examples(folder):
    """Reads `examples.parquet`."""
    return Examples(pd.read_parquet(Path(folder) / "examples.parquet"))
