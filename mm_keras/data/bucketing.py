"""Bucketing: rows of similar length in one batch, and batches cut to their longest row."""

import numpy as np
import tensorflow as tf

from mm_keras.preprocessing.chain import PLAIN, untuned

# Batches that are sorted together: enough that a batch's rows are alike, few enough that an epoch stays shuffled.
WINDOW = 50
# Most different lengths of one input, since JAX and XLA compile a step for each.
LENGTHS = 16


def rounding(steps):
    """Returns what lengths are rounded up to a multiple of: a sixteenth of `steps`, itself a multiple of 8."""
    return 8 * -(-steps // (8 * LENGTHS))


def trim(batch):
    """Cuts padding from the end of a batch, down to its longest row, rounded up by `rounding`.

    Args:
        batch: Ids `(batch, steps)`, or `(batch, steps, channels)`; a step of zeros is padding. `steps` is fixed.

    Returns:
        `(batch, fewer steps, ...)`, of an unknown number of steps; one unit of `rounding` at least.
    """
    steps = batch.shape[1]
    unit = rounding(steps)
    longest = tf.reduce_max(lengths_of(batch))
    kept = tf.minimum(tf.maximum(-(-longest // unit), 1) * unit, steps)
    return tf.ensure_shape(batch[:, :kept], [None, None, *batch.shape[2:]])


def lengths_of(batch):
    """Returns int32 `(batch,)`: the steps of each row up to its last one that is not padding; see `trim`."""
    held = tf.not_equal(batch, tf.zeros((), batch.dtype))
    if held.shape.rank == 3:
        held = tf.reduce_any(held, axis=2)
    return tf.reduce_max(tf.where(held, tf.range(1, batch.shape[1] + 1), 0), axis=1)


def row_lengths(preprocessors, rows, names):
    """Returns int64 `(rows,)`: how many steps the named inputs of each row have together, not augmented.

    Args:
        preprocessors: `{input: preprocessor}`, adapted.
        rows: A `Rows`.
        names: Of texts and sequences.
    """
    chosen = {n: preprocessors[n] for n in names}

    def count(cells):
        return tf.add_n([lengths_of(p.finish(p.decode(p.read(cells[n])))) for n, p in chosen.items()])

    # Lists, since arrays of strings would give every row the width of the longest.
    cells = {n: c.tolist() if c.dtype == object else c for n, c in ((n, rows.cells[n]) for n in names)}
    batches = untuned(tf.data.Dataset.from_tensor_slices(cells)).batch(1024)
    counted = batches.map(PLAIN(count), num_parallel_calls=tf.data.AUTOTUNE)
    return np.concatenate(list(counted.as_numpy_iterator())).astype(np.int64)


def grouped(rows, lengths, batch_size, key):
    """Returns the rows of a pass in another order, in which those of a batch have similar lengths, in graph ops.

    Windows of 50 batches are sorted by length, cut into batches, and the batches of a window shuffled. Rows that do not
    fill a batch stay at the end.

    Args:
        rows: Int64 `(rows,)`, row numbers in the shuffled order of the pass; how many is known.
        lengths: Int64 `(rows,)`, of these rows.
        batch_size: Rows of a batch.
        key: Two int64, of seed and epoch.

    Returns:
        As `rows`.
    """
    batches = rows.shape[0] // batch_size
    whole = batches * batch_size
    if not batches:
        return rows
    window = tf.range(whole, dtype=tf.int64) // (WINDOW * batch_size)
    by_length = tf.argsort(window * (tf.reduce_max(lengths) + 1) + lengths[:whole], stable=True)
    cut = tf.reshape(tf.gather(rows, by_length), [batches, batch_size])
    # In float64, whose fractions stay apart beside the number of a window.
    draws = tf.random.stateless_uniform([batches], key, dtype=tf.float64)
    turns = tf.argsort(tf.cast(tf.range(batches) // WINDOW, tf.float64) + draws)
    return tf.concat([tf.reshape(tf.gather(cut, turns), [whole]), rows[whole:]], 0)
