"""The one tf.data chain: shuffle row numbers, read and decode in parallel, batch, finish the batch, prefetch."""

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mm_keras.data.mixing import check_mixing, mix_batch
from mm_keras.preprocessing.augmentation import keep_presence, stream

# Autograph would rewrite all Python below a map: most of the time that a chain takes to build. Served graphs need none.
PLAIN = tf.autograph.experimental.do_not_convert


@dataclass(frozen=True)
class Epochs:
    """The passes of a training: augmented, shuffled, and rows mixed.

    Args:
        numbers: A `range` of epoch numbers, one pass for each.
        seed: Of order, augmentation and mixing; all depend on it, the epoch and a row's place in that order alone.
        shuffle: Whether each pass has an order of its own. Defaults to `True`.
        mixup: Alpha of `mix_batch`, for rows with labels. Defaults to `0.0`, off.
        cutmix: As `mixup`. Defaults to `0.0`.
    """

    numbers: range
    seed: int = 0
    shuffle: bool = True
    mixup: float = 0.0
    cutmix: float = 0.0

    def key(self, epoch):
        """Returns the seed of one epoch: two int64."""
        return tf.stack([tf.constant(self.seed, tf.int64), epoch])


def make_dataset(preprocessors, rows, *, batch_size, labels=None, epochs=None, cache_bytes=0):
    """Streams the rows as batches of model tensors.

    All epochs are one dataset, since each new iterator costs as much as several steps of a small model.

    Args:
        preprocessors: `{input: preprocessor}`, adapted.
        rows: A `Rows`; only file names and small cells are in memory.
        batch_size: Rows in a batch; the last may have fewer.
        labels: `({key: target (rows, ...)}, {key: weight (rows,)})` for the loss, arrays, or `None`.
        epochs: The `Epochs` of a training. `None` is one pass in order, as the rows are.
        cache_bytes: Files are decoded once and kept when all of them, decoded, take no more than this; else they are
            read anew in every pass.

    Returns:
        A `tf.data.Dataset` of `({input: tensor}, row numbers (batch,))`, or of `(tensors, targets, weights)`, with as
        many rows as `rows` in each pass; no batch spans two. A file that has gone bad since it was checked is left out,
        with a warning in the log; a blank row of number -1 and weight 0 takes the place, so that the count of steps
        stays known.
    """
    cells = {n: _constants(rows.cells[n]) for n in preprocessors}
    finish_batch = _finisher(preprocessors, cells, labels, epochs)
    one_pass = _one_pass(preprocessors, cells, len(rows), batch_size, epochs, cache_bytes)
    if epochs is None:
        batches = one_pass(tf.constant(0, tf.int64))
    else:
        batches = tf.data.Dataset.range(epochs.numbers.start, epochs.numbers.stop).flat_map(one_pass)
        steps = len(epochs.numbers) * math.ceil(len(rows) / batch_size)
        batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    return batches.map(finish_batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _finisher(preprocessors, cells, labels, epochs):
    """Returns the function of `(epoch, row numbers, {input: decoded})` that gives a batch of the dataset."""
    mixes = epochs is not None and labels is not None and (epochs.mixup or epochs.cutmix)
    if mixes:
        infos = {n: p.tensor for n, p in preprocessors.items()}
        check_mixing(infos, labels[0])
    extra = None if labels is None else tuple({k: tf.constant(v) for k, v in d.items()} for d in labels)

    @PLAIN
    def finish_batch(epoch, i, decoded):
        at = tf.maximum(i, 0)
        key = None if epochs is None else tf.random.fold_in(epochs.key(epoch), at[0])
        tensors = {}
        for name, p in preprocessors.items():
            values = decoded[name] if p.row_wise else p.decode(p.read(_gather(cells[name], at)))
            tensors[name] = p.finish(values) if key is None else _finish_augmented(p, values, stream(key, name))
        if extra is None:
            return tensors, i
        targets, weights = (_gather(part, at) for part in extra)
        whole = tf.cast(i >= 0, tf.float32)
        batch = tensors, targets, {k: v * whole for k, v in weights.items()}
        if mixes:
            own = stream(key, "mixing of rows")
            batch = mix_batch(batch, i >= 0, own, infos, mixup=epochs.mixup, cutmix=epochs.cutmix)
        return batch

    return finish_batch


def _one_pass(preprocessors, cells, count, batch_size, epochs, cache_bytes):
    """Returns the function of an epoch that gives the dataset of its `(epoch, row numbers, {input: decoded})`."""
    files = {n: p for n, p in preprocessors.items() if p.row_wise}
    decoded_bytes = 4 * count * sum(math.prod(p.decoded_shape) for p in files.values())
    in_memory = not files or decoded_bytes <= cache_bytes
    if in_memory:
        good, kept = _decode_all(files, cells, count) if files else (tf.ones([count], tf.bool), {})

    @PLAIN
    def one_pass(epoch):
        order = tf.data.Dataset.range(count)
        if epochs is not None and epochs.shuffle:
            order = order.map(lambda i: _shuffled(i, count, epochs.key(epoch)))
        if in_memory:
            batches = order.batch(batch_size).map(lambda i: (tf.where(tf.gather(good, i), i, -1), _gather(kept, i)))
        else:
            batches = _decoded(order, files, cells, count).batch(batch_size)
        return batches.map(lambda i, decoded: (epoch, i, decoded))

    return one_pass


def _decoded(order, files, cells, count):
    """Row numbers -> `(row number, {input: decoded})`, bad files left out and blank rows of number -1 at the end."""

    @PLAIN
    def decode(i):
        return i, {n: p.decode(p.read(cells[n][i])) for n, p in files.items()}

    read = order.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    blank = (tf.constant(-1, tf.int64), {n: tf.zeros(p.decoded_shape) for n, p in files.items()})
    good = read.ignore_errors(log_warning=True)
    return good.concatenate(tf.data.Dataset.from_tensors(blank).repeat()).take(count)


def _decode_all(files, cells, count):
    """Returns `(bool (rows,): is it good, {input: decoded (rows, ...)})`, bad rows zeros."""
    kept = {n: np.zeros((count, *p.decoded_shape), np.float32) for n, p in files.items()}
    good = np.zeros(count, bool)
    for i, decoded in _decoded(tf.data.Dataset.range(count), files, cells, count).batch(256).as_numpy_iterator():
        at = i[i >= 0]
        good[at] = True
        for name, values in decoded.items():
            kept[name][at] = values[i >= 0]
    with tf.device("CPU"):  # rows travel to the accelerator a batch at a time
        return tf.constant(good), {n: tf.constant(v) for n, v in kept.items()}


def _shuffled(i, count, key):
    """A permutation keyed by seed and epoch: no buffer, and any epoch can be replayed on its own."""
    return tf.random.experimental.index_shuffle(i, seed=key, max_index=tf.constant(count - 1, tf.int64))


def _finish_augmented(preprocessor, batch, key):
    batch = preprocessor.finish(_augmented(preprocessor, "augment", batch, key))
    return _augmented(preprocessor, "augment_finished", batch, key)


def _augmented(preprocessor, method, batch, key):
    augment = getattr(preprocessor, method, None)
    return batch if augment is None else keep_presence(batch, augment(batch, key))


def _constants(cell):
    if isinstance(cell, dict):
        return {f: _constants(v) for f, v in cell.items()}
    # A list, since an array of strings would give every row the width of the longest.
    return tf.constant(cell.tolist(), tf.string) if cell.dtype == object else tf.constant(cell)


def _gather(cell, i):
    return {k: tf.gather(v, i) for k, v in cell.items()} if isinstance(cell, dict) else tf.gather(cell, i)
