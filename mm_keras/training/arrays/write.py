"""Data -> arrays of model tensors, beside all else that a run folder holds before its model."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from mm_keras.data.pipeline import make_dataset
from mm_keras.errors import DataError, RecipeError
from mm_keras.recipe import load_recipe
from mm_keras.training.balance.build import is_balanced
from mm_keras.training.examples import save_examples, save_rows
from mm_keras.training.fit import check_data, check_folder, describe_data
from mm_keras.training.learn import learn, targets_and_weights
from mm_keras.training.run import save_assets

FOLDER = "arrays"


def write_arrays(recipe, data, out):
    """Writes a run folder without a model, and the model tensors of its rows, for a training without TensorFlow.

    The rows are as they come, without augmentation, all of a split in one file: what fits the memory of the machine
    that trains. `fit_arrays` trains there; back where TensorFlow is, `load_run` reads the folder, and `calibrate`
    fits temperatures and intervals.

    Args:
        recipe: A `Recipe`, or the path of one.
        data: What `load` returned, or a manifest as `load` takes it.
        out: The run folder; made if absent.

    Returns:
        The folder `out`, a `pathlib.Path`. In its `arrays/` are `train.npz` and `validation.npz`: `input/<input>`
        `(rows, ...)`, `target/<task>` `(rows, ...)` and `weight/<task>` `(rows,)`; and `parts.json`.

    Raises:
        RecipeError: When the recipe holds what needs TensorFlow in training: a balance, mixing of rows, encoders that
            start from weights or vectors learned elsewhere, entities; or buckets by length.
        DataError: As `fit`.
    """
    recipe, out = load_recipe(recipe), Path(out)
    check_folder(out)
    check_arrays(recipe)
    data = check_data(recipe, data)
    if data.train.shares is not None:
        raise DataError(f"{data.name}: arrays cannot hold the shares of joined sets. Use `fit`.")
    preprocessors, tasks = learn(recipe, data)
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    save_assets(out, recipe, preprocessors, tasks)
    save_rows(out, recipe, data)
    save_examples(out, preprocessors, data)
    data.quarantine.to_csv(out / "quarantine.csv", index=False)
    for split, rows in (("train", data.train), ("validation", data.validation)):
        if len(rows):
            np.savez(out / FOLDER / f"{split}.npz", **_arrays(preprocessors, tasks, rows))
    parts = {
        "tensors": {n: dataclasses.asdict(p.tensor) for n, p in preprocessors.items()},
        "tasks": {n: task.state for n, task in tasks.items()},
        "info": describe_data(recipe, data),
    }
    (out / FOLDER / "parts.json").write_text(json.dumps(parts), encoding="utf-8")
    return out


def check_arrays(recipe):
    """Raises when a recipe cannot be trained from arrays without TensorFlow.

    Raises:
        RecipeError: With the field.
    """
    training = recipe.training
    found = {
        "training.balance": is_balanced(training),
        "training.mixup": training.mixup > 0.0,
        "training.cutmix": training.cutmix > 0.0,
        "training.ema": training.ema > 0.0,
        "training.sampling": training.sampling != "as_is",
        "training.bucket": training.bucket,
        "training.modality_dropout_schedule": training.modality_dropout_schedule != "constant",
    }
    for name, spec in recipe.inputs.items():
        found[f"inputs.{name}.encoder.weights"] = bool(spec.encoder.weights)
        found[f"inputs.{name}.vectors"] = bool(getattr(spec, "vectors", None))
        found[f"inputs.{name}"] = spec.kind == "entity"
    for field in (field for field, is_set in found.items() if is_set):
        raise RecipeError(f"{field}: arrays cannot hold it, and it is not trained without TensorFlow. Use `fit`.")


def _arrays(preprocessors, tasks, rows):
    targets, weights = targets_and_weights(tasks, rows)
    batches, numbers = [], []
    for tensors, at in make_dataset(preprocessors, rows, batch_size=256).as_numpy_iterator():
        keep = at >= 0
        batches.append({n: t[keep] for n, t in tensors.items()})
        numbers.append(at[keep])
    at = np.concatenate(numbers)
    if not len(at):
        raise DataError("no row's files can be read any more.")
    arrays = {f"input/{n}": np.concatenate([b[n] for b in batches]) for n in preprocessors}
    arrays |= {f"target/{n}": t[at] for n, t in targets.items()}
    return arrays | {f"weight/{n}": w[at] for n, w in weights.items()}
