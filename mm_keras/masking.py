"""Means and shares of what a mask keeps, in the range of their own numbers, so that they survive int8."""

from keras import ops

# A masked score lies this far under the smallest one. A constant of -1e9 would take the whole range of an int8, and
# every attention would become a plain mean; this much is all it adds to the range that 255 steps cover.
MARGIN = 6.0


def masked_mean(x, keep, axis):
    """Means `x` over what `keep` keeps; zeros where it keeps none.

    Args:
        x: Float tensor, in float32: a sum over many does not fit 16 bits.
        keep: Float, broadcast to `x`; 1 or 0.
        axis: What to mean over.
    """
    # Not `maximum(count, 1)`: int8 conversion gives both sides of it one scale, and a count would end at 1.
    return ops.sum(x * keep, axis=axis) / (ops.sum(keep, axis=axis) + (1.0 - ops.max(keep, axis=axis)))


def masked_softmax(scores, keep, axis=-1):
    """Softmax of `scores` among what `keep` keeps; zeros where it keeps none.

    Args:
        scores: Float tensor, of at least two along the axis: Keras warns of a softmax of one.
        keep: Float of the dtype of `scores`, broadcast to them; 1 or 0.
        axis: Along which the shares of a row sum to 1.
    """
    low = ops.min(scores, axis=axis, keepdims=True) - MARGIN
    shares = ops.softmax(scores * keep + low * (1.0 - keep), axis=axis) * keep
    return shares / (ops.sum(shares, axis=axis, keepdims=True) + (1.0 - ops.max(keep, axis=axis, keepdims=True)))
