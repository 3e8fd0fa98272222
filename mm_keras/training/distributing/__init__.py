"""Where a training runs: on one device, several of a machine, or those of several machines; the same recipe on all.

The batch of the recipe is the batch of all devices together, so that its learning rate holds; order, augmentation and
mixing are those of one device.
"""

import keras

from mm_keras.data.service.client import DataServers
from mm_keras.errors import DataError, RecipeError
from mm_keras.training.distributing.heartbeat import heartbeat_seconds
from mm_keras.training.distributing.refusals import check_backend, check_batch, check_hosts, check_mirrored
from mm_keras.training.distributing.single import Single

# A data server may take long over its first batch, when it opens shards and fills the block that is shuffled.
SILENCE_SECONDS = 60


def place(recipe, devices=None, hosts=False, data_service=None):
    """Returns where a recipe is trained; see `Single` for what a place has.

    Args:
        recipe: A `Recipe`.
        devices: How many devices of this machine; `None` is one, or with `hosts` all.
        hosts: Whether this process joins others, which its environment names; see `join_hosts`.
        data_service: The addresses of data servers; see `DataServers`. Defaults to `None`, without any.

    Raises:
        RecipeError: When the recipe holds what cannot be done there.
        DataError: When there are not so many devices, or the environment names no hosts, or a data server is not there.
    """
    if data_service:
        if hosts:
            raise DataError(
                "data_service: is for the training of one process; each of several hosts would have all batches made "
                "for itself, to take its own rows of them. Prepare shards, which every host reads."
            )
        servers = DataServers(data_service, heartbeat_seconds(SILENCE_SECONDS))
        servers.check()
        found = place(recipe, devices)
        found.servers = servers
        return found
    if devices is not None and devices < 1:
        raise DataError(f"devices must be at least 1. Received: {devices}")
    on_jax = keras.backend.backend() == "jax"
    if hosts:
        if not on_jax:
            raise RecipeError("several hosts train with Keras on JAX. Set KERAS_BACKEND=jax on each of them.")
        from mm_keras.training.distributing.hosts import join_hosts

        check_hosts(recipe)
        join_hosts()
    check_backend(recipe)
    if not hosts and devices in (None, 1):
        return Single()
    if on_jax:
        from mm_keras.training.distributing.sharded import Sharded

        found = Sharded(devices)
    else:
        from mm_keras.training.distributing.mirrored import Mirrored

        check_mirrored(recipe)
        found = Mirrored(devices)
    check_batch(recipe, found.devices)
    return found
