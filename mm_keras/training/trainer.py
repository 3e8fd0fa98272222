"""The model of a recipe and how it is trained: heads, losses, learning rate, epochs."""

import math
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from mm_keras.data.pipeline import Epochs, make_dataset
from mm_keras.model import build_model, logits_model
from mm_keras.training.balance.build import balanced_network, is_balanced, own_heads, own_share
from mm_keras.training.balance.schedule import BalanceColumns, DropoutSchedule
from mm_keras.training.calibration import answers_of, describe, fit_calibration, put_calibration
from mm_keras.training.callbacks import BestWeights, StopOnNaN
from mm_keras.training.learn import targets_and_weights
from mm_keras.training.optimizer import RatedAdamW
from mm_keras.training.second_stage import fit_fusions, fusions_to_fit
from mm_keras.training.transfer import learning_rates, start_encoders


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
        self.best_epoch, self.held_out = None, {}
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(recipe.training.precision)
        try:
            self.model = build_model(recipe, {n: p.tensor for n, p in preprocessors.items()}, tasks)
            self.starts = start_encoders(recipe, self.model, preprocessors)
            network, self.heads, self.shares = with_auxiliary(recipe, self.model, tasks)
            self.network = balanced_network(recipe, self.model, network, self.heads, tasks, self.shares)
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
        balancing = self._balancing(data, validation)
        self.compile()
        self._build_state(data.train)
        best = [] if validation is None else [BestWeights(self._validation_losses(), training.patience)]
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
                *balancing,
                StopOnNaN(),
                *best,
                keras.callbacks.TensorBoard(str(Path(out) / "logs"), write_graph=False),
                *callbacks,
            ],
        )
        self.best_epoch = best[0].best_epoch if best else len(history.epoch) - 1
        return pd.DataFrame({"epoch": [e + 1 for e in history.epoch], **history.history})

    def _balancing(self, data, validation):
        """Returns the callbacks of balances and of a schedule of modality dropout."""
        training, found = self.recipe.training, []
        if training.modality_dropout_schedule != "constant":
            layer = self.model.get_layer("presence")
            found.append(DropoutSchedule(layer, training.modality_dropout_schedule, training.epochs))
        if is_balanced(training):
            found.append(BalanceColumns())
            if (balance := self.network.inputs_balance).measures:
                # As many training rows as validate, from all over the split, as they are without augmentation.
                count = min(len(data.train), len(data.validation))
                rows = data.train.take(np.linspace(0, len(data.train) - 1, count).astype(int))
                found += balance.callbacks((self.dataset(rows), validation))
        return found

    def _validation_losses(self):
        """Returns `{name of a task's loss in the logs: its weight}`."""
        several = len(self.heads) > 1
        return {f"val_{h}_loss" if several else "val_loss": self.loss_weights[h] for h in self.tasks}

    def fit_fusions(self, rows, say):
        """Fits the fusions that learn from finished answers on the validation rows; without any they stay as they are.

        Args:
            rows: The `Rows` of the validation split.
            say: Called with a line that tells what was done.
        """
        fusions = fusions_to_fit(self.model, self.tasks)
        if not fusions:
            return
        counts = {}
        if len(rows):
            counts, self.held_out = fit_fusions(self.model, self.recipe.inputs, fusions, self.dataset(rows))
        for task in fusions:
            count = counts.get(task, 0)
            done = f"is fitted on {count} rows" if count else "stays a plain pool, for there are no labelled rows"
            say(f"fusion {self.recipe.fusion.kind!r} of {task!r} {done} of validation")

    def calibrate(self, rows, say):
        """Fits temperatures and intervals on the validation rows, unless the recipe says no.

        Args:
            rows: The `Rows` of the validation split.
            say: Called with a line for each task.

        Returns:
            As `fit_calibration`; empty when the recipe says no.
        """
        if not self.recipe.training.calibrate:
            return {}
        answers = answers_of(self.model, self.preprocessors, self.tasks, rows)
        for name, logits in self.held_out.items():
            # The fusion knows these rows; it must not be believed on them.
            values = logits if self.tasks[name].is_categorical else self.model.get_layer(name)(logits).numpy()[:, 0]
            answers[name] = values, answers[name][1]
        reports = fit_calibration(self.tasks, answers)
        put_calibration(self.model, self.tasks, reports)
        for name, report in reports.items():
            say(describe(name, report))
        return reports

    @property
    def loss_weights(self):
        """`{head: weight}`: every task's loss is near 1 at the start, times its own weight."""
        weights = {}
        for head, task in self.heads.items():
            scale = self.tasks[task].loss_scale() * self.recipe.tasks[task].weight
            weights[head] = scale * self.shares[head]
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
        if is_balanced(training):
            optimizer.share_steps(self.network.step_shares)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "missing"])
        self.network.compile(
            optimizer=optimizer,
            loss={head: self.tasks[task].loss() for head, task in self.heads.items()},
            loss_weights=self.loss_weights,
            weighted_metrics={task: self.tasks[task].metrics() for task in self.tasks},
        )

    def _build_state(self, rows):
        """Makes the variables of the optimizer, the losses and the metrics, on outputs of zeros.

        TensorFlow traces a function that makes variables a second time, which doubles the wait for the first step.
        """
        self.network.optimizer.build(self.network.trainable_variables)
        targets, weights = targets_and_weights(self.tasks, rows.take([0]))
        outputs = {h: keras.ops.zeros((1, *t.shape[1:]), t.dtype) for h, t in self.network.output.items()}
        targets, weights = ({h: part[task] for h, task in self.heads.items()} for part in (targets, weights))
        self.network.compute_loss(None, targets, outputs, weights)
        self.network.compute_metrics(None, targets, outputs, weights)

    def dataset(self, rows, epochs=None):
        """Returns the rows as batches for `network`; shuffled and augmented for a `range` of `epochs`."""
        training, parts = self.recipe.training, targets_and_weights(self.tasks, rows)
        if epochs is not None:
            epochs = Epochs(epochs, training.seed, mixup=training.mixup, cutmix=training.cutmix)
        return make_dataset(
            self.preprocessors,
            rows,
            batch_size=training.batch_size,
            labels=tuple({head: part[task] for head, task in self.heads.items()} for part in parts),
            epochs=epochs,
            cache_bytes=int(training.cache_gb * 2**30),
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
    """Returns the model that is trained, ending at logits, `{output: task}` and `{output: share of its task's loss}`.

    With `training.auxiliary`, or a balance that needs them, each input's embedding also gets a head of its own for each
    task; a fusion of decisions has these heads already.
    """
    network = logits_model(model, tasks)
    heads, kind = {task: task for task in tasks}, own_heads(recipe.training)
    shares = dict.fromkeys(heads, 1.0)
    if kind == "no":
        return network, heads, shares
    outputs = dict(network.output)
    known = {layer.name for layer in model.layers}
    for name in recipe.inputs:
        embedding = model.get_layer(f"{name}_missing").output
        if kind == "watch":
            embedding = keras.ops.stop_gradient(embedding)
        for task in tasks:
            head = f"{task}_{name}_logits"
            outputs[head] = model.get_layer(head).output if head in known else tasks[task].head(head)(embedding)
            heads[head] = task
            # Heads of the model itself that only watch are taught by the model's own loss alone.
            shares[head] = 0.0 if head in known and kind == "watch" else own_share(recipe.training, len(recipe.inputs))
    return keras.Model(model.input, outputs, name="logits"), heads, shares
