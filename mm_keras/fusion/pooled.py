"""Fusion by pooling: every input in one shared space, number by number."""

import keras
from keras import ops

from mm_keras.fusion.joint import EmbeddingFusion
from mm_keras.fusion.shared_space import build_projections, kept_inputs, project


class _PooledFusion(EmbeddingFusion):
    activation = "relu"

    def build(self, embeddings_shape, present_shape=None):
        super().build(embeddings_shape, present_shape)
        self.projections = build_projections(embeddings_shape, self.units, self.activation, dtype=self.dtype_policy)

    def call(self, embeddings, present=None, training=False):
        x = project(self.projections, embeddings)
        keep = ops.expand_dims(kept_inputs(present, self.names, x), -1)  # (batch, inputs, 1)
        return self.drop(self._pool(x * keep, keep), training=training)


@keras.saving.register_keras_serializable("mm_keras")
class SumFusion(_PooledFusion):
    """Sums the present inputs' projections, `sum_i relu(W_i x_i + b_i)`.

    Absent inputs are left out; if all are absent, all count by their learned embeddings.
    Interacts: no. A head on it adds up what each input says by itself.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.

    Input shape:
        `{input: (batch, channels)}` and `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`, at least zero.

    Example:
        >>> import numpy as np
        >>> tuple(SumFusion(units=8)({"a": np.ones((2, 16)), "b": np.ones((2, 4))}).shape)
        (2, 8)

    Reference:
        Feichtenhofer et al. 2016, arXiv:1604.06573, section 3.1 (sum fusion). Differs: each input is projected first,
        since embeddings have no common channels.
    """

    def _pool(self, x, keep):
        return ops.sum(x, axis=1)


@keras.saving.register_keras_serializable("mm_keras")
class MeanFusion(_PooledFusion):
    """Means the present inputs' projections; as `SumFusion`, over their number.

    The scale of the joint embedding is the same for one input as for all, so it suits examples that lack inputs.
    Interacts: no, but for the number of inputs present.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.

    Input shape:
        `{input: (batch, channels)}` and `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`, at least zero.

    Reference:
        Feichtenhofer et al. 2016, arXiv:1604.06573, section 3.1 (sum fusion). Differs: divided by the present inputs.
    """

    def _pool(self, x, keep):
        return ops.sum(x, axis=1) / ops.sum(keep, axis=1)


@keras.saving.register_keras_serializable("mm_keras")
class MaxFusion(_PooledFusion):
    """Takes the largest of the present inputs' projections, number by number.

    Absent inputs are left out; if all are absent, all count by their learned embeddings.
    Interacts: yes. What one input says is heard only where no other is louder.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.

    Input shape:
        `{input: (batch, channels)}` and `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`, at least zero.

    Reference:
        Feichtenhofer et al. 2016, arXiv:1604.06573, section 3.1 (max fusion). Differs: each input is projected first.
    """

    def _pool(self, x, keep):
        # A left out input is zero here, and no projection is less: it never wins.
        return ops.max(x, axis=1)


@keras.saving.register_keras_serializable("mm_keras")
class ProductFusion(_PooledFusion):
    """Multiplies the present inputs' projections, `prod_i (1 + tanh(W_i x_i + b_i))`.

    A factor lies between 0 and 2, so an input can veto or double what the others say, and an absent one, of factor 1,
    changes nothing; if all are absent, all count by their learned embeddings.
    Interacts: yes, up to all inputs at once.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.

    Input shape:
        `{input: (batch, channels)}` and `{input: (batch, 1)}`; channels may differ.

    Output shape:
        `(batch, units)`, between 0 and `2 ** inputs`.

    Reference:
        Kim et al. 2017, arXiv:1610.04325, section 3 (the Hadamard product of tanh projections). Differs: any number of
        inputs; factors stand around 1, so that the product of many neither vanishes nor loses what each says alone.
    """

    activation = "tanh"

    def _pool(self, x, keep):
        product = 1.0 + x[:, 0]
        for i in range(1, len(self.names)):
            product = product * (1.0 + x[:, i])
        return product
