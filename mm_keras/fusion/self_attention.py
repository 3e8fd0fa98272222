"""Fusion by self-attention over one token for each input."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("mm_keras")
class SelfAttentionFusion(layers.Layer):
    """Lets the inputs' embeddings attend to each other, then means over those present.

    Each embedding is projected to `units` and gets a learned vector that tells which input it is; one
    pre-normalised transformer block follows. Absent inputs are masked out; if all are, all are kept.
    Interacts: yes.

    Args:
        units: Size of the joint embedding; a multiple of `num_heads`.
        dropout: Fraction zeroed in training, of the attention and of the result. Defaults to `0.0`.
        num_heads: Attention heads. Defaults to `4`.

    Input shape:
        `{input: (batch, channels)}` and `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`.

    Example:
        >>> import numpy as np
        >>> tuple(SelfAttentionFusion(units=8)({"a": np.ones((2, 16)), "b": np.ones((2, 4))}).shape)
        (2, 8)

    Reference:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.2; normalised first as Xiong et al. 2020, arXiv:2002.04745.
    """

    level = "embeddings"

    def __init__(self, units, dropout=0.0, num_heads=4, **kwargs):
        super().__init__(**kwargs)
        if units % num_heads:
            raise ValueError(f"`units` must be a multiple of `num_heads`, {num_heads}. Received: units={units}")
        self.units, self.dropout, self.num_heads = units, dropout, num_heads
        self.attention = layers.MultiHeadAttention(num_heads, units // num_heads, dropout=dropout, name="attention")
        self.norms = [layers.LayerNormalization(epsilon=1e-5, name=f"norm_{i}") for i in range(3)]
        self.widen = layers.Dense(2 * units, activation="gelu", name="widen")
        self.narrow = layers.Dense(units, name="narrow")
        self.drop = layers.Dropout(dropout, name="drop")

    def build(self, embeddings_shape, present_shape=None):
        self.names = sorted(embeddings_shape)
        self.kinds = self.add_weight(
            shape=(len(self.names), self.units), initializer=keras.initializers.RandomNormal(stddev=0.02), name="kinds"
        )
        self.projections = {}
        for i, name in enumerate(self.names):
            self.projections[name] = layers.Dense(self.units, name=f"project_{i}")
            self.projections[name].build(embeddings_shape[name])
        shape = (embeddings_shape[self.names[0]][0], len(self.names), self.units)
        self.attention.build(shape, shape)
        for layer in (*self.norms, self.widen):
            layer.build(shape)
        self.narrow.build((*shape[:2], 2 * self.units))

    def call(self, embeddings, present=None, training=False):
        x = ops.stack([self.projections[name](embeddings[name]) for name in self.names], axis=1)
        x = x + ops.cast(self.kinds, x.dtype)
        if present is None:
            keep = ops.ones_like(x[..., 0])
        else:
            keep = ops.concatenate([ops.cast(present[name], x.dtype) for name in self.names], axis=-1)
            keep = ops.maximum(keep, 1.0 - ops.max(keep, axis=-1, keepdims=True))
        y = self.norms[0](x)
        y = self.attention(y, y, attention_mask=ops.expand_dims(ops.greater(keep, 0.5), 1), training=training)
        x = x + self.drop(y, training=training)
        x = x + self.drop(self.narrow(self.widen(self.norms[1](x))), training=training)
        weight = ops.expand_dims(keep / ops.sum(keep, axis=-1, keepdims=True), -1)
        return ops.sum(self.norms[2](x) * weight, axis=1)

    def compute_output_shape(self, embeddings_shape, present_shape=None):
        return (next(iter(embeddings_shape.values()))[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "dropout": self.dropout, "num_heads": self.num_heads}
