"""Fusion by feature-wise modulation."""

import keras
from keras import ops

from mm_keras.fusion.joint import EmbeddingFusion
from mm_keras.fusion.shared_space import build_projections, kept_inputs, mean_of_kept


@keras.saving.register_keras_serializable("mm_keras")
class FilmFusion(EmbeddingFusion):
    """Lets every input be scaled and shifted by what the others say, and means over those present.

    `h_i = W_i x_i + b_i`; `g_i` and `s_i` are a dense layer on the others' embeddings; joint embedding
    `mean_i relu((1 + g_i) * h_i + s_i)`. An absent input is left out of the mean, and modulates the others by its
    learned embedding; if all are absent, all count. An input that is alone in its recipe is not modulated.
    Interacts: yes.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.

    Input shape:
        `{input: (batch, channels)}` and `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`, at least zero.

    Example:
        >>> import numpy as np
        >>> tuple(FilmFusion(units=8)({"a": np.ones((2, 16)), "b": np.ones((2, 4))}).shape)
        (2, 8)

    Reference:
        Perez et al. 2018, arXiv:1709.07871, section 2.1; scales stand around 1 as there. Differs: every input is
        conditioned on all others, so none must be named as the condition; there a question modulates a picture.
    """

    def build(self, embeddings_shape, present_shape=None):
        super().build(embeddings_shape, present_shape)
        own = {"dtype": self.dtype_policy}
        self.projections = build_projections(embeddings_shape, self.units, **own)
        others = {
            name: (None, sum(embeddings_shape[other][-1] for other in self.names if other != name))
            for name in self.names
        }
        is_alone = len(self.names) == 1
        self.scales = {} if is_alone else build_projections(others, self.units, name="scale", **own)
        self.shifts = {} if is_alone else build_projections(others, self.units, name="shift", **own)

    def call(self, embeddings, present=None, training=False):
        x = ops.stack([self._modulated(name, embeddings) for name in self.names], axis=1)
        return self.drop(mean_of_kept(x, kept_inputs(present, self.names, x)), training=training)

    def _modulated(self, name, embeddings):
        x = self.projections[name](embeddings[name])
        if self.scales:
            others = ops.concatenate([embeddings[other] for other in self.names if other != name], axis=-1)
            x = (1.0 + self.scales[name](others)) * x + self.shifts[name](others)
        return ops.relu(x)
