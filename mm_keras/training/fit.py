"""A recipe and data -> a run: learned assets, trained model, history, all in one folder."""

import json
import platform
import sys
import time
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path

import keras
import tensorflow as tf

from mm_keras.data.checking.check import advise
from mm_keras.data.manifest import as_data
from mm_keras.data.shards.sharded import ShardedRows, naming
from mm_keras.errors import DataError
from mm_keras.extension import check_loads, describe_extensions
from mm_keras.preprocessing.accelerators import leave_accelerators
from mm_keras.recipe import load_recipe
from mm_keras.saving import working_in
from mm_keras.training.distributing import place as find_place
from mm_keras.training.examples import save_examples, save_rows
from mm_keras.training.learn import learn
from mm_keras.training.loggers import check_loggers, logging_to
from mm_keras.training.resume import Keeper, check_same, facts_of
from mm_keras.training.run import FORMAT, check_finished, load_assets, load_run, save_assets
from mm_keras.training.trainer import Trainer

PACKAGES = ("mm_keras", "tensorflow", "keras", "tensorflow-text", "tensorflow-io", "numpy", "pandas", "scikit-learn")


def fit(
    recipe,
    data,
    out,
    *,
    devices=None,
    hosts=False,
    data_service=None,
    verbose=True,
    callbacks=(),
    resume=False,
    log_to=(),
):
    """Trains the model of a recipe and stores everything it learned.

    Before it trains, it prints a line of advice for each fault of the data that is cheap to see: copies of a row in two
    splits, groups in two splits, a column that gives the label away, absent or unbalanced classes, columns that say
    nothing. That opens no file, takes less than about a second for 10,000 rows, and never refuses; `inspect` of the
    manifest with the recipe looks closer. Rows that stream from shards are not looked at.

    Args:
        recipe: A `Recipe`, or the path of one.
        data: What `load` returned, or a manifest as `load` takes it.
        out: The run folder; made if absent, refused if it holds a run, or one that was stopped. Of several hosts one
            that all of them see; the first writes it.
        devices: Over how many devices of this machine each batch is split; `None` is one, or with `hosts` all. With
            Keras on TensorFlow GPUs, with Keras on JAX whatever JAX sees. The recipe's `batch_size` is that of all.
        hosts: Whether this is one of several processes that train together, which its environment names; see
            `mm_keras.training.distributing.hosts.join_hosts`. Keras on JAX only. Defaults to `False`.
        data_service: `"host:port"` of a `DataServer`, or a list of them, which read, decode and preprocess the training
            batches; each sees the files, or shards, where this process does. The batches are the same, in the same
            order. Files are read anew in every pass, whatever the recipe's `cache`. Not with `hosts`. Defaults to
            `None`: this process makes them.
        verbose: Whether to print progress. Defaults to `True`.
        callbacks: More `keras.callbacks.Callback`s. What one of them has learned outlives a stop when it has
            `get_state()`, which returns a dict of numbers, texts, arrays, lists and dicts, and `set_state(state)`,
            called before the training goes on.
        resume: Whether to go on with a training that was stopped in `out`, by SIGTERM, a kill or a crash, from its last
            checkpoint: with the weights, bit for bit on one CPU, that it would have had. A folder without one begins;
            a finished run is returned as it is. Defaults to `False`.
        log_to: Where metrics go besides TensorBoard's `logs/`: `"mlflow"`, `"wandb"`, or a list of them, each by its
            own Keras callback and environment (`pip install mm_keras[mlflow]`). A training that goes on, goes on there.

    Returns:
        The `Run`, with the weights of the best validation epoch (of the last one when there are no validation rows).
        Its folder holds `recipe.yaml`, `assets/`, `model.keras`, `history.csv`, `quarantine.csv`, `rows.parquet` (the
        rows and their splits; of shards `shards.json`, their place), `examples.parquet` (some rows with their files'
        bytes), `logs/` and `run.json`.

    Raises:
        RecipeError: When an encoder's first weights are absent or do not fit, or the recipe asks for what Keras's
            backend, or several devices, cannot do.
        DataError: When the folder holds a run, is a file or is being worked in, a logger is not installed, the data
            lacks an input or task of the recipe, there are no training rows, what was stopped was begun with another
            recipe or other data, or there are not so many devices; when a data server is not there, is of another
            version, or does not see the files.
        FloatingPointError: When the loss is no longer a number; the batch is in the folder's `nan_batch.npz`.
        Interrupted: On SIGTERM or Ctrl-C, after a checkpoint; a second one ends at once.
        HostLost: When another process that trains with this one is gone. This one must end too, by `os._exit`, for JAX
            waits for the others at a plain exit; all of them go on when they are started again with `resume`.
        DataServerLost: A `HostLost`: a data server no longer listens, or sent nothing for `MM_KERAS_HEARTBEAT` seconds
            (60). Goes on with `resume`, with or without data servers.
    """
    recipe, out = load_recipe(recipe), Path(out)
    check_folder(out, resume)
    log_to = (log_to,) if isinstance(log_to, str) else tuple(log_to)
    check_loggers(log_to)
    leave_accelerators()
    place = find_place(recipe, devices, hosts, data_service)
    with place.watched(), nullcontext() if place.rank else working_in(out):
        if place.rank:  # the first process writes and tells
            verbose, log_to = False, ()
        return _fit(recipe, data, out, place, verbose, callbacks, resume, log_to)


