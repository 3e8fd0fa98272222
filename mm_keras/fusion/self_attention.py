"""Fusion by self-attention over one token for each input."""

import keras
from keras import layers, ops

from mm_keras.fusion.attention import AttentionBlock, check_heads
from mm_keras.fusion.joint import EmbeddingFusion
from mm_keras.fusion.shared_space import build_projections, kept_inputs, mean_of_kept, project


@keras.saving.register_keras_serializable("mm_keras")
class SelfAttentionFusion(EmbeddingFusion):
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

    def __init__(self, units, dropout=0.0, num_heads=4, **kwargs):
        check_heads(units, num_heads)
        super().__init__(units, dropout, **kwargs)
        self.num_heads = num_heads

    def build(self, embeddings_shape, present_shape=None):
        # Without the dropout of `EmbeddingFusion`: the block has its own.
        self.names = sorted(embeddings_shape)
        self.kinds = self.add_weight(
            shape=(len(self.names), self.units), initializer=keras.initializers.RandomNormal(stddev=0.02), name="kinds"
        )
        self.projections = build_projections(embeddings_shape, self.units, dtype=self.dtype_policy)
        shape = (embeddings_shape[self.names[0]][0], len(self.names), self.units)
        self.block = AttentionBlock(self.num_heads, self.dropout, dtype=self.dtype_policy, name="block")
        self.block.build(shape)
        self.norm = layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name="norm")
        self.norm.build(shape)

    def call(self, embeddings, present=None, training=False):
        x = project(self.projections, embeddings)
        x = x + ops.cast(self.kinds, x.dtype)
        keep = kept_inputs(present, self.names, x)
        return mean_of_kept(self.norm(self.block(x, keep=keep, training=training)), keep)

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads}
