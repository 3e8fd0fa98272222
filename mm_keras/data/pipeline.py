"""The one tf.data chain: shuffle row numbers, read and decode in parallel, batch, finish the batch, prefetch."""

import math

import numpy as np
import tensorflow as tf

from mm_keras.data.mixing import check_mixing, mix_batch
from mm_keras.preprocessing.augmentation import keep_presence, stream

# Autograph would rewrite all Python below a map: most of the time that a chain takes to build. Served graphs need none.
PLAIN = tf.autograph.experimental.do_not_convert


def make_dataset(
    preprocessors,
    rows,
    *,
    batch_size,
    targets=None,
    weights=None,
    epochs=None,
    shuffle=True,
    mixup=0.0,
    cutmix=0.0,
    seed=0,
    cache_bytes=0,
):
    """Streams the rows as batches of model tensors.

    All epochs are one dataset, since each new iterator costs as much as several steps of a small model.

    Args:
        preprocessors: `{input: preprocessor}`, adapted.
        rows: A `Rows`; only file names and small cells are in memory.
        batch_size: Rows in a batch; the last may have fewer.
        targets: `{key: array (rows, ...)}` for the loss, or `None`.
        weights: `{key: array (rows,)}` of loss weights, with the keys of `targets`.
        epochs: A `range` of epoch numbers to train: one augmented pass for each, rows mixed as `mixup` and `cutmix`
            say. `None` is one pass in order, as the rows are.
        shuffle: Whether each of the `epochs` has an order of its own. Defaults to `True`.
        mixup: Alpha of `mix_batch`, for rows with targets. Defaults to `0.0`, off.
        cutmix: As `mixup`. Defaults to `0.0`.
        seed: Of order and augmentation; both depend on it, the epoch and a row's place in that order alone.
        cache_bytes: Files are decoded once and kept when all of them, decoded, take no more than this; else they are
            read anew in every pass.

    Returns:
        A `tf.data.Dataset` of `({input: tensor}, row numbers (batch,))`, or of `(tensors, targets, weights)`, with as
        many rows as `rows` in each pass; no batch spans two. A file that has gone bad since it was checked is left out,
        with a warning in the log; a blank row of number -1 and weight 0 takes the place, so that the count of steps
        stays known.
    """
    count, training = len(rows), epochs is not None
    files = {n: p for n, p in preprocessors.items() if p.row_wise}
    cells = {n: _constants(rows.cells[n]) for n in preprocessors}
    mixes = training and targets is not None and (mixup or cutmix)
    if mixes:
        infos = {n: p.tensor for n, p in preprocessors.items()}
        check_mixing(infos, targets)
    extra = None if targets is None else tuple({k: tf.constant(v) for k, v in d.items()} for d in (targets, weights))

    @PLAIN
    def finish_batch(epoch, i, decoded):
        at, tensors = tf.maximum(i, 0), {}
        key = tf.random.fold_in(tf.stack([tf.constant(seed, tf.int64), epoch]), at[0])
        for name, p in preprocessors.items():
            batch = decoded[name] if name in files else p.decode(p.read(_gather(cells[name], at)))
            own = stream(key, name)
            batch = _augmented(p, "augment", batch, own) if training else batch
            batch = p.finish(batch)
            tensors[name] = _augmented(p, "augment_finished", batch, own) if training else batch
        if targets is None:
            return tensors, i
        whole = tf.cast(i >= 0, tf.float32)
        batch = tensors, _gather(extra[0], at), {k: v * whole for k, v in _gather(extra[1], at).items()}
        if mixes:
            batch = mix_batch(*batch, i >= 0, stream(key, "mixing of rows"), infos, mixup=mixup, cutmix=cutmix)
        return batch

    decoded_bytes = 4 * count * sum(math.prod(p.decoded_shape) for p in files.values())
    in_memory = not files or decoded_bytes <= cache_bytes
    if in_memory:
        good, kept = _decode_all(files, cells, count) if files else (tf.ones([count], tf.bool), {})

    @PLAIN
    def one_pass(epoch):
        order = tf.data.Dataset.range(count)
        if training and shuffle:
            order = order.map(lambda i: _shuffled(i, count, seed, epoch))
        if in_memory:
            batches = order.batch(batch_size).map(lambda i: (tf.where(tf.gather(good, i), i, -1), _gather(kept, i)))
        else:
            batches = _decoded(order, files, cells, count).batch(batch_size)
        return batches.map(lambda i, decoded: (epoch, i, decoded))

    if training:
        batches = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one_pass)
        batches = batches.apply(tf.data.experimental.assert_cardinality(len(epochs) * math.ceil(count / batch_size)))
    else:
        batches = one_pass(tf.constant(0, tf.int64))
    return batches.map(finish_batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


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


def _shuffled(i, count, seed, epoch):
    """A permutation keyed by seed and epoch: no buffer, and any epoch can be replayed on its own."""
    key = tf.stack([tf.constant(seed, tf.int64), epoch])
    return tf.random.experimental.index_shuffle(i, seed=key, max_index=tf.constant(count - 1, tf.int64))


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