def _fit(recipe, data, out, place, verbose, callbacks, resume, log_to):
    say = print if verbose else _silent
    data = check_data(recipe, data)
    facts, checkpoints = facts_of(recipe, data.rows), place.checkpoints(out / "checkpoint")
    index = checkpoints.index if resume else None
    if index is not None:
        check_same(out, index, facts)
    if (out / "run.json").is_file():
        checkpoints.remove()
        return _finished(out, recipe, say)
    _announce(recipe, data, out, say)
    keras.utils.set_random_seed(recipe.training.seed)
    if recipe.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    began = time.time()
    state = None if index is None else checkpoints.load(say)
    with naming(data.rows):
        parts = learn(recipe, data) if state is None else load_assets(out)[1:]
    reached = (-1, -1) if state is None else (state["epoch"], state["batch"])
    place.agree(int(facts["digest"][:7], 16), *reached)
    trainer = Trainer(recipe, *parts, begins=state is None, place=place)
    if describe_extensions(recipe):
        check_loads(trainer.model)
    say(f"{trainer.model.count_params():,} parameters; fusion {recipe.fusion.kind!r}")
    for line in trainer.starts:
        say(line)
    if place.servers is not None:
        say(f"training batches come from {', '.join(place.servers.addresses)}; nothing decoded of them is kept")
    if not place.rank:
        data.quarantine.to_csv(out / "quarantine.csv", index=False)
        if state is None:
            save_assets(out, recipe, trainer.preprocessors, trainer.tasks)
    if state is not None:
        say(f"goes on at epoch {state['epoch'] + 1}, batch {state['batch'] + 1}")
        began -= state["seconds"]
    with (
        logging_to(log_to, recipe, out) as loggers,
        place.stop_requests(say) as request,
        place.scope(),
        naming(data.rows),
    ):
        keeper = Keeper(checkpoints, facts, request, recipe.training, state)
        history = trainer.train(data, out, verbose, [*callbacks, *loggers], keeper)
    trainer = trainer.settled()
    trainer.fit_fusions(data.validation, say)
    calibration = trainer.calibrate(data.validation, say)

    if place.rank:
        place.agree()  # when the first has written
        return load_run(out)
    data = without_lost(recipe, data, out, say)
    more = {"calibration": calibration, "backend": keras.backend.backend(), "trained_on": place.devices}
    seconds = save_trained(out, data, trainer, history, began, more)
    checkpoints.remove()
    place.agree()
    say(f"trained {len(history)} epochs in {seconds:.0f} s; best epoch {trainer.best_epoch + 1}; run {out}")
    return load_run(out)


def _announce(recipe, data, out, say):
    """Says what is trained on."""
    task = recipe.sampling_task
    if say is _silent:  # the checks below cost up to a second
        return
    say(repr(data))
    if len(data.quarantine):
        say(f"{data.quarantine['row'].nunique()} bad rows are left out; see {out / 'quarantine.csv'}")
    for line in () if isinstance(data.rows, ShardedRows) else advise(data, recipe):
        say(f"advice: {line}")
    if task:
        unlabelled = int((data.train.labels[task] == "").sum())
        say(f"each class of {task!r} is drawn equally often; {unlabelled} rows without its label are not drawn")


def _silent(line):
    pass


def _finished(out, recipe, say):
    """Returns the run of a folder that has one; raises when it is of another recipe."""
    run = load_run(out)
    if run.recipe != recipe:
        raise DataError(f"{out}: already holds a run, of another recipe. Choose another folder, or delete this one.")
    say(f"{out}: is finished already")
    return run


def check_folder(out, resume=False):
    """Raises when a run cannot be written there; `resume` when one that is there may go on."""
    if not resume and (out / "run.json").exists():
        raise DataError(f"{out}: already holds a run. Choose another folder, or delete this one.")
    if out.is_file():
        raise DataError(f"{out}: is a file. Choose a folder.")
    if not resume:
        check_finished(out)


def check_data(recipe, data):
    """Returns the data, loaded if it is a manifest, without rows whose files have gone bad.

    Raises:
        DataError: When it was loaded for another recipe, or lacks rows that its training needs.
    """
    data = as_data(data, recipe)
    data.require(recipe)
    if isinstance(data.rows, ShardedRows):
        _check_drawn(recipe, data)
    data = data.narrow(recipe).recheck(recipe)
    if not len(data.train):
        raise DataError(f"{data.name}: no training rows.")
    if recipe.training.balance.kind == "gradient_blending" and not len(data.validation):
        raise DataError(f"{data.name}: no validation rows, on which training.balance 'gradient_blending' measures.")
    return data


def _check_drawn(recipe, data):
    """Raises when rows that stream cannot be drawn as the recipe asks."""
    if recipe.sampling_task:
        raise DataError(
            f"{data.name}: rows that stream from shards are drawn as they are. Set training.sampling to 'as_is', or "
            "load the manifest."
        )
    if recipe.bucketed:
        raise DataError(
            f"{data.name}: of rows that stream from shards the lengths are not known before they are read. Set "
            "training.bucket to false, or load the manifest."
        )


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


def describe_data(recipe, data):
    """Returns what `run.json` says of what is trained on."""
    return {
        "format": FORMAT,
        "seed": recipe.training.seed,
        "manifest": data.name,
        "rows": data.counts,
        "quarantined": int(data.quarantine["row"].nunique()),
    }


def _packages():
    return PACKAGES if keras.backend.backend() == "tensorflow" else (*PACKAGES, keras.backend.backend())


def _describe(data, trainer, history, seconds):
    """Returns what `run.json` says of a training."""
    return describe_data(trainer.recipe, data) | {
        "epochs": len(history),
        "best_epoch": trainer.best_epoch,
        "parameters": trainer.model.count_params(),
        "seconds": round(seconds, 1),
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "devices": [d.name for d in tf.config.list_physical_devices()],
        "versions": {p: metadata.version(p) for p in _packages()},
    }
