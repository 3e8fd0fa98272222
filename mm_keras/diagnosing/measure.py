"""How long the parts of a training take: each input's reading, the whole chain, a step of the model."""

import time

import tensorflow as tf

from mm_keras.data.pipeline import finish_augmented
from mm_keras.preprocessing.chain import AHEAD, PLAIN, untuned

STAGES = ("read", "decode", "finish")


def input_seconds(preprocessor, cells, batch_size, limit):
    """Returns `{stage: seconds a row}` of one input, on one thread each; stages that it has not are left out.

    Read is from the system's memory, since the files were looked at before. Decode is a row's, finish a batch's:
    spectrogram, tokens, scaling, and what augmentation does.

    Args:
        preprocessor: Adapted.
        cells: Its cells, tensors or a dict of them.
        batch_size: Rows of a batch.
        limit: Seconds that each stage is measured.
    """
    count = int(tf.nest.flatten(cells)[0].shape[0])
    key = tf.constant([0, 1], tf.int64)
    batch_at = tf.range(batch_size) % count
    if not preprocessor.row_wise:
        raw = tf.nest.map_structure(lambda cell: tf.gather(cell, batch_at), cells)

        def whole(raw):
            return finish_augmented(preprocessor, preprocessor.decode(preprocessor.read(raw)), key)

        finish = tf.function(whole, autograph=False)
        return {"finish": _seconds(lambda: finish(raw), limit) / batch_size}

    def read(i):
        return preprocessor.read(cells[i])

    def decode(i):
        return preprocessor.decode_packed(read(i))

    found = {"read": _row_seconds(count, read, limit)}
    found["decode"] = max(_row_seconds(count, decode, limit) - found["read"], 0.0)
    rows = tf.data.Dataset.range(count).map(PLAIN(decode)).ignore_errors().repeat().batch(batch_size)
    packed = next(iter(rows))
    finish = tf.function(lambda b: finish_augmented(preprocessor, preprocessor.unpack(b), key), autograph=False)
    return found | {"finish": _seconds(lambda: finish(packed), limit) / batch_size}


def _row_seconds(count, work, limit, block=16):
    """Seconds a row that `work` takes, its results thrown away, so that no copy is counted."""
    results = untuned(tf.data.Dataset.range(count)).map(PLAIN(work)).ignore_errors()
    rows = results.map(PLAIN(lambda *_: 0)).repeat().batch(block)
    iterator = iter(rows)
    return _seconds(lambda: next(iterator), limit) / block


def chain_seconds(dataset, limit):
    """Returns the seconds between two batches of a dataset that nobody else waits for."""
    iterator = iter(dataset)
    return _seconds(lambda: next(iterator), limit)


def _seconds(call, limit):
    """Returns the mean seconds of a call, over as many as go into `limit`, two at least; the first two do not count."""
    call(), call()
    began, count = time.perf_counter(), 0
    while count < 2 or time.perf_counter() - began < limit:
        call()
        count += 1
    return (time.perf_counter() - began) / count


class Steps:
    """The compiled training step of a recipe's model; it trains, so the model is of no use afterwards.

    Args:
        trainer: A `Trainer`.
        dataset: What it trains on, for a batch that is then at hand already.
    """

    def __init__(self, trainer, dataset):
        trainer.compile()
        self.dataset, network = dataset, trainer.network
        # Batches of different lengths take different times.
        self._count = 8 if trainer.feed.trimmed else 1
        network.make_train_function()
        self._step = network.train_function

    def fed(self, limit):
        """Returns the seconds of a step on the dataset."""
        iterator = iter(self.dataset)
        return _seconds(lambda: self._step(iterator), limit)

    def alone(self, limit):
        """Returns the seconds of a step on batches that are decoded and at hand."""
        iterator = iter(at_hand(self.dataset, self._count))
        return _seconds(lambda: self._step(iterator), limit)


def at_hand(dataset, count=1):
    """Returns a dataset of the first batches of another, again and again; to a traced function both look the same."""

    def as_streamed(*parts):  # the size of a batch is not known, as it is not of the other
        return tf.nest.map_structure(
            lambda value, spec: tf.raw_ops.PlaceholderWithDefault(input=value, shape=spec.shape),
            parts,
            dataset.element_spec,
        )

    first, *more = (tf.data.Dataset.from_tensors(batch).map(PLAIN(as_streamed)) for batch in dataset.take(count))
    for batch in more:
        first = first.concatenate(batch)
    return untuned(first.repeat().prefetch(AHEAD))
