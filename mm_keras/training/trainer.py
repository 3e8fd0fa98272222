"""The model of a recipe and how it is trained: heads, losses, learning rate, epochs."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from mm_keras.data.bucketing import row_lengths
from mm_keras.data.caching import Cache
from mm_keras.data.drawing import Epochs, make_draw
from mm_keras.data.pipeline import make_dataset
from mm_keras.model import build_model
from mm_keras.training.averages import AveragedWeights
from mm_keras.training.balance.build import balanced_network, is_balanced
from mm_keras.training.balance.schedule import BalanceColumns, DropoutSchedule
from mm_keras.training.calibration import answers_of, describe, fit_calibration, put_calibration
from mm_keras.training.callbacks import BestWeights, Record
from mm_keras.training.distributing.single import Single
from mm_keras.training.epochs import Watchers, run_epochs
from mm_keras.training.heads import compile_network, loss_weights, with_auxiliary
from mm_keras.training.learn import loss_labels, targets_and_weights
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
        starts: Lines about encoders that start from weights learned elsewhere.
        trimmed: Names of the inputs whose batches are cut to their longest row.
    """

    def __init__(self, recipe, preprocessors, tasks, begins=True, place=None, is_trimmed=True):
        self.recipe, self.preprocessors, self.tasks = recipe, preprocessors, tasks
        self.place, self.best_epoch, self.held_out = place or Single(), None, {}
        self.trimmed, self._measured = recipe.bucketed if is_trimmed else (), (None, None)
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(recipe.training.precision)
        try:
            with self.place.scope():
                self._build(begins)
        finally:
            keras.config.set_dtype_policy(policy)

    def _build(self, begins):
        recipe, tasks = self.recipe, self.tasks
        tensors = {n: replace(p.tensor, trimmed=n in self.trimmed) for n, p in self.preprocessors.items()}
        self.model = build_model(recipe, tensors, tasks)
        self.starts = start_encoders(recipe, self.model, self.preprocessors, begins)
        network, self.heads, self.shares = with_auxiliary(recipe, self.model, tasks)
        self.network = balanced_network(recipe, self.model, network, self.heads, tasks, self.shares)
        self.place.adapt(self.model)

    def settled(self):
        """Returns the trainer of a model on one device and of the recipe's lengths, with the weights of this one."""
        if self.place.devices == 1 and not self.trimmed:
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
            validation = self.place.batches(self.dataset(data.validation), training.batch_size, count)
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
            tell = lambda *place: write_batches(Path(out), self.again(data.train, *place), data.train)  # noqa: E731
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

        def batches(numbers, skipped):
            return self.place.batches(self.dataset(rows, numbers).skip(skipped), training.batch_size)

        length = {"epochs": training.epochs, "steps": steps, "apart": steps % training.steps_per_execution > 0}
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

    def again(self, rows, epoch, batches):
        """Yields `((tensors, targets, weights), positions in rows)` of some batches of an epoch, as they were.

        Args:
            rows: The training `Rows`.
            epoch: Its number, from 0.
            batches: The `range` of their numbers.
        """
        size, numbers = self.recipe.training.batch_size, range(epoch, epoch + 1)
        order = make_dataset(self.preprocessors, rows, batch_size=size, epochs=self._epochs(rows, numbers))
        # With their padding, so that several batches can be put together.
        parts = self.dataset(rows, numbers, trimmed=()), order.map(lambda tensors, at: at)
        yield from zip(*(p.skip(batches.start).take(len(batches)).as_numpy_iterator() for p in parts), strict=True)

    def dataset(self, rows, epochs=None, trimmed=None):
        """Returns the rows as batches for `network`; shuffled and augmented for a `range` of `epochs`.

        Args:
            rows: A `Rows`, or a `ShardedRows`.
            epochs: Their numbers. Defaults to `None`: one pass, in order.
            trimmed: Names of the inputs that are cut to the longest row of a batch. Defaults to those of the trainer.
        """
        training = self.recipe.training
        return make_dataset(
            self.preprocessors,
            rows,
            batch_size=training.batch_size,
            labels=loss_labels(self.tasks, self.heads, rows),
            epochs=None if epochs is None else self._epochs(rows, epochs),
            cache=Cache(int(training.cache_gb * 2**30), training.cache, training.cache_folder),
            trimmed=self.trimmed if trimmed is None else trimmed,
        )

    def _epochs(self, rows, numbers):
        training, draw = self.recipe.training, make_draw(rows, self.recipe.sampling_task)
        lengths = self._lengths(rows) if self.trimmed else None
        return Epochs(numbers, training.seed, mixup=training.mixup, cutmix=training.cutmix, draw=draw, lengths=lengths)

    def _lengths(self, rows):
        """Returns the lengths of rows, which are counted once: every call of Keras's `fit` asks for them."""
        if self._measured[0] is not rows:
            self._measured = rows, row_lengths(self.preprocessors, rows, self.trimmed)
        return self._measured[1]


def _values(outputs):
    return keras.ops.convert_to_numpy(outputs)[:, 0]
