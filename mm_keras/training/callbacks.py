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

    def on_epoch_end(self, epoch, logs=None):
        loss = sum(weight * logs[name] for name, weight in self.losses.items())
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_weights = loss, epoch, self.model.get_weights()
        elif epoch - (self.best_epoch or 0) >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class StopOnNaN(keras.callbacks.Callback):
    """Ends a training whose loss is no number. Looked at once an epoch, so that no step waits for it."""

    def on_epoch_end(self, epoch, logs=None):
        for name in ("loss", "val_loss"):
            if not np.isfinite(logs.get(name, 0.0)):
                raise FloatingPointError(
                    f"the {name} is {logs[name]} in epoch {epoch + 1}. Lower `training.learning_rate` or use float32."
                )
