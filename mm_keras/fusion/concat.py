"""Fusion by concatenation."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("mm_keras")
class ConcatFusion(layers.Layer):
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

    level = "embeddings"

    def __init__(self, units, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.dropout = units, dropout
        self.join = layers.Dense(units, activation="relu", name="join")
        self.drop = layers.Dropout(dropout, name="drop")

    def build(self, embeddings_shape, present_shape=None):
        shapes = [embeddings_shape[name] for name in sorted(embeddings_shape)]
        self.join.build((shapes[0][0], sum(shape[-1] for shape in shapes)))

    def call(self, embeddings, present=None, training=False):
        x = ops.concatenate([embeddings[name] for name in sorted(embeddings)], axis=-1)
        return self.drop(self.join(x), training=training)

    def compute_output_shape(self, embeddings_shape, present_shape=None):
        return (next(iter(embeddings_shape.values()))[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "dropout": self.dropout}
