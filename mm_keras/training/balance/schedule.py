"""Modality dropout that changes from epoch to epoch, and what balances put in the history."""

import keras


class DropoutSchedule(keras.callbacks.Callback):
    """Changes the rate of modality dropout in equal steps; the history has it as `modality_dropout`.

    Args:
        layer: The model's `ModalityDropout`.
        schedule: `"rise"` ends at the layer's rate, `"fall"` begins there.
        epochs: How many there are.

    Reference:
        Morerio et al. 2017, arXiv:1703.06229 (curriculum dropout), for `"rise"`. Differs: inputs are dropped, not
        units; a line, not an exponential.
    """

    def __init__(self, layer, schedule, epochs):
        super().__init__()
        self.layer, self.schedule, self.epochs = layer, schedule, epochs
        self.share = keras.Variable(1.0, trainable=False, dtype="float32")
        layer.follow(self.share)

    def on_epoch_begin(self, epoch, logs=None):
        self.share.assign(scheduled_share(self.schedule, epoch, self.epochs))

    def on_epoch_end(self, epoch, logs=None):
        logs["modality_dropout"] = self.layer.rate * float(self.share)

    def on_train_end(self, logs=None):
        self.layer.follow(None)


def scheduled_share(schedule, epoch, epochs):
    """Returns the share of the rate in an epoch, counted from 0."""
    return (epoch + 1) / epochs if schedule == "rise" else 1.0 - epoch / epochs


class BalanceColumns(keras.callbacks.Callback):
    """Tells the balances of a `BalancedNetwork` how far training is, and puts what they learned into the history."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.begin_epoch(epoch / self.params["epochs"])

    def on_epoch_end(self, epoch, logs=None):
        logs |= self.model.columns()
