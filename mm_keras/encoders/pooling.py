"""Attention that weighs the steps of a set."""

import keras
from keras import layers, ops

from mm_keras.masking import masked_softmax


@keras.saving.register_keras_serializable("mm_keras")
class AttentionPooling(layers.Layer):
    """Averages the steps that the mask keeps, each weighed by a learned, gated score of itself.

    A row without any step gives zeros. Masked without a large constant, which would take the range of an int8.

    Args:
        units: Size of the space in which steps are scored.
    Input shape:
        `[tokens (batch, steps, channels), mask (batch, steps)]`.
    Output shape:
        `(batch, channels)`.
    Reference:
        Ilse et al. 2018, arXiv:1802.04712, section 2.4 (the gated form, equation 9). Differs: masked; the two hidden
        layers have biases.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = layers.Dense(units, activation="tanh", name="hidden", dtype=self.dtype_policy)
        self.gate = layers.Dense(units, activation="sigmoid", name="gate", dtype=self.dtype_policy)
        # Without a bias, which a softmax would not feel.
        self.score = layers.Dense(1, use_bias=False, name="score", dtype=self.dtype_policy)

    def build(self, input_shape):
        self.hidden.build(input_shape[0])
        self.gate.build(input_shape[0])
        self.score.build((*input_shape[0][:-1], self.units))

    def call(self, inputs):
        tokens, mask = inputs
        scores = self.score(self.hidden(tokens) * self.gate(tokens))  # (batch, steps, 1)
        scores, keep = ops.cast(scores, "float32"), ops.expand_dims(ops.cast(mask, "float32"), -1)
        shares = masked_softmax(scores, keep, axis=1)
        return ops.cast(ops.sum(ops.cast(tokens, "float32") * shares, axis=1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], input_shape[0][-1])

    def get_config(self):
        return {**super().get_config(), "units": self.units}
