"""The averaged weights of a training, in the network where it is looked at and not where it is trained."""

import keras


class AveragedWeights(keras.callbacks.Callback):
    """Puts the averages of `RatedAdamW(average=..)` in the place of the weights from validation to the epoch's end.

    What stands between this and its `back` sees them at the end of an epoch, that which keeps the best ones too. When
    training ends without validation rows, the averages are the weights.

    Args:
        is_validated: Whether there are validation rows.
    """

    def __init__(self, is_validated):
        super().__init__()
        self.is_validated, self._is_swapped = is_validated, False
        self.back = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: self._swap(False))

    def on_test_begin(self, logs=None):
        self._swap(True)

    def on_epoch_end(self, epoch, logs=None):
        self._swap(True)

    def on_train_end(self, logs=None):
        if not self.is_validated:
            self._swap(True)

    def _swap(self, wanted):
        if self._is_swapped == wanted:
            return
        self._is_swapped = wanted
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        for variable, average in zip(self.model.trainable_variables, optimizer.averages, strict=True):
            value = keras.ops.convert_to_numpy(variable)
            variable.assign(average)
            average.assign(value)
