"""The epochs of a training: calls of Keras's `fit` that together are one, from any batch on."""

import keras


class Watchers(keras.callbacks.CallbackList):
    """Callbacks that see several calls of `fit` as one training.

    Args:
        callbacks: A list of `keras.callbacks.Callback`s.
        model: The network that is trained.
        params: `epochs`, `steps` and `verbose`, as `fit` tells them to callbacks.

    Attributes:
        first_batch: The number, in its epoch, of the first batch that the next call of `fit` trains on.
    """

    def __init__(self, callbacks, model, **params):
        super().__init__(callbacks, add_history=True, add_progbar=params["verbose"] != 0, model=model, **params)
        self.first_batch, self._logs = 0, None

    def begin(self):
        """Tells all that the training begins."""
        super().on_train_begin()

    def end(self):
        """Tells all that it is over."""
        super().on_train_end(self._logs)

    def on_train_begin(self, logs=None):
        """Nothing: `begin` tells it once."""

    def on_train_end(self, logs=None):
        """Nothing: `end` tells it once."""

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(self.first_batch + batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(self.first_batch + batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._logs = logs
        super().on_epoch_end(epoch, logs)


def run_epochs(network, batches, validation, watchers, *, epochs, steps, start=(0, 0), apart=False):
    """Trains a compiled network.

    Args:
        network: A `keras.Model`.
        batches: A function of a `range` of epochs and how many batches of the first one are left out, that returns
            their `tf.data.Dataset`, in order.
        validation: The `tf.data.Dataset` that is looked at after each epoch, or `None`.
        watchers: The `Watchers`.
        epochs: How many there are.
        steps: Batches of an epoch.
        start: `(epoch, batch)` at which to begin, both counted from 0. Defaults to `(0, 0)`.
        apart: Whether each epoch is a call of its own: so many steps in one execution that the last of an epoch would
            take batches of the next. Defaults to `False`.
    """
    watchers.begin()
    for numbers, skipped in _calls(start, epochs, apart):
        watchers.first_batch = skipped
        network.fit(
            batches(numbers, skipped),
            validation_data=validation,
            initial_epoch=numbers.start,
            epochs=numbers.stop,
            steps_per_epoch=steps - skipped,  # all epochs of a call are one dataset
            shuffle=False,  # the dataset shuffles
            callbacks=watchers,
        )
        if network.stop_training:
            break
    watchers.end()


def _calls(start, epochs, apart):
    """Yields `(range of epochs, batches left out)`: the rest of an epoch that was begun is a call of its own."""
    epoch, batch = start
    while epoch < epochs:
        end = epoch + 1 if batch or apart else epochs
        yield range(epoch, end), batch
        epoch, batch = end, 0
