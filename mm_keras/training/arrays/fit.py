"""Arrays -> a trained model, with Keras alone."""

import json
import math
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from mm_keras.errors import DataError
from mm_keras.model import build_model
from mm_keras.recipe import load_recipe
from mm_keras.recipe.tensors import TensorInfo
from mm_keras.tasks import build_task
from mm_keras.training.callbacks import BestWeights, Record
from mm_keras.training.heads import compile_network, loss_weights, with_auxiliary
from mm_keras.training.nan_guard import StopOnNaN
from mm_keras.training.rates import Rates

PACKAGES = ("mm_keras", "keras", "numpy", "jax", "tensorflow")


def fit_arrays(folder, *, verbose=True):
    """Trains on what `write_arrays` wrote, with whatever backend Keras has; TensorFlow need not be installed.

    Args:
        folder: The run folder that `write_arrays` made; the trained model completes it.
        verbose: Whether to print progress. Defaults to `True`.

    Returns:
        The `keras.Model`, not calibrated, with the weights of the best validation epoch, or of the last without
        validation rows.

    Raises:
        DataError: When the folder holds no arrays, or is a finished run.
        FloatingPointError: When the loss is no longer a number.
    """
    folder, began = Path(folder), time.time()
    if not (folder / "arrays" / "parts.json").is_file():
        raise DataError(f"{folder}: holds no arrays. `mm_keras.write_arrays` writes them, where TensorFlow is.")
    if (folder / "run.json").exists():
        raise DataError(f"{folder}: already holds a run. Write the arrays to another folder.")
    recipe = load_recipe(folder / "recipe.yaml")
    parts, training = json.loads((folder / "arrays" / "parts.json").read_text(encoding="utf-8")), recipe.training
    keras.utils.set_random_seed(training.seed)
    tasks = {n: build_task(n, spec, parts["tasks"][n]) for n, spec in recipe.tasks.items()}
    model, network, heads, shares = _built(recipe, parts["tensors"], tasks)
    if verbose:
        print(f"{model.count_params():,} parameters; Keras on {keras.backend.backend()}")

    train, validation = (Batches.load(folder, split, heads, training) for split in ("train", "validation"))
    best = []
    if validation is not None:
        losses = loss_weights(recipe, tasks, heads, shares)
        names = {f"val_{t}_loss" if len(heads) > 1 else "val_loss": losses[t] for t in tasks}
        best = [BestWeights(names, training.patience)]
    history = network.fit(
        train,
        validation_data=validation,
        epochs=training.epochs,
        shuffle=False,  # the batches are
        verbose=2 if verbose else 0,
        callbacks=[Rates(training), StopOnNaN(), *best, Record()],
    )
    model.save(folder / "model.keras")
    table = pd.DataFrame({"epoch": [e + 1 for e in history.epoch], **history.history})
    table.to_csv(folder / "history.csv", index=False)
    info = parts["info"] | {
        "epochs": len(table),
        "best_epoch": best[0].best_epoch if best else len(table) - 1,
        "parameters": model.count_params(),
        "seconds": round(time.time() - began, 1),
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "backend": keras.backend.backend(),
        "versions": {p: version for p in PACKAGES if (version := _version(p))},
    }
    (folder / "run.json").write_text(json.dumps(info, indent=1), encoding="utf-8")
    return model


def _built(recipe, tensors, tasks):
    """Returns `(model, network, heads, shares)`, compiled."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.training.precision)
    try:
        infos = {n: TensorInfo(**{k: _tuples(v) for k, v in t.items()}) for n, t in tensors.items()}
        model = build_model(recipe, infos, tasks)
        network, heads, shares = with_auxiliary(recipe, model, tasks)
    finally:
        keras.config.set_dtype_policy(policy)
    compile_network(network, model, recipe, tasks, heads, shares)
    return model, network, heads, shares


def _tuples(value):
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


class Batches(keras.utils.PyDataset):
    """Batches of one size, in an order that hangs on seed and epoch alone.

    The last is filled with its own rows once more, of weight 0, and its other weights grow so that its mean stays.

    Args:
        arrays: `({input: array}, {head: target}, {head: weight})`, `(rows, ...)`.
        size: Rows of a batch.
        seed: Of the order; `None` keeps the rows as they are.
    """

    def __init__(self, arrays, size, seed=None):
        super().__init__()
        self.arrays, self.size, self.seed, self.epoch = arrays, size, seed, 0
        self.rows = len(keras.tree.flatten(arrays)[0])

    @classmethod
    def load(cls, folder, split, heads, training):
        """Returns the batches of a split of `write_arrays`, or `None` when it has none."""
        path = folder / "arrays" / f"{split}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as file:
            inputs = {k.removeprefix("input/"): file[k] for k in file.files if k.startswith("input/")}
            targets, weights = ({h: file[f"{room}/{t}"] for h, t in heads.items()} for room in ("target", "weight"))
        seed = training.seed if split == "train" else None
        return cls((inputs, targets, weights), training.batch_size, seed)

    def __len__(self):
        return math.ceil(self.rows / self.size)

    def __getitem__(self, number):
        order = np.arange(self.rows)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        own = order[number * self.size : (number + 1) * self.size]
        at = own[np.arange(self.size) % len(own)]
        # A training step follows the mean over its batch, a validation that over all.
        factor = self.size / len(own) if self.seed is not None else len(self) * self.size / self.rows
        keep = np.where(np.arange(self.size) < len(own), factor, 0.0).astype(np.float32)
        inputs, targets, weights = keras.tree.map_structure(lambda rows: rows[at], self.arrays)
        return inputs, targets, {head: w * keep for head, w in weights.items()}

    def on_epoch_end(self):
        self.epoch += 1
