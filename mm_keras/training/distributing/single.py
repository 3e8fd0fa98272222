"""One device of one process."""

import contextlib

import keras

from mm_keras.training.checkpoint import Checkpoints
from mm_keras.training.distributing.batches import whole_batches
from mm_keras.training.signals import stop_requests


class Single:
    """The device that Keras chooses.

    Attributes:
        devices: How many devices a batch is split over, of all processes together.
        rank: This process among those that train, from 0, the one that writes.
        servers: The `DataServers` that make the training batches; `None` is this process.
    """

    devices, rank, servers = 1, 0, None

    def scope(self):
        """Returns the context in which the network is made and trained."""
        return contextlib.nullcontext()

    def adapt(self, model):
        """Changes how layers of a new model compute where several devices need it."""

    def batches(self, dataset, size, rows=None):
        """Returns the batches that this process feeds; arguments as of `whole_batches`."""
        # JAX would compile the step once more for the last, shorter batch.
        return whole_batches(dataset, size, rows) if keras.backend.backend() == "jax" else dataset

    def make_state(self, make):
        """Calls a function that makes variables."""
        make()

    def agree(self, *facts):
        """Returns when all processes are here; raises when whole numbers differ between them."""

    def checkpoints(self, folder):
        """Returns the `Checkpoints` of a folder, which all read and the first writes."""
        return Checkpoints(folder)

    def stop_requests(self, say):
        """Returns the context of a `StopRequest`; see `signals.stop_requests`."""
        return stop_requests(say)

    def watched(self):
        """Returns the context of a training, in which the loss of another process is told as what it is."""
        return contextlib.nullcontext()
