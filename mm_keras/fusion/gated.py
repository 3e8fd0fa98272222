"""Fusion by gates."""

import keras
from keras import layers, ops

from mm_keras.fusion.joint import EmbeddingFusion


@keras.saving.register_keras_serializable("mm_keras")
class GatedFusion(EmbeddingFusion):
    """Sums the projected embeddings, each scaled by a gate that sees them all.

    `h_i = tanh(W_i x_i)`, `z_i = sigmoid(U_i [x_1; ..; x_M])`, joint embedding `sum_i z_i * h_i`.

    Interacts: yes.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.

    Input shape:
        `{input: (batch, channels)}` and, unused, `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`.

    Example:
        >>> import numpy as np
        >>> tuple(GatedFusion(units=8)({"a": np.ones((2, 16)), "b": np.ones((2, 4))}).shape)
        (2, 8)

    Reference:
        Arevalo et al. 2017, arXiv:1702.01992, section 3.1 (the gated multimodal unit, the form for more than two
        modalities). Differs: both maps have a bias.
    """

    def build(self, embeddings_shape, present_shape=None):
        super().build(embeddings_shape, present_shape)
        total = sum(embeddings_shape[name][-1] for name in self.names)
        self.values, self.gates, own = {}, {}, {"dtype": self.dtype_policy}
        for i, name in enumerate(self.names):
            self.values[name] = layers.Dense(self.units, activation="tanh", name=f"value_{i}", **own)
            self.gates[name] = layers.Dense(self.units, activation="sigmoid", name=f"gate_{i}", **own)
            self.values[name].build(embeddings_shape[name])
            self.gates[name].build((None, total))

    def call(self, embeddings, present=None, training=False):
        joined = ops.concatenate([embeddings[name] for name in self.names], axis=-1)
        x = sum(self.gates[name](joined) * self.values[name](embeddings[name]) for name in self.names)
        return self.drop(x, training=training)
