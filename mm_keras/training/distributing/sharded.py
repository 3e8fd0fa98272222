"""Several devices, of one process or of many, by JAX: one network, each batch split over them."""

import contextlib
import re

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from mm_keras.errors import DataError, HostLost
from mm_keras.training.checkpoint import Checkpoints
from mm_keras.training.distributing.batches import own_rows, whole_batches
from mm_keras.training.distributing.single import Single


class Sharded(Single):
    """JAX's devices: the first of this process, or all of all processes that have joined.

    Every process feeds its own rows of the same batches. Whatever one of them asks a variable in the training, all must
    ask, in the same order, or JAX waits for good; so all make each checkpoint, and the first writes it.

    Args:
        devices: How many of this process; `None` takes all.

    Raises:
        DataError: When there are fewer, or not all of one of several processes are asked for.
    """

    def __init__(self, devices=None):
        here, self.processes, self.rank = jax.local_devices(), jax.process_count(), jax.process_index()
        wanted = len(here) if devices is None else devices
        if wanted > len(here):
            raise DataError(f"JAX has {len(here)} devices here: {_named(here)}. Received: devices={devices}")
        if self.processes > 1 and wanted < len(here):
            raise DataError(f"of several hosts all devices train, {len(here)} of this one. Received: devices={devices}")
        self.devices = wanted * self.processes
        chosen = jax.devices() if self.processes > 1 else here[:wanted]
        self.distribution = keras.distribution.DataParallel(devices=_named(chosen), auto_shard_dataset=False)

    def scope(self):
        return self.distribution.scope()

    def batches(self, dataset, size, rows=None):
        dataset = whole_batches(dataset, size, rows)
        return own_rows(dataset, size, self.rank, self.processes) if self.processes > 1 else dataset

    def agree(self, *facts):
        if self.processes == 1:
            return
        try:
            multihost_utils.assert_equal(np.array([0, *facts], np.int32))
        except AssertionError:
            raise DataError(
                "the processes that train together differ in recipe, data or checkpoint. Give all of them the same, "
                "and a run folder that all of them see."
            ) from None

    def checkpoints(self, folder):
        return _ReadOnly(folder) if self.rank else Checkpoints(folder)

    def stop_requests(self, say):
        return super().stop_requests(say) if self.processes == 1 else contextlib.nullcontext(_CommonRequest())

    @contextlib.contextmanager
    def watched(self):
        try:
            yield
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            said = str(error).splitlines()[0] if str(error) else ""
            if self.processes == 1 or not re.match("[A-Z_]+: ", said):  # a status of JAX's runtime
                raise
            raise HostLost(
                f"process {self.rank} of {self.processes}: another one is gone, or this one has failed. Start all of "
                f"them again, with `resume`, to go on from the last checkpoint. JAX says: {said}"
            ) from error


def _named(devices):
    """Returns the names that Keras has for devices."""
    return [f"{device.platform}:{device.id}" for device in devices]


class _ReadOnly(Checkpoints):
    """Checkpoints that another process writes."""

    def save(self, state, place, facts):
        """Nothing."""

    def remove(self):
        """Nothing."""


class _CommonRequest:
    """A `StopRequest` of several processes: a SIGTERM to any of them stops all after the same batch.

    JAX's service, which has a handler of its own, finds a batch that none of them has passed yet.
    """

    def __init__(self):
        self._asked, self._name = 0, ""

    @property
    def name(self):
        self._asked += 1
        if not self._name and multihost_utils.reached_preemption_sync_point(self._asked):
            self._name = "SIGTERM"
        return self._name
