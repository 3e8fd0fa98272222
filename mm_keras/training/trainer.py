"""The model of a recipe and how it is trained: heads, losses, learning rate, epochs."""

import contextlib
import math
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from mm_keras.model import build_model
from mm_keras.training.averages import AveragedWeights
from mm_keras.training.balance.build import balanced_network, is_balanced
from mm_keras.training.balance.schedule import BalanceColumns, DropoutSchedule
from mm_keras.training.calibration import answers_of, describe, fit_calibration, put_calibration
from mm_keras.training.callbacks import BestWeights, Record
from mm_keras.training.distributing.single import Single
from mm_keras.training.epochs import Watchers, run_epochs
from mm_keras.training.feed import Feed
from mm_keras.training.heads import compile_network, level_inputs, loss_weights, scaling_levels, with_auxiliary
from mm_keras.training.learn import targets_and_weights
from mm_keras.training.nan_guard import StopOnNaN, write_batches
from mm_keras.training.rates import Rates
from mm_keras.training.second_stage import fit_fusions, fusions_to_fit
from mm_keras.training.transfer import start_encoders


class Trainer:
    """The model of a recipe, compiled on its logits.

    Args:
        recipe: A `Recipe`.
        preprocessors, tasks: Adapted.
        begins: Whether encoders take the first weights that the recipe names; not when a checkpoint gives all of
            them. Defaults to `True`.
        place: Where it trains; see `distributing.place`. `None` is one device. Defaults to `None`.
        is_trimmed: Whether the model takes trimmed batches where the recipe asks for `bucket`. Defaults to `True`.

    Attributes:
        feed: The `Feed` of its batches.
        starts: Lines about encoders that start from weights learned elsewhere.
    """

    def __init__(self, recipe, preprocessors, tasks, begins=True, place=None, is_trimmed=True):
        self.recipe, self.preprocessors, self.tasks = recipe, preprocessors, tasks
        self.place, self.best_epoch, self.held_out = place or Single(), None, {}
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(recipe.training.precision)
        try:
            with self.place.scope():
                self._build(begins, recipe.bucketed if is_trimmed else ())
        finally:
            keras.config.set_dtype_policy(policy)

    def _build(self, begins, trimmed):
        recipe, tasks = self.recipe, self.tasks
        tensors = {n: replace(p.tensor, trimmed=n in trimmed) for n, p in self.preprocessors.items()}
        self.model = build_model(recipe, tensors, tasks)
        self.starts = start_encoders(recipe, self.model, self.preprocessors, begins)
        network, self.heads, self.shares = with_auxiliary(recipe, self.model, tasks)
        packed = level_inputs(recipe, self.preprocessors)
        network = scaling_levels(network, packed)
        self.network = balanced_network(recipe, self.model, network, self.heads, tasks, self.shares)
        self.feed = Feed(recipe, self.preprocessors, tasks, self.heads, packed, trimmed)
        self.place.adapt(self.model)

    def settled(self):
        """Returns the trainer of a model on one device and of the recipe's lengths, with the weights of this one."""
        if self.place.devices == 1 and not self.feed.trimmed:
            return self
        found = Trainer(self.recipe, self.preprocessors, self.tasks, begins=False, is_trimmed=False)
        found.model.set_weights(self.model.get_weights())
        found.best_epoch = self.best_epoch
        return found

    def train(self, data, out, verbose=True, callbacks=(), keeper=None):
        """Runs the epochs; leaves the best weights in `model`, the last ones when no rows validate.

        Args:
            data: A `Data`.
            out: Folder for the logs.
            verbose: Whether to print progress. Defaults to `True`.
            callbacks: More `keras.callbacks.Callback`s.
            keeper: The `Keeper` that writes checkpoints, and knows where to go on; `None` keeps nothing.

        Returns:
            The history, a DataFrame.
        """
        training = self.recipe.training
        validation = None
        if count := len(data.validation):
            validation = self.place.batches(self.feed.dataset(data.validation), training.batch_size, count)
        balancing = self._balancing(data, validation)
        self.prepare(data.train)
        best = [] if validation is None else [BestWeights(self._validation_losses(), training.patience)]
        logs = keras.callbacks.TensorBoard(str(Path(out) / "logs"), write_graph=False)
        if self.place.rank:  # one process writes; checkpoints know callbacks by their places
            logs = keras.callbacks.Callback()
        watching = [*best, logs, *callbacks]
        if training.ema:
            averaged = AveragedWeights(validation is not None)
            watching = [averaged, *watching, averaged.back]
        tell = None
        if not self.place.rank:
            tell = lambda *place: write_batches(Path(out), self.feed.again(data.train, *place), data.train)  # noqa: E731
        guard = StopOnNaN(tell)
        watching = [Rates(training), *balancing, guard, *watching, Record()]
        history = self._run(data.train, validation, watching, verbose, keeper)
        self.best_epoch = best[0].best_epoch if best else len(history) - 1
        return history

    def prepare(self, rows):
        """Compiles the network and makes all variables that a step needs; `rows` are training rows."""
        self.compile()
        self._build_state(rows)

    def _run(self, rows, validation, watching, verbose, keeper):
        """Trains on the rows, from where a keeper says; returns the history."""
        training = self.recipe.training
        steps = math.ceil(len(rows) / training.batch_size)
        shown = (1 if sys.stdout.isatty() else 2) if verbose else 0
        kept = [] if keeper is None else [keeper]
        watchers = Watchers([*watching, *kept], self.network, epochs=training.epochs, steps=steps, verbose=shown)
        start = (0, 0)
        if keeper is not None:
            keeper.take(self.network, watching)
            start = (training.epochs, 0) if keeper.is_over else keeper.start

        servers = self.place.servers
        if servers is not None:
            self.feed.check_served(rows, servers)

        def batches(numbers, skipped):
            if servers is None:
                made = self.feed.dataset(rows, numbers).skip(skipped)
            else:
                made = servers.batches(lambda part: self.feed.dataset(rows, numbers, part), steps, skipped)
            return self.place.batches(made, training.batch_size)

        length = {"epochs": training.epochs, "steps": steps, "apart": steps % training.steps_per_execution > 0}
        with contextlib.nullcontext() if servers is None else servers.watched():
            run_epochs(self.network, batches, validation, watchers, start=start, **length)
        history = self.network.history
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
                found += balance.callbacks((self.feed.dataset(rows), validation))
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
            counts, self.held_out = fit_fusions(self.model, self.recipe.inputs, fusions, self.feed.tensors(rows))
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
            values = logits if self.tasks[name].is_categorical else _values(self.model.get_layer(name)(logits))
            answers[name] = values, answers[name][1]
        reports = fit_calibration(self.tasks, answers)
        put_calibration(self.model, self.tasks, reports)
        for name, report in reports.items():
            say(describe(name, report))
        return reports

    @property
    def loss_weights(self):
        """`{head: weight}`; see `heads.loss_weights`."""
        return loss_weights(self.recipe, self.tasks, self.heads, self.shares)

    def compile(self):
        """Compiles the network with AdamW, the tasks' losses and their metrics."""
        compile_network(self.network, self.model, self.recipe, self.tasks, self.heads, self.shares)

    def _build_state(self, rows):
        """Makes the variables of the optimizer, the losses and the metrics, on outputs of zeros.

        TensorFlow traces a function that makes variables a second time, which doubles the wait for the first step.
        """
        self.network.optimizer.build(self.network.trainable_variables)
        self.place.make_state(lambda: self._ask_losses(rows))

    def _ask_losses(self, rows):
        targets, weights = targets_and_weights(self.tasks, rows.take([0]))
        outputs = {h: keras.ops.zeros((1, *t.shape[1:]), t.dtype) for h, t in self.network.output.items()}
        targets, weights = ({h: part[task] for h, task in self.heads.items()} for part in (targets, weights))
        self.network.compute_loss(None, targets, outputs, weights)
        self.network.compute_metrics(None, targets, outputs, weights)


def _values(outputs):
    return keras.ops.convert_to_numpy(outputs)[:, 0]
