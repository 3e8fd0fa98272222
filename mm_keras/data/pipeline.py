"""The one tf.data chain: shuffle row numbers, read and decode in parallel, batch, finish the batch, prefetch."""

import numpy as np
import tensorflow as tf


def make_dataset(preprocessors, rows, *, batch_size, targets=None, weights=None, training=False, seed=0, epoch=None):
    """Streams the rows as batches of model tensors.

    Args:
        preprocessors: `{input: preprocessor}`, adapted.
        rows: A `Rows`; only file names and small cells are in memory.
        batch_size: Rows in a batch; the last may have fewer.
        targets: `{key: array (rows, ...)}` for the loss, or `None`.
        weights: `{key: array (rows,)}` of loss weights, with the keys of `targets`.
        training: Whether to shuffle and augment.
        seed: Of order and augmentation; both depend on it, the epoch and the row alone.
        epoch: `tf.Variable` int64 with the epoch's number, read when the dataset is iterated.
    Returns:
        A `tf.data.Dataset` of `({input: tensor}, row numbers (batch,))`, or of `(tensors, targets, weights)`, with as many
        rows as `rows`. A file that has gone bad since it was checked is left out, with a warning in the log; blank
        rows of number -1 and weight 0 at the end take the place, so that the count of steps stays known.
    """
    count = len(rows)
    epoch = tf.constant(0, tf.int64) if epoch is None else epoch
    files = {n: p for n, p in preprocessors.items() if p.row_wise}
    paths = {n: tf.constant(np.asarray(rows.cells[n], dtype=str)) for n in files}
    cells = {n: _constants(rows.cells[n]) for n in preprocessors if n not in files}
    extra = None if targets is None else tuple({k: tf.constant(v) for k, v in d.items()} for d in (targets, weights))

    def read_row(i):
        decoded = {}
        for name, p in files.items():
            decoded[name] = p.decode(p.read(paths[name][i]))
            if training:
                decoded[name] = _augmented(p, "augment", decoded[name], seed, epoch, i)
        return i, decoded

    def finish_batch(i, decoded):
        at, tensors = tf.maximum(i, 0), {}
        for name, p in preprocessors.items():
            raw = decoded[name] if name in files else p.decode(p.read(_gather(cells[name], at)))
            tensors[name] = p.finish(raw)
            if training:
                tensors[name] = _augmented(p, "augment_batch", tensors[name], seed, epoch, at[0])
        if targets is None:
            return tensors, i
        whole = tf.cast(i >= 0, tf.float32)
        return tensors, _gather(extra[0], at), {k: v * whole for k, v in _gather(extra[1], at).items()}

    order = tf.data.Dataset.range(count)
    if training:
        order = order.map(lambda i: _shuffled(i, count, seed, epoch))
    if files:
        good = order.map(read_row, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors(log_warning=True)
        blank = (tf.constant(-1, tf.int64), {n: tf.zeros(p.decoded_shape) for n, p in files.items()})
        order = good.concatenate(tf.data.Dataset.from_tensors(blank).repeat()).take(count)
    else:
        order = order.map(lambda i: (i, {}))
    batches = order.batch(batch_size)
    return batches.map(finish_batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _shuffled(i, count, seed, epoch):
    """A permutation keyed by seed and epoch: no buffer, and any epoch can be replayed on its own."""
    key = tf.stack([tf.constant(seed, tf.int64), tf.convert_to_tensor(epoch)])
    return tf.random.experimental.index_shuffle(i, seed=key, max_index=tf.constant(count - 1, tf.int64))


def _augmented(preprocessor, method, tensor, seed, epoch, i):
    augment = getattr(preprocessor, method, None)
    return tensor if augment is None else augment(tensor, tf.stack([seed + 1_000_003 * tf.convert_to_tensor(epoch), i]))


def _constants(cell):
    if isinstance(cell, dict):
        return {f: _constants(v) for f, v in cell.items()}
    return tf.constant(np.asarray(cell, dtype=str) if cell.dtype == object else cell)


def _gather(cell, i):
    return {k: tf.gather(v, i) for k, v in cell.items()} if isinstance(cell, dict) else tf.gather(cell, i)
