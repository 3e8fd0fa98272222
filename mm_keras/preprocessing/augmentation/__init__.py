"""Random changes of training batches, one file for each kind of tensor.

Every function is `change(batch, seed, ...) -> batch` of the same shape and dtype. `seed` is two int64; what is drawn
is a function of it and of a row's place in the batch alone, so that any batch can be drawn again. Rows change
independently of each other.
"""

import zlib

import tensorflow as tf


def stream(seed, word):
    """Returns the seed of one use, independent of the other words' seeds."""
    return tf.random.fold_in(seed, tf.constant(zlib.crc32(word.encode()), tf.int64))


def keep_presence(before, after):
    """Undoes a change where it would make a row blank, or something of a blank row.

    Args:
        before: `(batch, ...)`.
        after: `before`, changed; or the same tensor, where nothing is to be changed.
    """
    if after is before:
        return before
    # Of whole rows, which `tf.where` would choose number by number: for pictures more work than their decoding.
    return tf.raw_ops.Select(condition=filled(before) & filled(after), x=after, y=before)


def filled(batch):
    """Returns bool `(batch,)`: whether a row holds anything but zeros, its blank value."""
    return tf.reduce_any(tf.not_equal(batch, tf.zeros((), batch.dtype)), axis=list(range(1, len(batch.shape))))
