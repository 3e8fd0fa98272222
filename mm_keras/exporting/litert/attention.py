"""Masked attention that survives int8: the same numbers as Keras's, without its mask constant."""

from types import MethodType

import keras
from keras import ops

from mm_keras.encoders.transformer import RotaryAttention, rotate
from mm_keras.exporting.swapping import swapped
from mm_keras.masking import masked_softmax


def quantisable_attention(model):
    """While the block runs, the model's attention layers mask without the constant -1e9.

    That constant would take the whole range of an int8, and every attention would become a plain mean.

    Args:
        model: A `keras.Model`; only what is traced inside the block changes.
    """
    found = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.MultiHeadAttention)]
    # The method that Keras documents for overriding.
    return swapped(found, "_compute_attention", lambda layer: MethodType(_compute_attention, layer))


def _compute_attention(self, query, key, value, attention_mask=None, training=None, *options, **more):
    """Softmax over all keys, the masked ones low, then the share of the kept ones; all in the range of the scores."""
    if attention_mask is None or any(options) or more:
        return type(self)._compute_attention(self, query, key, value, attention_mask, training, *options, **more)
    if isinstance(self, RotaryAttention):
        query, key = rotate(query), rotate(key)
    scores = ops.einsum(self._dot_product_equation, key, query * ops.cast(self._inverse_sqrt_key_dim, query.dtype))
    keep = ops.cast(attention_mask, scores.dtype)
    while len(keep.shape) < len(scores.shape):
        keep = ops.expand_dims(keep, -3)  # (batch, heads, queries, keys)
    return ops.einsum(self._combine_equation, masked_softmax(scores, keep), value), None
