"""Batches of one size, and of each the rows that a process trains on."""

import math

import keras
import tensorflow as tf

from mm_keras.preprocessing.chain import PLAIN


def whole_batches(dataset, size, rows=None):
    """Fills the last batch of each pass up to `size` rows, so that devices can share it and JAX compiles a step once.

    It is filled with its own rows once more, of weight 0: blank ones would change what a batch normalisation sees. The
    weights of the others grow so that a mean over the batch stays what it was.

    Args:
        dataset: A `tf.data.Dataset` of `(tensors, targets, weights)`, dicts; no batch has more than `size` rows.
        size: Rows of every batch.
        rows: Rows of a pass, when means over all batches are to stay what they were, as in a validation. `None` keeps
            those over each batch, which a step of training follows.

    Returns:
        A `tf.data.Dataset` with as many batches.
    """
    whole = None if rows is None else math.ceil(rows / size) * size / rows

    def fill(*batch):
        count = tf.shape(keras.tree.flatten(batch[0])[0])[0]
        at = tf.range(size)
        factor = size / count if whole is None else tf.constant(whole, tf.float64)
        keep = tf.where(at < count, tf.cast(factor, tf.float32), 0.0)
        tensors, targets, weights = keras.tree.map_structure(lambda t: tf.gather(t, at % count), batch)
        return tensors, targets, keras.tree.map_structure(lambda w: w * keep, weights)

    return dataset.map(PLAIN(fill), num_parallel_calls=tf.data.AUTOTUNE)


def own_rows(dataset, size, rank, processes):
    """Takes one process's rows of each batch: equal parts, in order, so that all together are the batch.

    Args:
        dataset: A `tf.data.Dataset` of batches of `size` rows.
        size: A multiple of `processes`.
        rank: The process, from 0.
        processes: How many there are.
    """
    part = size // processes
    begin = rank * part

    def take(*batch):
        return keras.tree.map_structure(lambda t: t[begin : begin + part], batch)

    return dataset.map(PLAIN(take), num_parallel_calls=tf.data.AUTOTUNE)
