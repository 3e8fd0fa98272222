"""A recipe and data -> a run: learned assets, trained model, history, all in one folder."""

import json
import math
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

import keras
import pandas as pd
import tensorflow as tf

from mm_keras.data.pipeline import make_dataset
from mm_keras.errors import DataError
from mm_keras.extension import check_loads, describe_extensions
from mm_keras.model import build_model, logits_model
from mm_keras.recipe import load_recipe
from mm_keras.training.callbacks import BestWeights, StopOnNaN
from mm_keras.training.examples import save_examples, save_rows
from mm_keras.training.learn import learn, targets_and_weights
from mm_keras.training.optimizer import RatedAdamW
from mm_keras.training.run import FORMAT, load_run, save_assets
from mm_keras.training.second_stage import fit_fusions, fusions_to_fit
from mm_keras.training.transfer import learning_rates, start_encoders

PACKAGES = ("mm_keras", "tensorflow", "keras", "tensorflow-text", "tensorflow-io", "numpy", "pandas", "scikit-learn")


def fit(recipe, data, out, *, verbose=True, callbacks=()):
    """Trains the model of a recipe and stores everything it learned.

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
    if (out / "run.json").exists():
        raise DataError(f"{out}: already holds a run. Choose another folder, or delete this one.")
    if out.is_file():
        raise DataError(f"{out}: is a file. Choose a folder.")
    _check_fits(recipe, data)
    data = data.recheck(recipe)
    if not len(data.train):
        raise DataError(f"{data.name}: no training rows.")
    say = print if verbose else (lambda *_: None)
    say(repr(data))
    if len(data.quarantine):
        say(f"{data.quarantine['row'].nunique()} bad rows are left out; see {out / 'quarantine.csv'}")

    keras.utils.set_random_seed(recipe.training.seed)
    began = time.time()
    preprocessors, tasks = learn(recipe, data)
    trainer = Trainer(recipe, preprocessors, tasks)
    if describe_extensions(recipe):
        check_loads(trainer.model)
    say(f"{trainer.model.count_params():,} parameters; fusion {recipe.fusion.kind!r}")
    for line in trainer.starts:
        say(line)
    out.mkdir(parents=True, exist_ok=True)
    data.quarantine.to_csv(out / "quarantine.csv", index=False)
    history = trainer.train(data, out, verbose, callbacks)
    trainer.fit_fusions(data.validation, say)

    before, data = len(data.rows), data.recheck(recipe, max_bad=1.0)
    if len(data.rows) < before:
        say(f"{before - len(data.rows)} rows lost a file during training; see {out / 'quarantine.csv'}")
        data.quarantine.to_csv(out / "quarantine.csv", index=False)
    save_assets(out, recipe, preprocessors, tasks)
    save_rows(out, recipe, data)
    save_examples(out, preprocessors, data)
    trainer.model.save(out / "model.keras")
    history.to_csv(out / "history.csv", index=False)
    info = _describe(recipe, data, trainer, history, time.time() - began)
    # Last, so that a folder with this file is a whole run.
    (out / "run.json").write_text(json.dumps(info, indent=1), encoding="utf-8")
    say(f"trained {len(history)} epochs in {info['seconds']:.0f} s; best epoch {trainer.best_epoch + 1}; run {out}")
    return load_run(out)


def _describe(recipe, data, trainer, history, seconds):
    """Returns what `run.json` says of a training."""
    return {
        "format": FORMAT,
        "seed": recipe.training.seed,
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


def _check_fits(recipe, data):
    """Raises when the data was loaded for another recipe."""
    for room, wanted, found in (
        ("inputs", recipe.inputs, data.rows.cells),
        ("tasks", recipe.tasks, data.rows.labels),
    ):
        if lacking := sorted(set(wanted) - set(found)):
            raise DataError(f"{data.name}: was loaded without the {room} {lacking}. Load it with this recipe.")


class Trainer:
    """The model of a recipe, compiled on its logits.

    Args:
        recipe: A `Recipe`.
        preprocessors, tasks: Adapted.

    Attributes:
        starts: Lines about encoders that start from weights learned elsewhere.
    """

    def __init__(self, recipe, preprocessors, tasks):
        self.recipe, self.preprocessors, self.tasks = recipe, preprocessors, tasks
        self.best_epoch = None
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(recipe.training.precision)
        try:
            self.model = build_model(recipe, {n: p.tensor for n, p in preprocessors.items()}, tasks)
            self.starts = start_encoders(recipe, self.model, preprocessors)
            self.network, self.heads = with_auxiliary(recipe, self.model, tasks)
        finally:
            keras.config.set_dtype_policy(policy)

    def train(self, data, out, verbose=True, callbacks=()):
        """Runs the epochs; leaves the best weights in `model`, the last ones when no rows validate.

        Returns:
            The history, a DataFrame.
        """
        training = self.recipe.training
        train = self.dataset(data.train, range(training.epochs))
        validation = self.dataset(data.validation) if len(data.validation) else None
        self.compile()
        several = len(self.heads) > 1
        losses = {f"val_{h}_loss" if several else "val_loss": self.loss_weights[h] for h in self.tasks}
        best = [BestWeights(losses, training.patience)] if validation is not None else []
        history = self.network.fit(
            train,
            validation_data=validation,
            epochs=training.epochs,
            steps_per_epoch=len(train) // training.epochs,  # all epochs are one dataset
            shuffle=False,  # the dataset shuffles
            verbose=(1 if sys.stdout.isatty() else 2) if verbose else 0,
            callbacks=[
                keras.callbacks.LearningRateScheduler(
                    lambda e: warm_cosine(e, training.epochs, training.learning_rate)
                ),
                StopOnNaN(),
                *best,
                keras.callbacks.TensorBoard(str(Path(out) / "logs"), write_graph=False),
                *callbacks,
            ],
        )
        self.best_epoch = best[0].best_epoch if best else len(history.epoch) - 1
        return pd.DataFrame({"epoch": [e + 1 for e in history.epoch], **history.history})

    def fit_fusions(self, rows, say):
        """Fits the fusions that learn from finished answers on the validation rows; without any they stay as they are.

        Args:
            rows: The `Rows` of the validation split.
            say: Called with a line that tells what was done.
        """
        fusions = fusions_to_fit(self.model, self.tasks)
        if not fusions:
            return
        counts = fit_fusions(self.model, self.recipe.inputs, fusions, self.dataset(rows)) if len(rows) else {}
        for task in fusions:
            count = counts.get(task, 0)
            done = f"is fitted on {count} rows" if count else "stays a plain pool, for there are no labelled rows"
            say(f"fusion {self.recipe.fusion.kind!r} of {task!r} {done} of validation")

    @property
    def loss_weights(self):
        """`{head: weight}`: every task's loss is near 1 at the start, times its own weight."""
        weights = {}
        for head, task in self.heads.items():
            scale = self.tasks[task].loss_scale() * self.recipe.tasks[task].weight
            weights[head] = scale if head == task else scale * self.recipe.training.auxiliary / len(self.recipe.inputs)
        return weights

    def compile(self):
        """Compiles the network with AdamW, the tasks' losses and their metrics."""
        training = self.recipe.training
        optimizer = RatedAdamW(
            training.learning_rate,
            weight_decay=training.weight_decay,
            global_clipnorm=5.0,
            rates=learning_rates(self.recipe, self.model, self.network.trainable_variables),
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "missing"])
        self.network.compile(
            optimizer=optimizer,
            loss={head: self.tasks[task].loss() for head, task in self.heads.items()},
            loss_weights=self.loss_weights,
            weighted_metrics={task: self.tasks[task].metrics() for task in self.tasks},
        )

    def dataset(self, rows, epochs=None):
        """Returns the rows as batches for `network`; shuffled and augmented for a `range` of `epochs`."""
        targets, weights = (
            {head: part[task] for head, task in self.heads.items()} for part in targets_and_weights(self.tasks, rows)
        )
        return make_dataset(
            self.preprocessors,
            rows,
            batch_size=self.recipe.training.batch_size,
            targets=targets,
            weights=weights,
            epochs=epochs,
            mixup=self.recipe.training.mixup,
            cutmix=self.recipe.training.cutmix,
            seed=self.recipe.training.seed,
            cache_bytes=int(self.recipe.training.cache_gb * 2**30),
        )


