"""Fusion by concatenation."""

import keras
from keras import layers, ops

from mm_keras.fusion.joint import EmbeddingFusion


@keras.saving.register_keras_serializable("mm_keras")
class ConcatFusion(EmbeddingFusion):
    """Concatenates the embeddings in the order of their names; a dense layer joins them.

    Interacts: yes.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.

    Input shape:
        `{input: (batch, channels)}` and, unused, `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`, at least zero.

    Example:
        >>> import numpy as np
        >>> tuple(ConcatFusion(units=8)({"a": np.ones((2, 16)), "b": np.ones((2, 4))}).shape)
        (2, 8)
    """

    def build(self, embeddings_shape, present_shape=None):
        self.join = layers.Dense(self.units, activation="relu", dtype=self.dtype_policy, name="join")
        self.join.build((None, sum(shape[-1] for shape in embeddings_shape.values())))
        super().build(embeddings_shape, present_shape)

    def call(self, embeddings, present=None, training=False):
        x = ops.concatenate([embeddings[name] for name in self.names], axis=-1)
        return self.drop(self.join(x), training=training)
