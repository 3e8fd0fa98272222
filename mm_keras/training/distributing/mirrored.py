"""Several devices of one machine by TensorFlow's `MirroredStrategy`: a copy of the network on each."""

import functools

import keras
import tensorflow as tf

from mm_keras.errors import DataError
from mm_keras.training.distributing.batches import whole_batches
from mm_keras.training.distributing.single import Single


@functools.cache
def _strategy_over(names):
    """Returns the process's one strategy over some devices: sums of a second one would meet those of the first."""
    return tf.distribute.MirroredStrategy(names)


class Mirrored(Single):
    """Devices of one machine, GPUs if there are any; gradients are summed over them before every step.

    Args:
        devices: How many.

    Raises:
        DataError: When the machine has fewer.
    """

    def __init__(self, devices):
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        names = [device.name for device in tf.config.list_logical_devices(kind)]
        if len(names) < devices:
            raise DataError(f"this machine has {len(names)} devices of the kind {kind}. Received: devices={devices}")
        self.devices = devices
        self.strategy = _strategy_over(tuple(names[:devices]))

    def scope(self):
        return self.strategy.scope()

    def adapt(self, model):
        """Lets batch normalisations see the whole batch; each device alone would have statistics of its own."""
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True

    def batches(self, dataset, size, rows=None):
        return whole_batches(dataset, size, rows)

    def make_state(self, make):
        # Metrics are counted on each device. They make their variables outside of the graph by themselves.
        tf.function(lambda: self.strategy.run(lambda: make() and None), autograph=False)()
