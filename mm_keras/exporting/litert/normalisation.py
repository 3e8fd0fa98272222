"""Layer normalisation that survives int8: the same numbers as Keras's, without a variance in them."""

from types import MethodType

import keras
import tensorflow as tf

from mm_keras.exporting.swapping import swapped


def quantisable_normalisation(model):
    """While the block runs, the model's layer normalisations divide by a length, which LiteRT does in one op.

    Keras's way squares, means and takes a root in steps. As an int8 each step has one scale for all tokens, and those
    whose variance is small beside the largest get a variance of 0. On self-attention over the digits, three times as
    close to the float model.

    Args:
        model: A `keras.Model`; only what is traced inside the block changes.
    """
    layers = [layer for layer in model._flatten_layers() if type(layer) is keras.layers.LayerNormalization]
    found = [layer for layer in layers if not layer.rms_scaling]
    return swapped(found, "call", lambda layer: MethodType(_normalise, layer))


def _normalise(self, inputs):
    """`y / sqrt(mean(y ** 2) + epsilon)` is `sqrt(n)` times the direction of y with `sqrt(n * epsilon)` put behind."""
    if list(self.axis) not in ([-1], [len(inputs.shape) - 1]):
        return type(self).call(self, inputs)
    y = inputs - tf.reduce_mean(inputs, axis=-1, keepdims=True)
    count = y.shape[-1]
    extra = tf.zeros_like(y[..., :1]) + (count * self.epsilon) ** 0.5
    # The row is never zero, so that the op's own epsilon, a floor, does nothing.
    y = tf.math.l2_normalize(tf.concat([y, extra], axis=-1), axis=-1)[..., :count]
    y = y * count**0.5 if self.gamma is None else y * (self.gamma * count**0.5)
    return y if self.beta is None else y + self.beta
