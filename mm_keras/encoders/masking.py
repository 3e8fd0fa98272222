"""Masks as plain tensors: 1 keeps, 0 is padding. Explicit, so that every fusion sees what it gets."""

import math

import keras
from keras import layers, ops

from mm_keras.masking import masked_mean


@keras.saving.register_keras_serializable("mm_keras")
class TokenMask(layers.Layer):
    """Marks the places that hold something.

    Input shape:
        `(batch, steps)` integer ids, or float `(batch, steps, ...)`.
    Output shape:
        Float `(batch, steps)`: 1 where the id, or any number of the step, is not zero.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs, autocast=False)  # in 16 bits, a small number would be none

    def call(self, x):
        if len(x.shape) > 3:
            # LiteRT compares up to four axes.
            x = ops.reshape(x, (-1, x.shape[1], math.prod(x.shape[2:])))
        filled = ops.not_equal(x, ops.zeros((), x.dtype))
        if len(x.shape) == 3:
            filled = ops.any(filled, axis=-1)
        return ops.cast(filled, self.compute_dtype)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape[:2], dtype=self.compute_dtype)


@keras.saving.register_keras_serializable("mm_keras")
class FullMask(layers.Layer):
    """Marks every step as kept.

    Input shape:
        `(batch, steps, channels)`.
    Output shape:
        Float `(batch, steps)` of ones.
    """

    def call(self, x):
        return ops.ones_like(x[..., 0])

    def compute_output_shape(self, input_shape):
        return input_shape[:2]


class EndsMask(layers.Layer):
    """A layer that takes the mask which recurrent layers attach to what they give, and passes none on."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, previous_mask):
        return None


@keras.saving.register_keras_serializable("mm_keras")
class ApplyMask(EndsMask):
    """Zeroes the steps that the mask drops.

    Input shape:
        `[x (batch, steps, ...), mask (batch, steps)]`.
    Output shape:
        As `x`.
    """

    def call(self, inputs):
        x, mask = inputs
        for _ in range(len(x.shape) - 2):
            mask = ops.expand_dims(mask, -1)
        return x * ops.cast(mask, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@keras.saving.register_keras_serializable("mm_keras")
class MaskedPooling(layers.Layer):
    """Means over the steps that the mask keeps, beside their maximum.

    A row without any step gives zeros.

    Input shape:
        `[tokens (batch, steps, units), mask (batch, steps)]`; `tokens` may be of either sign.
    Output shape:
        `(batch, 2 * units)`.
    """

    def call(self, inputs):
        # In float32: a sum over many steps does not fit 16 bits.
        tokens, mask = (ops.cast(x, "float32") for x in inputs)
        keep = ops.expand_dims(mask, -1)
        # Padding is lifted out of the maximum by the row's own smallest value, which stays in the range of an int8.
        low = ops.min(tokens, axis=1, keepdims=True)
        top = ops.max(tokens * keep + low * (1.0 - keep), axis=1) * ops.max(keep, axis=1)
        return ops.cast(ops.concatenate([masked_mean(tokens, keep, axis=1), top], axis=-1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        batch, _, units = input_shape[0]
        return (batch, 2 * units)


def pool_tokens(tokens, mask, units, dropout):
    """Pools tokens into an embedding, and returns what an encoder returns.

    Args:
        tokens: `(batch, steps, channels)`; zeroed outside the mask.
        mask: `(batch, steps)`.
        units: Size of the embedding.
        dropout: Fraction of it zeroed in training.
    """
    tokens = ApplyMask()([tokens, mask])
    pooled = layers.Dense(units, activation="relu")(MaskedPooling()([tokens, mask]))
    return {"tokens": tokens, "mask": mask, "embedding": layers.Dropout(dropout)(pooled)}


def pool_depth(tokens, mask, units, dropout):
    """Yields tokens as a depth, and pools what comes back; as `pool_tokens`."""
    state = yield {"features": tokens, "mask": mask}
    return pool_tokens(state["features"], state["mask"], units, dropout)
