"""Fusion by one set of weights for all inputs."""

import keras
from keras import layers, ops

from mm_keras.fusion.shared_space import kept_inputs


@keras.saving.register_keras_serializable("mm_keras")
class SharedFusion(layers.Layer):
    """Sends every embedding through the same layers, means over those present, and joins with one layer more.

    `h_i = relu(W x_i + b)`, joint embedding `relu(V mean_i h_i + c)`: no weight belongs to an input, so the encoders
    must bring their modalities to one language, and what is learned on one input serves the others. An embedding
    narrower than the widest is filled up with zeros. Absent inputs are left out; if all are absent, all count by their
    learned embeddings.
    Interacts: yes, in the layer after the mean.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.

    Input shape:
        `{input: (batch, channels)}` and `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`, at least zero.

    Example:
        >>> import numpy as np
        >>> tuple(SharedFusion(units=8)({"a": np.ones((2, 16)), "b": np.ones((2, 4))}).shape)
        (2, 8)

    Reference:
        Aytar et al. 2017, arXiv:1706.00932, section 3 (upper layers shared by all modalities), pooled as Zaheer et al.
        2017, arXiv:1703.06114, section 2. Differs: one example's inputs are joined; there each is classified alone.
    """

    level = "embeddings"

    def __init__(self, units, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.dropout = units, dropout
        self.project = layers.Dense(units, activation="relu", name="project")
        self.join = layers.Dense(units, activation="relu", name="join")
        self.drop = layers.Dropout(dropout, name="drop")

    def build(self, embeddings_shape, present_shape=None):
        self.names = sorted(embeddings_shape)
        self.width = max(shape[-1] for shape in embeddings_shape.values())
        self.project.build((None, len(self.names), self.width))
        self.join.build((None, self.units))

    def call(self, embeddings, present=None, training=False):
        x = ops.stack([self._filled(embeddings[name]) for name in self.names], axis=1)
        keep = kept_inputs(present, self.names, x)
        weight = ops.expand_dims(keep / ops.sum(keep, axis=-1, keepdims=True), -1)
        return self.drop(self.join(ops.sum(self.project(x) * weight, axis=1)), training=training)

    def _filled(self, embedding):
        lack = self.width - embedding.shape[-1]
        return ops.pad(embedding, ((0, 0), (0, lack))) if lack else embedding

    def compute_output_shape(self, embeddings_shape, present_shape=None):
        return (next(iter(embeddings_shape.values()))[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "dropout": self.dropout}
