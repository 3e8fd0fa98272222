"""A process that makes batches for trainings: dispatcher and worker of tf.data service in one."""

import os
import socket
import threading

import tensorflow as tf

from mm_keras.data.service.facts import PLACE, written
from mm_keras.errors import DataError
from mm_keras.registry import PREPROCESSORS, resolve

HERE = "127.0.0.1"
LOOPBACK = (HERE, "localhost", "::1")


class DataServer:
    """Reads, decodes and preprocesses batches for trainings whose `data_service` names it.

    Every server has a dispatcher of its own, so that of several each makes the batches that it is asked for: a shared
    dispatcher hands out work to whoever comes first, in an order that no seed decides. A training sends it its whole
    graph, and the server reads whatever files that names: it serves trainings that one trusts, and no others.

    Args:
        port: Where trainings find it. Defaults to `0`, a free one.
        worker_port: Where they then fetch the batches. Defaults to `0`, a free one.
        host: The address at which trainings reach this machine. TensorFlow listens at all addresses and asks nobody who
            they are; of 127.0.0.1 the sockets are bound to the loopback device, so that only this machine comes in.
            Defaults to `"127.0.0.1"`.

    Attributes:
        address: `"host:port"`, what `data_service` takes.

    Raises:
        DataError: When a port is taken, or it cannot be kept to this machine.
    """

    def __init__(self, port=0, worker_port=0, host="127.0.0.1"):
        for part in PREPROCESSORS.values():
            resolve(part)  # registers ops that graphs hold, such as those of tensorflow_text
        if not tf.io.gfile.exists(PLACE):  # another server of this process has written the same
            with tf.io.gfile.GFile(PLACE, "w") as file:
                file.write(written())
        service = tf.data.experimental.service
        port, worker_port = _free(port), _free(worker_port)
        self.address = f"{host}:{port}"
        self._dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
        if host in LOOPBACK:
            _keep_to_this_machine(port)
        places = {"dispatcher_address": f"{HERE}:{port}", "worker_address": f"{host}:{worker_port}"}
        self._worker = service.WorkerServer(service.WorkerConfig(port=worker_port, **places))
        if host in LOOPBACK:
            _keep_to_this_machine(worker_port)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def wait(self):
        """Serves until the process is interrupted."""
        threading.Event().wait()

    def close(self):
        """Ends both; a training that still draws from it ends with `DataServerLost`."""
        self._worker = self._dispatcher = None


def _free(port):
    """Returns the port, or a free one in place of 0; TensorFlow itself would share one that is taken."""
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(("", port))
        except OSError as error:
            raise DataError(
                f"the data server cannot listen at port {port}: {error}; take another, or 0 for a free one."
            ) from None
        return found.getsockname()[1]


def _keep_to_this_machine(port):
    """Binds what this process listens with at a port to the loopback device.

    TensorFlow takes no address to listen at. Between its start and this, a few milliseconds, the port is open.
    """
    try:
        bound = [found.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0") for found in _listeners(port)]
        if not bound:
            raise OSError("its sockets are not found")
    except (OSError, AttributeError) as error:  # not Linux, or an old one that asks for a privilege
        raise DataError(
            f"TensorFlow listens at all addresses, and this system does not let it be kept to {HERE} ({error}). In a "
            "network where everyone may use the server, give the address by which trainings reach this machine as host."
        ) from None


def _listeners(port):
    """Yields the sockets by which this process listens at a port; TensorFlow has no call that gives them."""
    for number in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(number)))
        except OSError:  # another kind of file
            continue
        with found:
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and found.getsockname()[1] == port:
                yield found
