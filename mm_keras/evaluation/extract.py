"""`mm_keras.extract_features`: the embeddings of a run, as vectors that another recipe takes as inputs."""

from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from mm_keras.data.manifest import Data
from mm_keras.data.pipeline import make_dataset
from mm_keras.data.quarantine import COLUMNS
from mm_keras.data.rows import Rows
from mm_keras.data.shards.sharded import ShardedRows
from mm_keras.data.tables import read_table
from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import GONE
from mm_keras.fusion import fusion_level
from mm_keras.preprocessing.chain import compiled
from mm_keras.training.examples import load_rows
from mm_keras.training.run import load_run

# What `load` gives a meaning of its own.
KEPT = ("id", "split", "group")
# Files of one `.npy` each lie in folders of so many.
PER_FOLDER = 1000


@dataclass(frozen=True)
class Features:
    """What was written.

    Args:
        path: The manifest: the Parquet file, or `manifest.csv` of the folder.
        rows: Number of rows in it.
        units: `{column: length of its vectors}`.
        missing: `{column: rows whose input is missing}`.
        quarantine: DataFrame of the rows left out: row, id, column, value, reason.
    """

    path: Path
    rows: int
    units: dict
    missing: dict
    quarantine: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))

    def __repr__(self):
        columns = ", ".join(
            f"{name}[{count}]" + (f" ({self.missing[name]} missing)" if self.missing[name] else "")
            for name, count in self.units.items()
        )
        bad = self.quarantine["row"].nunique()
        return f"Features({str(self.path)!r}, rows={self.rows}, bad={bad}; {columns})"


def extract_features(run, data=None, out=None, *, batch_size=128):
    """Writes the embeddings of each input and of the fusion, row by row in the order given.

    The columns are `<input>`, the input's embedding, and `fusion`, the joint one. A fusion of decisions has no joint
    embedding: `<task>_logits`, what it decided, stand in its place. Where an input is missing, its cell is empty, not
    the learned embedding of a missing one, so that it is missing for whoever reads it; the fusion's is always there.
    `id`, `split`, `group` and the labels are kept, so the file is a manifest: `mm.Vector()` inputs of these names read
    it.

    Args:
        run: A `Run` or its folder.
        data: The path of a manifest or a DataFrame, labels not needed; a `Data` or a `Rows`. Defaults to all rows of
            the run, with the splits it was trained on: a model that learns from embeddings of rows that this run was
            trained on must not be tested on them.
        out: A path that ends in `.parquet` (vectors are lists of float32), or a folder to make, for `manifest.csv` and
            one `.npy` file for each vector.
        batch_size: Rows at a time.

    Returns:
        `Features`. Bad rows are left out, and listed in `<out>.bad.csv`, or `bad.csv` of the folder.

    Raises:
        DataError: When no row is left, the place is taken, or an input or task has a name that means something else
            in a manifest.
    """
    run = load_run(run)
    path = _free_place(out)
    rows, table, quarantine = _rows(run, data)
    names = _check_names(run, table)
    network = keras.Model(run.model.input, {n: run.model.get_layer(layer).output for n, layer in names.items()})
    vectors, present, at = _embed(run, network, rows, batch_size)
    if lost := sorted(set(range(len(rows))) - set(at.tolist())):
        lost = rows.take(np.array(lost))
        gone = pd.DataFrame({"row": lost.numbers, "id": lost.ids, "column": "", "value": "", "reason": GONE})
        quarantine = pd.concat([quarantine, gone], ignore_index=True) if len(quarantine) else gone
    if not len(at):
        raise DataError("no row can be embedded: their files can no longer be read.")
    table = table.iloc[at].reset_index(drop=True)
    if path.suffix == ".parquet":
        _write_parquet(path, table, vectors, present)
        manifest, bad = path, path.with_name(f"{path.name}.bad.csv")
    else:
        _write_arrays(path, table, vectors, present)
        manifest, bad = path / "manifest.csv", path / "bad.csv"
    if len(quarantine):
        quarantine.to_csv(bad, index=False)
    missing = {n: int((~present[n]).sum()) for n in vectors}
    return Features(manifest, len(at), {n: v.shape[1] for n, v in vectors.items()}, missing, quarantine)


