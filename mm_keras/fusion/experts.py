"""Fusion by experts."""

import keras
from keras import layers, ops

from mm_keras.fusion.joint import EmbeddingFusion


@keras.saving.register_keras_serializable("mm_keras")
class ExpertsFusion(EmbeddingFusion):
    """Asks several experts, each a dense layer on all embeddings, and weighs them by a gate that sees the same.

    `e_k = relu(W_k [x_1; ..; x_M] + b_k)`, `g = softmax(U [x_1; ..; x_M; present] + u)`, joint embedding
    `sum_k g_k e_k`. The gate also sees which inputs are present, so an expert may serve what lacks one; an absent input
    is its learned embedding.
    Interacts: yes.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.
        num_experts: Experts. Defaults to `4`.

    Input shape:
        `{input: (batch, channels)}` and `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`, at least zero.

    Example:
        >>> import numpy as np
        >>> tuple(ExpertsFusion(units=8)({"a": np.ones((2, 16)), "b": np.ones((2, 4))}).shape)
        (2, 8)

    Reference:
        Jacobs et al. 1991, Adaptive mixtures of local experts, section 1; the softmax gate of Shazeer et al. 2017,
        arXiv:1701.06538, section 2.1. Differs: all experts run, so no loss must balance them.
    """

    def __init__(self, units, dropout=0.0, num_experts=4, **kwargs):
        super().__init__(units, dropout, **kwargs)
        self.num_experts = num_experts

    def build(self, embeddings_shape, present_shape=None):
        total, own = sum(shape[-1] for shape in embeddings_shape.values()), {"dtype": self.dtype_policy}
        self.experts = layers.Dense(self.num_experts * self.units, activation="relu", name="experts", **own)
        self.experts.build((None, total))
        self.gate = layers.Dense(self.num_experts, activation="softmax", name="gate", **own)
        self.gate.build((None, total + len(embeddings_shape)))
        super().build(embeddings_shape, present_shape)

    def call(self, embeddings, present=None, training=False):
        x = ops.concatenate([embeddings[name] for name in self.names], axis=-1)
        present = present or {name: ops.ones_like(x[:, :1]) for name in self.names}
        seen = ops.concatenate([x, *(ops.cast(present[name], x.dtype) for name in self.names)], axis=-1)
        experts = ops.reshape(self.experts(x), (-1, self.num_experts, self.units))
        joint = ops.sum(experts * ops.expand_dims(self.gate(seen), -1), axis=1)
        return self.drop(joint, training=training)

    def get_config(self):
        return {**super().get_config(), "num_experts": self.num_experts}