def warm_cosine(epoch, epochs, peak):
    """Returns the learning rate of an epoch: a third of `peak` in the first of several, then down half a cosine.

    Set once an epoch, not each step: Keras evaluates a schedule once for every variable in every step, which costs a
    small model several percent of its time.

    Reference:
        Loshchilov and Hutter 2017, arXiv:1608.03983, section 3. Differs: one period; the first epoch warms up.
    """
    rate = 0.5 * peak * (1.0 + math.cos(math.pi * epoch / epochs))
    return rate / 3.0 if epoch == 0 and epochs >= 5 else rate


def with_auxiliary(recipe, model, tasks):
    """Returns the model that is trained, ending at logits, and `{output: task}`.

    With `training.auxiliary`, each input's embedding also gets a head of its own for each task; a fusion of decisions
    has these heads already.
    """
    network = logits_model(model, tasks)
    heads = {task: task for task in tasks}
    if not recipe.training.auxiliary:
        return network, heads
    outputs = dict(network.output)
    known = {layer.name for layer in model.layers}
    for name in recipe.inputs:
        for task in tasks:
            head = f"{task}_{name}_logits"
            embedding = model.get_layer(f"{name}_missing").output
            outputs[head] = model.get_layer(head).output if head in known else tasks[task].head(head)(embedding)
            heads[head] = task
    return keras.Model(model.input, outputs, name="logits"), heads
