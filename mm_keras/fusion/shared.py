"""Fusion by one set of weights for all inputs."""

import keras
from keras import layers, ops

from mm_keras.fusion.joint import EmbeddingFusion
from mm_keras.fusion.shared_space import kept_inputs, mean_of_kept


@keras.saving.register_keras_serializable("mm_keras")
class SharedFusion(EmbeddingFusion):
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

    def build(self, embeddings_shape, present_shape=None):
        self.width = max(shape[-1] for shape in embeddings_shape.values())
        self.project, self.join = (
            layers.Dense(self.units, activation="relu", dtype=self.dtype_policy, name=n) for n in ("project", "join")
        )
        self.project.build((None, len(embeddings_shape), self.width))
        self.join.build((None, self.units))
        super().build(embeddings_shape, present_shape)

    def call(self, embeddings, present=None, training=False):
        x = ops.stack([self._filled(embeddings[name]) for name in self.names], axis=1)
        mean = mean_of_kept(self.project(x), kept_inputs(present, self.names, x))
        return self.drop(self.join(mean), training=training)

    def _filled(self, embedding):
        lack = self.width - embedding.shape[-1]
        return ops.pad(embedding, ((0, 0), (0, lack))) if lack else embedding
