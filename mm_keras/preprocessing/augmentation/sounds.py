"""Random changes of waveforms, float32 `(batch, samples)`, and of spectrograms, float32 `(batch, frames, bands)`."""

import tensorflow as tf


def shift(batch, seed, samples):
    """Moves each waveform by up to that many samples to either side; silence moves in."""
    start = tf.random.stateless_uniform([tf.shape(batch)[0], 1], seed, 0, 2 * samples + 1, tf.int32)
    padded = tf.pad(batch, [[0, 0], [samples, samples]])
    return tf.gather(padded, start + tf.range(batch.shape[1]), axis=1, batch_dims=1)


def noise(batch, seed, decibels):
    """Adds white noise of a power that many decibels under the sound's own.

    The power is the mean over the sound, from its first sample that is not zero to its last; the silence around it,
    which is padding, stays silent. Samples beyond [-1, 1] are kept.
    """
    sounding = tf.not_equal(batch, 0.0)
    after = tf.cumsum(tf.cast(sounding, tf.int32), axis=1) > 0
    before = tf.cumsum(tf.cast(sounding, tf.int32), axis=1, reverse=True) > 0
    inside = tf.cast(after & before, tf.float32)
    count = tf.maximum(tf.reduce_sum(inside, axis=1, keepdims=True), 1.0)
    power = tf.reduce_sum(batch**2, axis=1, keepdims=True) / count
    draws = tf.random.stateless_normal(tf.shape(batch), seed)
    return batch + draws * tf.sqrt(power * 10.0 ** (-decibels / 10.0)) * inside


def mask(batch, seed, share, axis):
    """Blanks one block of frames (`axis` 1) or bands (2) of each spectrogram, up to `share` of them long.

    Reference:
        Park et al. 2019, arXiv:1904.08779, section 2. Differs: one mask on each axis, and no time warping.
    """
    size = batch.shape[axis]
    draws = tf.random.stateless_uniform([tf.shape(batch)[0], 2], seed)
    width = tf.floor(draws[:, :1] * (share * size + 1))
    start = tf.floor(draws[:, 1:] * (size - width + 1))
    at = tf.range(size, dtype=tf.float32)[None]
    keep = tf.cast((at < start) | (at >= start + width), tf.float32)
    return batch * tf.expand_dims(keep, 3 - axis)
