"""Random changes of token ids, int32 `(batch, length)`; 0 pads, and stays behind the tokens."""

import tensorflow as tf


def swap(batch, seed, rate):
    """Lets tokens change places in pairs.

    Args:
        batch: Ids.
        seed: Of the draws.
        rate: Chance of each pair. All tokens of a row are paired at random, an odd one stays alone.

    Reference:
        Wei and Zou 2019, arXiv:1901.11196, section 2 (random swap). Differs: WordPieces, not words, and every token
        moves once at most, so that `rate` is the share that moves.
    """
    rows, length = tf.shape(batch)[0], batch.shape[1]
    draws = tf.random.stateless_uniform([rows, 2, length], seed)
    held = tf.not_equal(batch, 0)
    # Tokens in random order, padding last; the first and second of it are a pair, the third and fourth..
    order = tf.argsort(tf.where(held, draws[:, 0], 2.0), axis=1)
    rank = tf.range(length)
    partner = tf.bitwise.bitwise_xor(rank, 1)
    chosen = tf.gather(draws[:, 1], rank // 2, axis=1) < rate
    chosen &= tf.maximum(rank, partner)[None] < tf.reduce_sum(tf.cast(held, tf.int32), axis=1, keepdims=True)
    ranked = tf.gather(batch, order, batch_dims=1)
    other = tf.gather(ranked, tf.minimum(partner, length - 1), axis=1)
    return tf.gather(tf.where(chosen, other, ranked), tf.argsort(order, axis=1), batch_dims=1)


def drop(batch, seed, rate):
    """Deletes tokens; those behind close up. A row keeps one at least.

    Args:
        batch: Ids.
        seed: Of the draws.
        rate: Chance of each token.

    Reference:
        Wei and Zou 2019, arXiv:1901.11196, section 2 (random deletion). Differs: WordPieces, not words.
    """
    rows, length = tf.shape(batch)[0], batch.shape[1]
    draws = tf.where(tf.not_equal(batch, 0), tf.random.stateless_uniform([rows, length], seed), -1.0)
    keep = (draws >= rate) | (tf.equal(draws, tf.reduce_max(draws, axis=1, keepdims=True)) & (draws >= 0.0))
    return compact(batch, keep)


def compact(batch, keep):
    """Returns the ids that `keep` marks, in their order, then zeros."""
    order = tf.argsort(tf.cast(~keep, tf.int32), axis=1, stable=True)
    return tf.gather(tf.where(keep, batch, 0), order, batch_dims=1)
