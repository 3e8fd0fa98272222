"""What watches a training."""

import keras
import numpy as np


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest loss of the tasks, and stops when it no longer falls.

    The auxiliary heads' losses are left out: they are thrown away after training.

    Args:
        losses: `{name of a loss in the logs: its weight}`.
        patience: Epochs without a lower loss before training stops.
    """

    def __init__(self, losses, patience):
        super().__init__()
        self.losses, self.patience = losses, patience
        self.best_loss, self.best_epoch, self.best_weights = np.inf, None, None

    def get_state(self):
        return {"loss": float(self.best_loss), "epoch": self.best_epoch, "weights": self.best_weights}

    def set_state(self, state):
        self.best_loss, self.best_epoch, self.best_weights = state["loss"], state["epoch"], state["weights"]

    def on_epoch_end(self, epoch, logs=None):
        loss = sum(weight * logs[name] for name, weight in self.losses.items())
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_weights = loss, epoch, self.model.get_weights()
        elif epoch - (self.best_epoch or 0) >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class Record(keras.callbacks.History):
    """The history of a training, those epochs too that earlier processes trained."""

    def __init__(self):
        super().__init__()
        self.epoch = []

    def on_train_begin(self, logs=None):
        """Nothing: what is there stays."""

    def get_state(self):
        return {"epoch": list(self.epoch), "history": {k: [float(v) for v in vs] for k, vs in self.history.items()}}

    def set_state(self, state):
        self.epoch, self.history = list(state["epoch"]), dict(state["history"])
