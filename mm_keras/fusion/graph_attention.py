"""Fusion by attention in a graph whose nodes are the inputs."""

import keras
from keras import layers, ops

from mm_keras.fusion.attention import check_heads
from mm_keras.fusion.joint import EmbeddingFusion
from mm_keras.fusion.shared_space import build_projections, kept_inputs, mean_of_kept, project
from mm_keras.masking import masked_softmax


@keras.saving.register_keras_serializable("mm_keras")
class GraphAttention(layers.Layer):
    """Gives every node the weighted sum of the nodes that it hears, each head's beside the others'.

    `h_i = sum_j a_ij W x_j`, where `a_i` is the softmax of `leaky_relu(s . W x_i + t . W x_j)` over the nodes `j` that
    `i` hears. A node that hears none gets zeros.

    Args:
        units: Size of a node, all heads together; a multiple of `num_heads`.
        num_heads: Attention heads. Defaults to `4`.

    Input shape:
        Nodes `(batch, nodes, channels)` and edges, broadcast to `(batch, nodes, nodes)`: 1 where the node of the row
        hears the node of the column, else 0.

    Output shape:
        `(batch, nodes, units)`.

    Example:
        >>> import numpy as np
        >>> tuple(GraphAttention(units=8)(np.ones((2, 3, 5)), np.eye(3)[None]).shape)
        (2, 3, 8)

    Reference:
        Velickovic et al. 2018, arXiv:1710.10903, section 2.1 (equations 1 to 5, slope 0.2). Differs: the nonlinearity
        is left to what follows.
    """

    def __init__(self, units, num_heads=4, **kwargs):
        check_heads(units, num_heads)
        super().__init__(**kwargs)
        self.units, self.num_heads = units, num_heads

    def build(self, nodes_shape, edges_shape):
        self.kernel = self.add_weight(shape=(nodes_shape[-1], self.units), name="kernel")
        if nodes_shape[1] > 1:  # a node alone has nothing to choose
            self.hearer, self.speaker = (
                self.add_weight(shape=(self.num_heads, self.units // self.num_heads), name=name)
                for name in ("hearer", "speaker")
            )

    def call(self, nodes, edges):
        count, width = nodes.shape[1], self.units // self.num_heads
        values = ops.matmul(nodes, ops.cast(self.kernel, nodes.dtype))
        values = ops.reshape(values, (-1, count, self.num_heads, width))
        values = ops.transpose(values, (0, 2, 1, 3))  # (batch, heads, nodes, width)
        shares = ops.expand_dims(ops.cast(edges, values.dtype), 1)  # (batch, heads, nodes, nodes)
        if count > 1:
            hearer, speaker = (ops.expand_dims(ops.cast(w, values.dtype), -1) for w in (self.hearer, self.speaker))
            scores = ops.matmul(values, hearer) + ops.transpose(ops.matmul(values, speaker), (0, 1, 3, 2))
            shares = masked_softmax(ops.leaky_relu(scores, 0.2), shares)
        heads = ops.transpose(ops.matmul(shares, values), (0, 2, 1, 3))
        return ops.reshape(heads, (-1, count, self.units))

    def compute_output_shape(self, nodes_shape, edges_shape):
        return (*nodes_shape[:2], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "num_heads": self.num_heads}


@keras.saving.register_keras_serializable("mm_keras")
class GraphAttentionFusion(EmbeddingFusion):
    """Every input is a node that hears the present ones, itself among them; their mean is the result.

    Each layer is `elu(x + GraphAttention(x))`. When all inputs are absent, all are kept.

    Interacts: yes.

    Args:
        units: Size of the joint embedding and of a node; a multiple of `num_heads`.
        dropout: Fraction of the joint embedding zeroed in training. Defaults to `0.0`.
        num_heads: Attention heads. Defaults to `4`.
        layers: How often the nodes hear each other. Defaults to `2`.

    Input shape:
        `{input: (batch, channels)}` and `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`.

    Example:
        >>> import numpy as np
        >>> one = np.ones((2, 1))
        >>> nodes = {"a": np.ones((2, 16)), "b": np.ones((2, 4))}
        >>> tuple(GraphAttentionFusion(units=8)(nodes, {"a": one, "b": one}).shape)
        (2, 8)

    Reference:
        Velickovic et al. 2018, arXiv:1710.10903, section 2.1, with the skip connections of section 3.3. Differs: each
        input is projected to `units` first, since their embeddings do not share a space.
    """

    def __init__(self, units, dropout=0.0, num_heads=4, layers=2, **kwargs):
        check_heads(units, num_heads)
        super().__init__(units, dropout, **kwargs)
        self.num_heads, self.layers = num_heads, layers

    def build(self, embeddings_shape, present_shape=None):
        self.projections = build_projections(embeddings_shape, self.units, dtype=self.dtype_policy)
        self.graphs, count = [], len(embeddings_shape)
        for depth in range(self.layers):
            graph = GraphAttention(self.units, self.num_heads, dtype=self.dtype_policy, name=f"graph_{depth}")
            graph.build((None, count, self.units), (None, 1, count))
            self.graphs.append(graph)
        super().build(embeddings_shape, present_shape)

    def call(self, embeddings, present=None, training=False):
        x = project(self.projections, embeddings)
        keep = kept_inputs(present, self.names, x)
        for graph in self.graphs:
            # An absent node hears too, but nobody reads it.
            x = ops.elu(x + graph(x, ops.expand_dims(keep, 1)))
        return self.drop(mean_of_kept(x, keep), training=training)

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "layers": self.layers}
