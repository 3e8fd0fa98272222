"""One training of a comparison: a candidate on a fold, kept in a file, so that a comparison that is stopped goes on."""

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from mm_keras.data.pipeline import make_dataset
from mm_keras.errors import ExportError
from mm_keras.evaluation.evaluate import predict_rows
from mm_keras.exporting.bench import bench
from mm_keras.exporting.child import work
from mm_keras.exporting.export import export
from mm_keras.exporting.inspection import inspect
from mm_keras.saving import write_whole
from mm_keras.training.fit import fit


@dataclass(frozen=True)
class Cell:
    """What one training left.

    Args:
        outputs: `{split: {task: float array (rows, ...)}}` on the rows of `"validation"` and `"test"`: probabilities in
            the order of `classes`, or values.
        ids: `{split: row ids (rows,)}`, those whose files could be read.
        present: `{split: {input: bool (rows,)}}`: which inputs the rows have.
        facts: `{"parameters", "step_ms", "seconds", "epochs", "classes": {task: names}}`, and `"latency_ms"`,
            `"bytes"` or `"not_exported"` (the reason) of the export.
    """

    outputs: dict
    ids: dict
    present: dict
    facts: dict

    def save(self, path):
        """Writes the file in one step: it is whole or absent."""
        arrays = {f"outputs/{s}/{t}": v for s, by_task in self.outputs.items() for t, v in by_task.items()}
        arrays |= {f"ids/{s}": np.asarray(v, str) for s, v in self.ids.items()}
        arrays |= {f"present/{s}/{n}": v for s, by_input in self.present.items() for n, v in by_input.items()}
        arrays["facts"] = np.array(json.dumps(self.facts))
        write_whole(path, lambda file: np.savez_compressed(file, **arrays))


def load_cell(path):
    """Returns the `Cell` that `Cell.save` wrote."""
    parts = {"outputs": {}, "ids": {}, "present": {}}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            room, _, rest = key.partition("/")
            if room == "facts":
                continue
            split, _, name = rest.partition("/")
            if name:
                parts[room].setdefault(split, {})[name] = file[key]
            else:
                parts[room][split] = file[key]
        return Cell(**parts, facts=json.loads(str(file["facts"])))


def train_cell(recipe, data, path, tried):
    """Trains a recipe on a fold and keeps its answers; see `Cell`.

    Args:
        recipe: A `Recipe`.
        data: The fold's `Data`.
        path: Where the cell is kept.
        tried: Whether it is exported and its LiteRT file timed.

    Returns:
        The `Cell`.
    """
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        run = fit(recipe, data, Path(folder) / "run", verbose=False, callbacks=[clock])
        every = tuple(recipe.inputs)
        outputs, ids, present = {}, {}, {}
        for split, rows in (("validation", data.validation), ("test", data.test)):
            if len(rows):
                found, at = predict_rows(run, rows, [every])
                outputs[split], ids[split] = found[every], rows.ids[at]
                present[split] = _present(run, rows.take(at))
        facts = {
            "parameters": run.model.count_params(),
            "step_ms": clock.milliseconds,
            "seconds": run.info["seconds"],
            "epochs": run.info["epochs"],
            "classes": {n: [str(c) for c in t.classes] for n, t in run.tasks.items() if t.is_categorical},
        }
        if tried:
            facts |= _exported(run, Path(folder) / "served")
    cell = Cell(outputs, ids, present, facts)
    cell.save(path)
    return cell


class StepClock(keras.callbacks.Callback):
    """Measures a training step: the time of an epoch without its validation over its steps, the median of epochs."""

    def __init__(self):
        super().__init__()
        self._epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        self._began, self._ended = time.perf_counter(), None

    def on_test_begin(self, logs=None):
        self._ended = self._ended or time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self._epochs.append((self._ended or time.perf_counter()) - self._began)

    @property
    def milliseconds(self):
        """Of a step; the first epoch, which traces, counts when it is the only one."""
        return 1000 * float(np.median(self._epochs[1:] or self._epochs)) / self.params["steps"]


def _present(run, rows):
    """Returns `{input: bool (rows,)}`; rows whose files have gone bad since are absent altogether."""
    found = {n: np.zeros(len(rows), bool) for n in run.recipe.inputs}
    for tensors, at in make_dataset(run.preprocessors, rows, batch_size=128):
        keep, at = at.numpy() >= 0, at.numpy()
        for name, tensor in tensors.items():
            filled = np.any(tensor.numpy().reshape(len(at), -1) != 0, axis=1)
            found[name][at[keep]] = filled[keep]
    return found


def _exported(run, folder):
    """Returns the size of the LiteRT float32 file and its latency, or why there is none."""
    try:
        bundle = export(run, folder, litert=("float32",), verbose=False)
    except ExportError as error:
        return {"not_exported": str(error).strip().splitlines()[0]}
    timed = bench(bundle.path, seconds=0.5, signatures=())
    return {"bytes": inspect(bundle.path)["litert"]["float32"]["bytes"], "latency_ms": float(timed["p50"].iloc[0])}


def _train(job):
    """In a worker: trains one cell on its share of the cores."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(job["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(job["threads"])
    train_cell(job["recipe"], job["data"], job["path"], job["tried"])
    return True


if __name__ == "__main__":
    work(_train)
