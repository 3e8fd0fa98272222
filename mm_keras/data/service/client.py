"""Batches of a training that data servers make: drawn in order, and never waited for in vain."""

import contextlib
import json
import queue
import socket
import threading
import time

import keras
import tensorflow as tf

from mm_keras.data.service.facts import PLACE, versions
from mm_keras.errors import DataError, DataServerLost
from mm_keras.preprocessing.chain import PLAIN, untuned

# Batches that wait here of each server; TensorFlow's own choice held the whole of a short training.
AHEAD = 4
# What may travel inside the graph: 900 MB did, at a start of a minute; 300 MB took 25 s. A graph ends at 2 GB.
MOST_BYTES = 2**28
# Of each input's files so many are compared with what a server sees.
COMPARED_FILES = 8


class DataServers:
    """Data servers that one training draws its batches from, in turns.

    Of `k` servers the one at place `w` makes the batches `w`, `w + k`, .. of every pass. Each has a dispatcher of its
    own with one worker, which gives what it was asked for in its order and once; so what is drawn is, batch for batch,
    what the training would have made itself.

    Args:
        addresses: `"host:port"`, with or without `grpc://` before it; or a list of them.
        silence: After how many seconds without a batch that is waited for a server counts as lost. One that no longer
            listens is found lost after a second. Defaults to `60`.

    Raises:
        DataError: When an address is none, or stands twice.
    """

    def __init__(self, addresses, silence=60):
        found = [addresses] if isinstance(addresses, str) else list(addresses)
        self.addresses = [_parsed(address) for address in found]
        if twice := {a for a in self.addresses if self.addresses.count(a) > 1}:
            raise DataError(f"data_service: {', '.join(sorted(twice))} stands there twice. Received: {found}")
        self.silence, self._fault = silence, None

    def check(self):
        """Raises when a server is not there, or is of other versions than this process.

        Raises:
            DataError: With its address, and what to do.
        """
        ours = versions()
        for address in self.addresses:
            try:
                _connect(address)
            except OSError as error:
                port = address.rpartition(":")[2]
                raise DataError(
                    f"no data server answers at {address}: {error}. Start one there: mm-keras data-server --port {port}"
                ) from None
            facts = tf.data.Dataset.from_tensors(PLACE).map(PLAIN(tf.io.read_file))
            try:
                theirs = json.loads(self._asked(address, facts)[0])
            except tf.errors.OpError as error:
                raise DataError(
                    f"{address} is no data server of mm_keras {ours['mm_keras']}: {_first_line(error)}"
                ) from None
            if theirs != ours:
                raise DataError(f"the data server {address} has other versions: {theirs}. Here: {ours}")

    def check_files(self, files):
        """Raises when a server does not see the files that it shall read: it would train on blanks.

        Args:
            files: `{what they are: paths}`; of many some are looked at.

        Raises:
            DataError: With the file, and what the server says.
        """
        for what, paths in files.items():
            chosen = sorted({paths[len(paths) * i // COMPARED_FILES] for i in range(COMPARED_FILES)} if paths else ())
            for address in self.addresses:
                self._compare(address, what, chosen)

    def _compare(self, address, what, paths):
        sizes = tf.data.Dataset.from_tensor_slices(tf.constant(paths, tf.string))
        sizes = sizes.map(PLAIN(lambda path: (path, tf.strings.length(tf.io.read_file(path)))))
        there = {path.decode(): size for path, size in self._asked(address, sizes.ignore_errors(log_warning=True))}
        for path in paths:
            if there.get(path) != (here := tf.io.gfile.stat(path).length):
                found = f"has {there[path]} bytes at" if path in there else "cannot read"
                raise DataError(
                    f"the data server {address} {found} {path}, of {what}, which has {here} bytes here. Files of a "
                    "training must lie there where they lie here, as on a disk that both see."
                )

    def batches(self, make, steps, skipped=0):
        """Returns batches that the servers make, in the order in which this process would have made them.

        Args:
            make: Function of the `part` of `Epochs` to the `tf.data.Dataset` of its batches, dicts or tuples of tensors
                whose first axis is the row; it must hold no state.
            steps: Batches of a whole pass.
            skipped: Of the first pass, how many are left out. Defaults to `0`.

        Returns:
            A `tf.data.Dataset`. When a server is lost it raises what `watched` makes a `DataServerLost`.
        """
        count = len(self.addresses)
        parts = [make((own, count)) for own in range(count)]
        last = sum(int(part.cardinality()) for part in parts)
        cut = [_emptied(p, len(range(own, skipped, count))) if skipped else p for own, p in enumerate(parts)]

        def draw():
            try:
                placed = list(zip(self.addresses, cut, strict=True))
                begun = [self._begin(lambda a=a, p=p: iter(_served(p, a))) for a, p in placed]
                flows = [self._wait(address, answer) for address, answer in zip(self.addresses, begun, strict=True)]
                for step in range(last):
                    own = step % steps % count
                    batch = self._wait(self.addresses[own], self._begin(flows[own].__next__))
                    if step >= skipped:
                        yield batch
            except Exception as fault:
                self._fault = fault  # TensorFlow passes on its text alone
                raise

        found = tf.data.Dataset.from_generator(draw, output_signature=parts[0].element_spec)
        return untuned(found.apply(tf.data.experimental.assert_cardinality(last - skipped)).prefetch(AHEAD))

    @contextlib.contextmanager
    def watched(self):
        """Within it, what ends the drawing of batches is raised as what it is.

        Raises:
            DataServerLost: When a server is gone or silent.
            tf.errors.OpError: What a server met while it made a batch.
        """
        try:
            yield
        except tf.errors.OpError:
            if self._fault is not None:
                raise self._fault from None
            raise

    def _asked(self, address, dataset):
        """Returns the elements of a small dataset, as NumPy, that a server makes."""
        try:
            return self._wait(address, self._begin(lambda: list(_served(dataset, address).as_numpy_iterator())))
        except DataServerLost as lost:
            raise DataError(f"{address}: is this a data server? {lost}") from None

    @staticmethod
    def _begin(call):
        """Calls a function beside this thread, for TensorFlow waits for a lost server for good; returns its queue."""
        answer = queue.SimpleQueue()

        def run():
            try:
                answer.put((call(), None))
            except Exception as fault:
                answer.put((None, fault))

        threading.Thread(target=run, daemon=True).start()
        return answer

    def _wait(self, address, answer):
        began = time.monotonic()
        while True:
            try:
                value, fault = answer.get(timeout=1)
                break
            except queue.Empty:
                silent = time.monotonic() - began
            reason = _refusal(address)
            if silent > self.silence:
                reason = f"it has sent nothing for {silent:.0f} seconds"
            if reason:
                raise _lost(address, reason)
        if isinstance(fault, tf.errors.UnavailableError | tf.errors.CancelledError):
            raise _lost(address, _first_line(fault))
        if fault is not None:
            raise fault
        return value


def check_size(parts):
    """Raises when what must travel inside the graph is too large.

    Args:
        parts: Arrays, dicts or tuples of them: cells and labels of the training rows, but not the files.

    Raises:
        DataError: With the size.
    """
    size = sum(_bytes(array) for array in keras.tree.flatten(parts))
    if size > MOST_BYTES:
        raise DataError(
            f"cells and labels of the training rows, without their files, are {size / 2**20:,.0f} MB, of which "
            f"{MOST_BYTES / 2**20:,.0f} MB may travel to a data server. Make shards of them, of which only places do "
            "(mm-keras prepare)."
        )


def _bytes(array):
    return array.nbytes if array.dtype != object else sum(len(value) for value in array.flat)


def _parsed(address):
    place = str(address).removeprefix("grpc://")
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise DataError(f"data_service takes HOST:PORT of a data server. Received: {address!r}")
    return place


def _connect(address):
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def _refusal(address):
    """Returns why surely nothing listens at an address, else an empty text."""
    try:
        _connect(address)
    except (ConnectionRefusedError, socket.gaierror) as error:
        return str(error)
    except OSError:  # a network that stands still may go on
        return ""
    return ""


def _lost(address, reason):
    return DataServerLost(
        f"the data server {address} is lost: {reason}. Start it again, or name others, and go on from the last "
        "checkpoint with `resume` (--resume)."
    )


def _served(dataset, address):
    service = tf.data.experimental.service
    return untuned(
        dataset.apply(
            service.distribute(service.ShardingPolicy.OFF, f"grpc://{address}", max_outstanding_requests=AHEAD)
        )
    )


def _emptied(batches, count):
    """Takes all rows out of the first batches: they are made, as `skip` makes them, but each is still heard of."""

    @PLAIN
    def empty(number, batch):
        return tf.nest.map_structure(lambda t: t[: tf.where(number < count, 0, tf.shape(t)[0])], batch)

    return batches.enumerate().map(empty)


def _first_line(error):
    return str(error.message).splitlines()[0]
