"""A recipe and data -> a run: learned assets, trained model, history, all in one folder."""

import json
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

import keras
import tensorflow as tf

from mm_keras.data.checking.check import advise
from mm_keras.errors import DataError
from mm_keras.extension import check_loads, describe_extensions
from mm_keras.recipe import load_recipe
from mm_keras.training.examples import save_examples, save_rows
from mm_keras.training.learn import learn
from mm_keras.training.run import FORMAT, load_run, save_assets
from mm_keras.training.trainer import Trainer

PACKAGES = ("mm_keras", "tensorflow", "keras", "tensorflow-text", "tensorflow-io", "numpy", "pandas", "scikit-learn")


def fit(recipe, data, out, *, verbose=True, callbacks=()):
    """Trains the model of a recipe and stores everything it learned.

    Before it trains, it prints a line of advice for each fault of the data that is cheap to see: copies of a row in two
    splits, groups in two splits, a column that gives the label away, absent or unbalanced classes, columns that say
    nothing. That opens no file, takes less than about a second for 10,000 rows, and never refuses; `inspect` of the
    manifest with the recipe looks closer.

    Args:
        recipe: A `Recipe`, or the path of one.
        data: What `load` returned.
        out: The run folder; made if absent, refused if it holds a run.
        verbose: Whether to print progress. Defaults to `True`.
        callbacks: More `keras.callbacks.Callback`s.

    Returns:
        The `Run`, with the weights of the best validation epoch (of the last one when there are no validation rows).
        Its folder holds `recipe.yaml`, `assets/`, `model.keras`, `history.csv`, `quarantine.csv`, `rows.parquet` (the
        rows and their splits), `examples.parquet` (some rows with their files' bytes), `logs/` and `run.json`.

    Raises:
        RecipeError: When an encoder's first weights are absent or do not fit.
        DataError: When the folder holds a run or is a file, the data lacks an input or task of the recipe, or there are
            no training rows.
        FloatingPointError: When the loss is no longer a number.
    """
    recipe, out = load_recipe(recipe), Path(out)
    say = print if verbose else (lambda *_: None)
    check_folder(out)
    data = check_data(recipe, data)
    say(repr(data))
    if len(data.quarantine):
        say(f"{data.quarantine['row'].nunique()} bad rows are left out; see {out / 'quarantine.csv'}")
    for line in advise(data, recipe) if verbose else ():
        say(f"advice: {line}")

    keras.utils.set_random_seed(recipe.training.seed)
    began = time.time()
    trainer = Trainer(recipe, *learn(recipe, data))
    if describe_extensions(recipe):
        check_loads(trainer.model)
    say(f"{trainer.model.count_params():,} parameters; fusion {recipe.fusion.kind!r}")
    for line in trainer.starts:
        say(line)
    out.mkdir(parents=True, exist_ok=True)
    data.quarantine.to_csv(out / "quarantine.csv", index=False)
    history = trainer.train(data, out, verbose, callbacks)
    trainer.fit_fusions(data.validation, say)
    calibration = trainer.calibrate(data.validation, say)

    data = without_lost(recipe, data, out, say)
    seconds = save_trained(out, data, trainer, history, began, {"calibration": calibration})
    say(f"trained {len(history)} epochs in {seconds:.0f} s; best epoch {trainer.best_epoch + 1}; run {out}")
    return load_run(out)


def check_folder(out):
    """Raises when a run cannot be written there."""
    if (out / "run.json").exists():
        raise DataError(f"{out}: already holds a run. Choose another folder, or delete this one.")
    if out.is_file():
        raise DataError(f"{out}: is a file. Choose a folder.")


def check_data(recipe, data):
    """Returns the data without rows whose files have gone bad; raises when it was loaded for another recipe."""
    data.require(recipe)
    data = data.narrow(recipe).recheck(recipe)
    if not len(data.train):
        raise DataError(f"{data.name}: no training rows.")
    if recipe.training.balance.kind == "gradient_blending" and not len(data.validation):
        raise DataError(f"{data.name}: no validation rows, on which training.balance 'gradient_blending' measures.")
    return data


def without_lost(recipe, data, out, say):
    """Returns the data without rows whose files have gone bad in training, and writes `quarantine.csv`."""
    before, data = len(data.rows), data.recheck(recipe, max_bad=1.0)
    if len(data.rows) < before:
        say(f"{before - len(data.rows)} rows lost a file during training; see {out / 'quarantine.csv'}")
    data.quarantine.to_csv(out / "quarantine.csv", index=False)
    return data


def save_trained(out, data, trainer, history, began, more=None):
    """Writes the run, `more` in its `run.json` too; returns how many seconds the training took."""
    save_assets(out, trainer.recipe, trainer.preprocessors, trainer.tasks)
    save_rows(out, trainer.recipe, data)
    save_examples(out, trainer.preprocessors, data)
    trainer.model.save(out / "model.keras")
    history.to_csv(out / "history.csv", index=False)
    info = _describe(data, trainer, history, time.time() - began) | (more or {})
    # Last, so that a folder with this file is a whole run.
    (out / "run.json").write_text(json.dumps(info, indent=1), encoding="utf-8")
    return info["seconds"]


def _describe(data, trainer, history, seconds):
    """Returns what `run.json` says of a training."""
    return {
        "format": FORMAT,
        "seed": trainer.recipe.training.seed,
        "manifest": data.name,
        "rows": {s: int((data.rows.splits == s).sum()) for s in ("train", "validation", "test")},
        "quarantined": int(data.quarantine["row"].nunique()),
        "epochs": len(history),
        "best_epoch": trainer.best_epoch,
        "parameters": trainer.model.count_params(),
        "seconds": round(seconds, 1),
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "devices": [d.name for d in tf.config.list_physical_devices()],
        "versions": {p: metadata.version(p) for p in PACKAGES},
    }
