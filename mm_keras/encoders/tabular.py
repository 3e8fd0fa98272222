"""Rows of numbers and categories."""

import keras
from keras import layers, ops

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import TokenMask

TOKEN_UNITS = {"tiny": 8, "small": 16, "base": 32}


@keras.saving.register_keras_serializable("mm_keras")
class FeatureTokens(layers.Layer):
    """Gives every column a token: a linear map of its slice of the input, without a shared bias.

    Args:
        groups: Length of each column's slice, in order.
        numeric: How many of the first slices are `[value, presence]`; the others are one-hot.
        units: Size of a token.
    Input shape:
        Float `(batch, sum(groups))`.
    Output shape:
        `(batch, len(groups), units)`; the token of a missing cell is zero.
    Reference:
        Gorishniy et al. 2021, arXiv:2106.11959, section 3.3 (feature tokenizer). Differs: the bias of a number is
        its presence weight, so a missing cell has none.
    """

    def __init__(self, groups, numeric, units, **kwargs):
        super().__init__(**kwargs)
        self.groups, self.numeric, self.units = tuple(groups), numeric, units

    def build(self, input_shape):
        if input_shape[-1] != sum(self.groups):
            raise ValueError(f"expected {sum(self.groups)} features. Received: input_shape={tuple(input_shape)}")
        scale = keras.initializers.RandomNormal(stddev=self.units**-0.5)
        if self.numeric:
            self.slopes = self.add_weight(shape=(self.numeric, 2, self.units), initializer=scale, name="slopes")
        self.tables = [
            self.add_weight(shape=(size, self.units), initializer=scale, name=f"table_{i}")
            for i, size in enumerate(self.groups[self.numeric :])
        ]

    def call(self, x):
        tokens, at = [], 2 * self.numeric
        if self.numeric:
            pairs = ops.reshape(x[:, :at], (-1, self.numeric, 2, 1))
            tokens.append(ops.sum(pairs * ops.cast(self.slopes, x.dtype), axis=2))
        for table in self.tables:
            size = table.shape[0]
            tokens.append(ops.expand_dims(ops.matmul(x[:, at : at + size], ops.cast(table, x.dtype)), 1))
            at += size
        return ops.concatenate(tokens, axis=1) if len(tokens) > 1 else tokens[0]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], len(self.groups), self.units)

    def get_config(self):
        return {**super().get_config(), "groups": self.groups, "numeric": self.numeric, "units": self.units}


def build_tabular_mlp(inputs, encoder, tensor):
    """A token for each column, joined by a two-layer network, whose middle is its one depth.

    Args:
        inputs: Float `(batch, features)`, laid out as `tensor.groups` says.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`.

    Returns:
        `{"tokens": (batch, columns, token units), "mask": (batch, columns), "embedding": (batch, units)}`.
    """
    units = UNITS[encoder.size]
    tokens = FeatureTokens(tensor.groups, tensor.numeric, TOKEN_UNITS[encoder.size])(inputs)
    mask = TokenMask()(tokens)
    x = layers.Dense(2 * units, activation="relu")(layers.Flatten()(tokens))
    state = yield {"features": x, "tokens": tokens, "columns": mask}
    x, tokens, mask = state["features"], state["tokens"], state["columns"]
    x = layers.Dense(units, activation="relu")(layers.Dropout(encoder.dropout)(x))
    return {"tokens": tokens, "mask": mask, "embedding": layers.Dropout(encoder.dropout)(x)}
