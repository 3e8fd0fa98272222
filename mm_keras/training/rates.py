"""The learning rate: how it rises and falls over a training."""

import math

import keras


class Rates(keras.callbacks.Callback):
    """Sets the learning rate once an epoch, and in a warm-up before each batch; the history has `learning_rate`.

    Not in the graph: Keras evaluates a schedule there once for every variable in every step, which costs a small model
    several percent of its time.

    Args:
        training: A `recipe.Training`.
    """

    def __init__(self, training):
        super().__init__()
        self.training, self._epoch = training, 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self.model.optimizer.learning_rate = epoch_rate(self.training, epoch)

    def on_train_batch_begin(self, batch, logs=None):
        if self._epoch < (self.training.warmup_epochs or 0):
            done = self._epoch + (batch + 1) / self.params["steps"]
            self.model.optimizer.learning_rate = self.training.learning_rate * done / self.training.warmup_epochs

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


def epoch_rate(training, epoch):
    """Returns the learning rate of an epoch, counted from 0; in a warm-up the peak, which its batches rise to.

    Args:
        training: A `recipe.Training`.
        epoch: Its number.
    """
    if training.warmup_epochs is None:
        rate = training.learning_rate * remaining_share(training.schedule, epoch, training.epochs)
        return rate / 3.0 if epoch == 0 and training.epochs >= 5 else rate
    after, left = epoch - training.warmup_epochs, training.epochs - training.warmup_epochs
    return training.learning_rate * (1.0 if after < 0 else remaining_share(training.schedule, after, left))


def remaining_share(schedule, epoch, epochs):
    """Returns the share of the peak that an epoch is trained with, without any warm-up.

    Reference:
        Loshchilov and Hutter 2017, arXiv:1608.03983, section 3, for `"cosine"`. Differs: one period, by epochs.
    """
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
    return 1.0 - epoch / epochs if schedule == "linear" else 1.0
