"""Fusion by products of the inputs: all of them, a low-rank form of that, and pairs."""

import itertools

import keras
from keras import layers, ops

from mm_keras.fusion.joint import EmbeddingFusion
from mm_keras.fusion.shared_space import build_projections
from mm_keras.recipe.outer import bilinear_width, factor_size, tensor_width


class _OuterFusion(EmbeddingFusion):
    def __init__(self, units, dropout=0.0, size=0, **kwargs):
        super().__init__(units, dropout, **kwargs)
        self.size = size

    def build(self, embeddings_shape, present_shape=None):
        count = len(embeddings_shape)
        size = factor_size(self.kind, count, self.size)
        self.join = layers.Dense(self.units, activation="relu", dtype=self.dtype_policy, name="join")
        self.join.build((None, self.count_products(count, size)))
        super().build(embeddings_shape, present_shape)
        self.projections = build_projections(embeddings_shape, size, "tanh", dtype=self.dtype_policy)

    def call(self, embeddings, present=None, training=False):
        factors = [self.projections[name](embeddings[name]) for name in self.names]
        return self.drop(self.join(self._products(factors)), training=training)

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("mm_keras")
class TensorFusion(_OuterFusion):
    """Multiplies all inputs out; a dense layer joins the products.

    `t_i = [tanh(P_i x_i + p_i); 1]`, joint embedding `relu(W vec(t_1 (x) .. (x) t_M) + b)`: every product of numbers of
    some inputs is there, alone, in pairs, up to all together. An absent input takes part by its learned embedding.
    Interacts: yes, up to all inputs at once.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.
        size: Numbers that each input is brought to first; there are `(size + 1) ** inputs` products, and more than
            65,536 are refused. Defaults to `0`, which takes the largest up to 32 with at most 4096 products.

    Input shape:
        `{input: (batch, channels)}` and, unused, `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`, at least zero.

    Raises:
        RecipeError: In `build`, when there are too many products; a recipe says so at construction.

    Example:
        >>> import numpy as np
        >>> tuple(TensorFusion(units=8)({"a": np.ones((2, 16)), "b": np.ones((2, 4))}).shape)
        (2, 8)

    Reference:
        Zadeh et al. 2017, arXiv:1707.07250, section 4.2. Differs: each input is first brought to `size` numbers between
        -1 and 1, without which the product of more than three inputs does not fit.
    """

    kind = "tensor"
    count_products = staticmethod(tensor_width)

    def _products(self, factors):
        product = None
        for factor in factors:
            factor = ops.concatenate([factor, ops.ones_like(factor[:, :1])], axis=-1)
            if product is None:
                product = factor
                continue
            width = product.shape[-1] * factor.shape[-1]
            product = ops.reshape(ops.expand_dims(product, 2) * ops.expand_dims(factor, 1), (-1, width))
        return product


@keras.saving.register_keras_serializable("mm_keras")
class BilinearFusion(_OuterFusion):
    """Multiplies the inputs out pair by pair; a dense layer joins the products and the inputs themselves.

    `t_i = tanh(P_i x_i + p_i)`, joint embedding `relu(W [t_i ..; vec(t_i t_j^T) for i < j ..] + b)`. It grows with the
    square of the inputs, where `TensorFusion` grows with a power. An absent input takes part by its learned embedding.
    Interacts: yes, in pairs.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.
        size: Numbers that each input is brought to first; every pair has `size ** 2` products, and more than 65,536 in
            all are refused. Defaults to `0`, which takes the largest up to 32 with at most 4096 products.

    Input shape:
        `{input: (batch, channels)}` and, unused, `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`, at least zero.

    Raises:
        RecipeError: In `build`, when there are too many products; a recipe says so at construction.

    Reference:
        Lin et al. 2015, arXiv:1504.07889, section 3 (bilinear pooling: the outer product of two inputs). Differs: any
        number of inputs, each brought to `size` numbers between -1 and 1, which takes the place of the signed square
        root and the normalisation there; the inputs themselves stand beside the products.
    """

    kind = "bilinear"

    @staticmethod
    def count_products(inputs, size):
        return bilinear_width(inputs, size) - 1  # the dense layer's bias is the constant

    def _products(self, factors):
        parts = list(factors)
        for one, other in itertools.combinations(factors, 2):
            width = one.shape[-1] * other.shape[-1]
            parts.append(ops.reshape(ops.expand_dims(one, 2) * ops.expand_dims(other, 1), (-1, width)))
        return ops.concatenate(parts, axis=-1)


@keras.saving.register_keras_serializable("mm_keras")
class LowRankFusion(EmbeddingFusion):
    """`TensorFusion` whose dense layer has a low rank, so that the product is never written out.

    `t_i = [tanh(P_i x_i + p_i); 1]` of `units + 1` numbers, joint embedding `relu(sum_r prod_i (F_i,r t_i) + b)`. It
    grows with the number of inputs; at full rank it is `TensorFusion`. An absent input takes part by its learned
    embedding.
    Interacts: yes, up to all inputs at once.

    Args:
        units: Size of the joint embedding, and of the projections.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.
        rank: Products that are summed. Defaults to `4`.

    Input shape:
        `{input: (batch, channels)}` and, unused, `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`, at least zero.

    Example:
        >>> import numpy as np
        >>> tuple(LowRankFusion(units=8)({"a": np.ones((2, 16)), "b": np.ones((2, 4))}).shape)
        (2, 8)

    Reference:
        Liu et al. 2018, arXiv:1806.00064, section 3.2. Differs: projections between -1 and 1; a relu; the weights of
        the constant begin where the sum of products is 1, so that gradients pass through the product of many inputs.
    """

    def __init__(self, units, dropout=0.0, rank=4, **kwargs):
        super().__init__(units, dropout, **kwargs)
        self.rank = rank

    def build(self, embeddings_shape, present_shape=None):
        super().build(embeddings_shape, present_shape)
        own = {"dtype": self.dtype_policy}
        self.projections = build_projections(embeddings_shape, self.units, "tanh", **own)
        constant = self.rank ** (-1.0 / len(self.names))
        # Dense layers of `rank * units` numbers: their bias is the weight of the constant one.
        self.factors = {}
        for i, name in enumerate(self.names):
            start = keras.initializers.Constant(constant)
            self.factors[name] = layers.Dense(self.rank * self.units, bias_initializer=start, name=f"factor_{i}", **own)
            self.factors[name].build((None, self.units))
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, embeddings, present=None, training=False):
        product = None
        for name in self.names:
            factor = self.factors[name](self.projections[name](embeddings[name]))
            product = factor if product is None else product * factor
        x = ops.sum(ops.reshape(product, (-1, self.rank, self.units)), axis=1)
        return self.drop(ops.relu(x + ops.cast(self.bias, x.dtype)), training=training)

    def get_config(self):
        return {**super().get_config(), "rank": self.rank}
