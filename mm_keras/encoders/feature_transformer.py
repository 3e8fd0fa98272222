"""Rows of numbers and categories as sequences: a transformer over one token for each column."""

import keras
import numpy as np
from keras import layers, ops

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import ApplyMask, TokenMask, pool_tokens
from mm_keras.encoders.tabular import FeatureTokens
from mm_keras.encoders.transformer import PositionEmbedding, transformer
from mm_keras.errors import RecipeError


@keras.saving.register_keras_serializable("mm_keras")
class CellMask(TokenMask):
    """Marks the columns that hold something.

    Args:
        groups: Length of each column's slice, in order.
        numeric: How many of the first slices are `[value, presence]`; the others are one-hot.
    Input shape:
        Float `(batch, sum(groups))`.
    Output shape:
        Float `(batch, len(groups))`: 1 where a number is present, or a category or "unknown" is set.
    """

    def __init__(self, groups, numeric, **kwargs):
        super().__init__(**kwargs)
        self.groups, self.numeric = tuple(groups), numeric

    def call(self, x):
        starts = np.cumsum((0, *self.groups))
        # A number is seen by its presence alone: a value of zero is the mean.
        skipped = [i < self.numeric for i in range(len(self.groups))]
        slices = [x[:, a + s : b] for a, b, s in zip(starts[:-1], starts[1:], skipped, strict=True)]
        filled = [ops.any(ops.not_equal(s, ops.zeros((), x.dtype)), axis=1, keepdims=True) for s in slices]
        return ops.cast(ops.concatenate(filled, axis=1), self.compute_dtype)

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], len(self.groups)), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "groups": self.groups, "numeric": self.numeric}


@keras.saving.register_keras_serializable("mm_keras")
class FeatureSlice(layers.Layer):
    """Takes every `step`-th feature from `start` up to `stop`.

    Input shape:
        `(batch, features)`.
    Output shape:
        `(batch, features taken)`, in the input's dtype.
    """

    def __init__(self, start, stop, step=1, **kwargs):
        super().__init__(**kwargs, autocast=False)  # in 16 bits, narrow bins would be one
        self.start, self.stop, self.step = start, stop, step

    def call(self, x):
        return x[:, self.start : self.stop : self.step]

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], len(range(self.start, self.stop, self.step))), dtype=x.dtype)

    def get_config(self):
        return {**super().get_config(), "start": self.start, "stop": self.stop, "step": self.step}


@keras.saving.register_keras_serializable("mm_keras")
class PeriodicNumbers(layers.Layer):
    """Sines and cosines of each number, at learned frequencies of its own.

    Args:
        frequencies: How many for each number.
        sigma: Deviation of the first frequencies, in turns per deviation of the number; what the paper calls the one
            setting to tune.
    Input shape:
        Float `(batch, columns)`.
    Output shape:
        `(batch, columns, 2 * frequencies)`: sines, then cosines.
    Reference:
        Gorishniy et al. 2022, arXiv:2203.05556, section 3.3.
    """

    def __init__(self, frequencies, sigma, **kwargs):
        super().__init__(**kwargs, autocast=False)  # in 16 bits, an angle of many turns would be any
        self.frequencies, self.sigma = frequencies, sigma

    def build(self, input_shape):
        shape, start = (input_shape[-1], self.frequencies), keras.initializers.RandomNormal(stddev=self.sigma)
        self.turns = self.add_weight(shape=shape, initializer=start, autocast=False, name="turns")

    def call(self, x):
        angles = 2 * np.pi * ops.expand_dims(x, -1) * self.turns
        return ops.cast(ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1), self.compute_dtype)

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape, 2 * self.frequencies), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "frequencies": self.frequencies, "sigma": self.sigma}


