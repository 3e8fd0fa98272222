"""Random changes of standardised numbers and of the columns of tables."""

import numpy as np
import tensorflow as tf


def noise(batch, seed, size):
    """Adds Gaussian noise of that deviation, in the unit of the batch, except where all of the last axis is zero.

    Reference:
        Bishop 1995, Training with noise is equivalent to Tikhonov regularization, Neural Computation 7(1), section 2.
    """
    held = tf.reduce_any(tf.not_equal(batch, 0.0), axis=-1, keepdims=True)
    return tf.where(held, batch + size * tf.random.stateless_normal(tf.shape(batch), seed), batch)


def noise_numbers(batch, seed, size, numeric):
    """Adds noise to the numbers of a table, missing ones left out.

    Args:
        batch: Float32 `(batch, features)`; the first `2 * numeric` are pairs of value and presence.
        seed: Of the draws.
        size: Deviation of the noise, in deviations of the column.
        numeric: How many numbers there are.
    """
    pairs = tf.reshape(batch[:, : 2 * numeric], [-1, numeric, 2])
    draws = size * tf.random.stateless_normal(tf.shape(pairs[..., 0]), seed)
    pairs = tf.stack([pairs[..., 0] + draws * pairs[..., 1], pairs[..., 1]], axis=2)
    return tf.concat([tf.reshape(pairs, [-1, 2 * numeric]), batch[:, 2 * numeric :]], axis=1)


def drop(batch, seed, rate, groups):
    """Empties cells of a table, so that they are missing; a row keeps one at least of those it has.

    Args:
        batch: Float32 `(batch, features)`.
        seed: Of the draws.
        rate: Chance of each cell.
        groups: How many features each column has.
    """
    column = np.repeat(np.arange(len(groups)), groups)
    held = tf.transpose(tf.math.segment_max(tf.transpose(tf.cast(tf.not_equal(batch, 0.0), tf.int32)), column)) > 0
    draws = tf.where(held, tf.random.stateless_uniform([tf.shape(batch)[0], len(groups)], seed), -1.0)
    keep = (draws >= rate) | tf.equal(draws, tf.reduce_max(draws, axis=1, keepdims=True))
    return batch * tf.cast(tf.gather(keep, column, axis=1), batch.dtype)
