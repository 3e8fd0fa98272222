"""Processes, on one machine or several, that train together: JAX's own service, found by the environment."""

import os

import jax

from mm_keras.errors import DataError
from mm_keras.training.distributing.heartbeat import heartbeat_seconds, whole_number

# Ours, and those of keras.distribution.
NAMES = (
    ("MM_KERAS_COORDINATOR", "MM_KERAS_PROCESSES", "MM_KERAS_PROCESS"),
    ("KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID"),
)
# Of JAX 100 s; a host that is gone should not hold the others for so long.
HEARTBEAT_SECONDS = 30


def join_hosts(environment=None):
    """Joins the processes that train together, once in the life of a process.

    `MM_KERAS_COORDINATOR` is `host:port` of process 0, which listens at that address alone; `MM_KERAS_PROCESSES` is how
    many there are and `MM_KERAS_PROCESS` which one this is, from 0. The variables `KERAS_DISTRIBUTION_*` of
    `keras.distribution` do too. Without any, JAX asks Slurm, Open MPI or Kubernetes. `MM_KERAS_HEARTBEAT` is after how
    many seconds of silence a process counts as lost.

    Args:
        environment: Variables to read. Defaults to those of the process.

    Raises:
        DataError: When a variable is absent or no number, or nothing names the other processes.
    """
    if jax.distributed.is_initialized():
        return
    environment = os.environ if environment is None else environment
    found = read_hosts(environment)
    heartbeat = heartbeat_seconds(HEARTBEAT_SECONDS, environment)
    if found is None:
        try:
            jax.distributed.initialize(heartbeat_timeout_seconds=heartbeat, shutdown_timeout_seconds=heartbeat)
        except (ValueError, RuntimeError) as error:
            raise DataError(f"hosts: {', '.join(NAMES[0])} are not set, and JAX finds no cluster: {error}") from None
        return
    coordinator, processes, process = found
    jax.distributed.initialize(
        coordinator,
        processes,
        process,
        heartbeat_timeout_seconds=heartbeat,
        shutdown_timeout_seconds=heartbeat,
        # JAX would listen at all addresses, to anyone.
        coordinator_bind_address=coordinator if process == 0 else None,
        cluster_detection_method="deactivate",
    )


def read_hosts(environment):
    """Returns `(coordinator, how many processes, this one)`, or `None` when no variable names them.

    Raises:
        DataError: When one is absent or no number, or this process is not among them.
    """
    for names in NAMES:
        if not any(name in environment for name in names):
            continue
        absent = [name for name in names if name not in environment]
        if absent:
            raise DataError(f"hosts: {' and '.join(absent)} must be set too, for {names[0]} belongs with them.")
        coordinator = environment[names[0]].split(",")[0]
        if ":" not in coordinator:
            raise DataError(f"hosts: {names[0]} must be host:port. Received: {coordinator!r}")
        processes, process = (whole_number(environment, name) for name in names[1:])
        if not 0 <= process < processes:
            raise DataError(f"hosts: {names[2]} must be from 0 to {processes - 1}. Received: {process}")
        return coordinator, processes, process
    return None
