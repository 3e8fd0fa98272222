"""Keeps one bad row from failing its batch: a graph has no try/except, a dataset has."""

import tensorflow as tf

from mm_keras.preprocessing.chain import PLAIN


def decode_rows(decode, blank, raw):
    """Decodes a batch row by row; a bad row becomes `blank`.

    One dataset holds the whole batch and leaves bad rows out; one for each row takes several times as long as decoding.

    Args:
        decode: Function of `{field: tensor of one row}`, in graph ops, to one tensor; any error makes the row bad.
        blank: Tensor of the shape and dtype that `decode` returns.
        raw: `{field: tensor (batch, ...)}`.

    Returns:
        `(tensors (batch, ...), ok (batch,) bool)`.
    """
    count = tf.shape(next(iter(raw.values())), out_type=tf.int64)[0]
    rows = tf.data.Dataset.from_tensor_slices((tf.range(count), raw))
    shaped = PLAIN(lambda at, row: (at, tf.ensure_shape(decode(row), blank.shape)))
    good = rows.map(shaped).ignore_errors(log_warning=False)
    # The blank comes last, behind all rows, so that a batch of bad rows alone is not empty.
    every = good.concatenate(tf.data.Dataset.from_tensors((count, blank)))
    at, tensors = every.batch(count + 1).get_single_element()
    last = tf.size(at) - 1
    place = tf.tensor_scatter_nd_update(tf.fill([count + 1], last), at[:, None], tf.range(last + 1))[:count]
    return tf.gather(tf.ensure_shape(tensors, [None, *blank.shape]), place), place < last