def _free_place(out):
    if out is None:
        raise DataError("`out` is a path that ends in .parquet, or a folder to make.")
    path = Path(out)
    if path.suffix not in ("", ".parquet"):
        raise DataError(f"features are written to a .parquet file or a folder. Received: {str(path)!r}")
    if path.is_dir() and (path.suffix or any(path.iterdir())):
        raise DataError(f"{path}: is a folder that holds something. Choose another place, or delete it.")
    if path.is_file() and not path.suffix:
        raise DataError(f"{path}: is a file. Choose a folder.")
    return path


def _rows(run, data):
    """Returns `(Rows, table of their ids, splits, groups and labels, table of bad rows)`."""
    none = pd.DataFrame(columns=COLUMNS)
    if data is None:
        data = load_rows(run.folder)
    if isinstance(data, Data):
        return data.rows, _table_of(run, data.rows), data.quarantine
    if isinstance(data, Rows | ShardedRows):
        return data, _table_of(run, data), none
    loaded = run.load(data, with_labels=False, max_bad=1.0)
    source = read_table(data)[0]
    wanted = [*KEPT, *(spec.column or task for task, spec in run.recipe.tasks.items())]
    kept = source[[c for c in dict.fromkeys(wanted) if c in source.columns]].iloc[loaded.rows.numbers - 1]
    kept = kept.drop(columns="id", errors="ignore").reset_index(drop=True)
    kept.insert(0, "id", loaded.rows.ids)
    return loaded.rows, kept, loaded.quarantine


def _table_of(run, rows):
    table = {"id": rows.ids} if rows.splits is None else {"id": rows.ids, "split": rows.splits}
    table |= {spec.column or t: rows.labels[t] for t, spec in run.recipe.tasks.items() if t in rows.labels}
    return pd.DataFrame(table)


def _check_names(run, table):
    """Returns `{column: layer}`."""
    columns = {name: f"{name}_missing" for name in run.recipe.inputs}
    if fusion_level(run.recipe.fusion) == "decisions":
        columns |= {f"{task}_logits": f"{task}_logits" for task in run.recipe.tasks}
    else:
        columns["fusion"] = "fusion"
    if taken := sorted(columns.keys() & {*table.columns, *KEPT}):
        raise DataError(
            f"the manifest of features would have two columns {taken}: an input's, and a label's or one that means "
            f"something to `load`. Rename the input."
        )
    return columns


def _embed(run, network, rows, batch_size):
    """Returns `({column: float32 (rows, units)}, {column: bool (rows,)}, positions (rows,))`."""
    vectors, present, positions = {n: [] for n in network.output}, {n: [] for n in network.output}, []
    specs = {n: tf.TensorSpec([None, *t.shape], t.dtype, name=n) for n, t in run.tensors.items()}
    forward = compiled(lambda tensors: network(tensors, training=False), specs)
    for tensors, at in make_dataset(run.preprocessors, rows, batch_size=batch_size):
        keep = at.numpy() >= 0
        positions.append(at.numpy()[keep])
        for name, values in forward(tensors).items():
            held = np.ones(len(keep), bool)
            if name in tensors:
                held = tensors[name].numpy().reshape(len(keep), -1).any(axis=1)
            vectors[name].append(np.asarray(values, np.float32)[keep])
            present[name].append(held[keep])
    joined = ({n: np.concatenate(parts) for n, parts in d.items()} for d in (vectors, present))
    return (*joined, np.concatenate(positions))


def _write_parquet(path, table, vectors, present):
    columns = {n: pd.Series([v if p else None for v, p in zip(vectors[n], present[n], strict=True)]) for n in vectors}
    path.parent.mkdir(parents=True, exist_ok=True)
    table.assign(**columns).to_parquet(path, index=False)


def _write_arrays(folder, table, vectors, present):
    columns = {}
    for name, values in vectors.items():
        columns[name] = [f"{name}/{row // PER_FOLDER:04d}/{row:07d}.npy" if p else "" for row, p in
                         enumerate(present[name])]  # fmt: skip
        for file, vector in zip(columns[name], values, strict=True):
            if file:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                np.save(folder / file, vector)
    folder.mkdir(parents=True, exist_ok=True)
    table.assign(**columns).to_csv(folder / "manifest.csv", index=False)