@keras.saving.register_keras_serializable("mm_keras")
class PiecewiseNumbers(layers.Layer):
    """How far each number has come through each of its bins: 1 when it is past it, 0 before it, a share inside.

    Args:
        bins: Ascending edges for each number. Shorter rows of bins end in zeros.
    Input shape:
        Float `(batch, columns)`.
    Output shape:
        `(batch, columns, most bins)`.
    Reference:
        Gorishniy et al. 2022, arXiv:2203.05556, section 3.2, equation 1. Differs: the outer bins, which have no end,
        end one width of theirs outside, at -1 and 2: an outlier fits neither 16 bits nor the range of an int8.
    """

    def __init__(self, bins, **kwargs):
        super().__init__(**kwargs, autocast=False)  # as in `FeatureSlice`
        self.bins = tuple(tuple(edges) for edges in bins)
        self.most = max(len(edges) for edges in self.bins) - 1
        shape = (3, len(self.bins), self.most)
        self._low, self._high, self._start = np.zeros(shape, np.float32)
        self._scale = np.zeros(shape[1:], np.float32)
        for i, edges in enumerate(np.array(e) for e in self.bins):
            last, widths = len(edges) - 2, np.diff(edges)
            own = (i, slice(0, last + 1))
            self._low[own] = self._start[own] = edges[:-1]
            self._high[own], self._scale[own] = edges[1:], 1 / widths
            self._low[i, 0] -= widths[0]
            self._high[i, last] += widths[-1]

    def call(self, x):
        inside = ops.minimum(ops.maximum(ops.expand_dims(x, -1), self._low), self._high)
        return ops.cast((inside - self._start) * self._scale, self.compute_dtype)

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape, self.most), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "bins": self.bins}


@keras.saving.register_keras_serializable("mm_keras")
class ColumnDense(layers.Layer):
    """A `Dense` with ReLU for each column, none shared.

    Args:
        units: Size of a token.
    Input shape:
        `(batch, columns, features)`.
    Output shape:
        `(batch, columns, units)`.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        _, columns, features = input_shape
        # Of one column's fan-in; Keras would count the columns as part of it.
        start = keras.initializers.RandomNormal(stddev=features**-0.5)
        self.kernel = self.add_weight(shape=(columns, features, self.units), initializer=start, name="kernel")
        self.bias = self.add_weight(shape=(columns, self.units), initializer="zeros", name="bias")

    def call(self, x):
        mapped = ops.einsum("bcf,cfu->bcu", x, ops.cast(self.kernel, x.dtype))
        return ops.relu(mapped + ops.cast(self.bias, x.dtype))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def build_tabular_transformer(inputs, encoder, tensor):
    """FT-Transformer: a token for each column, joined by self-attention; missing cells are masked out.

    Blocks: `tiny` 1, `small` 2, `base` 4; heads of 16 units. Every block is a depth. The option `numbers` says how a
    number becomes a token: `"linear"`; `"periodic"`, with `frequencies` sines and cosines whose first frequencies have
    the deviation `sigma`; or `"piecewise"`, through at most `bins` bins of equally many training rows.

    Args:
        inputs: Float `(batch, features)`, laid out as `tensor.groups` says.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`, with the bins of the numbers when they go in pieces.

    Returns:
        `{"tokens": (batch, columns, units), "mask": (batch, columns), "embedding": (batch, units)}`.

    Raises:
        RecipeError: When `sigma` is not above zero.

    Reference:
        Gorishniy et al. 2021, arXiv:2106.11959, section 3.3; Gorishniy et al. 2022, arXiv:2203.05556, section 3 (the
        numbers). Differs: columns are pooled in place of a class token, and the first block is normalised too.
    """
    units = UNITS[encoder.size]
    mask = CellMask(tensor.groups, tensor.numeric)(inputs)
    tokens = _column_tokens(inputs, encoder.options, tensor, units)
    # The bias of the paper's tokenizer: it tells which column a token is, whatever its value.
    x = ApplyMask()([layers.Dropout(encoder.dropout)(PositionEmbedding()(tokens)), mask])
    x, mask = yield from transformer(x, mask, encoder)
    return pool_tokens(x, mask, units, encoder.dropout)


def _column_tokens(inputs, options, tensor, units):
    if options["numbers"] == "linear" or not tensor.numeric:
        return FeatureTokens(tensor.groups, tensor.numeric, units)(inputs)
    values = FeatureSlice(0, 2 * tensor.numeric, 2)(inputs)
    if options["numbers"] == "periodic":
        if not options["sigma"] > 0:
            raise RecipeError(f"the option `sigma` must be above 0. Received: sigma={options['sigma']}")
        features = PeriodicNumbers(options["frequencies"], options["sigma"])(values)
    else:
        features = PiecewiseNumbers(tensor.bins)(values)
    tokens = [ColumnDense(units)(features)]
    if categories := tensor.groups[tensor.numeric :]:
        hot = FeatureSlice(2 * tensor.numeric, tensor.shape[0])(inputs)
        tokens.append(FeatureTokens(categories, 0, units)(hot))
    return layers.Concatenate(axis=1)(tokens) if len(tokens) > 1 else tokens[0]
