"""The transformer that texts, pictures, sounds and tables share: positions, attention, the block."""

import keras
import numpy as np
from keras import layers, ops

DEPTH = {"tiny": 1, "small": 2, "base": 4}
HEAD_UNITS = 16
# Of every layer normalisation; Keras's own default. With the 1e-6 of many papers an all but blank input is blown up to
# full size: a jump next to the blank value that integrated gradients step over.
EPSILON = 1e-3


@keras.saving.register_keras_serializable("mm_keras")
class PositionEmbedding(layers.Layer):
    """Adds a learned vector for each place.

    Args:
        steps: How many places there are. Defaults to `None`: as many as the input has.
    Input shape:
        `(batch, steps, units)`, or fewer steps, which are the first ones.
    Output shape:
        The same.
    """

    def __init__(self, steps=None, **kwargs):
        super().__init__(**kwargs)
        self.steps = steps

    def build(self, input_shape):
        small = keras.initializers.RandomNormal(stddev=0.02)
        shape = (self.steps or input_shape[1], input_shape[2])
        self.positions = self.add_weight(shape=shape, initializer=small, name="positions")

    def call(self, x):
        return x + ops.cast(self.positions, x.dtype)[: ops.shape(x)[1]]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "steps": self.steps}


@keras.saving.register_keras_serializable("mm_keras")
class PairMask(layers.Layer):
    """Turns a mask of steps into the attention mask of Keras: bool `(batch, 1, steps)`, `True` attends."""

    def call(self, mask):
        return ops.expand_dims(ops.greater(mask, 0.5), 1)

    def compute_output_spec(self, mask):
        return keras.KerasTensor((mask.shape[0], 1, mask.shape[1]), dtype="bool")


def rotate(x, steps=None):
    """Turns each pair of units by an angle that grows with the step, so that products tell distances alone.

    Args:
        x: `(batch, steps, heads, units)`; `units` is even. A pair is the units `i` and `i + units / 2`, and turns by
            `step / 10000 ** (2 * i / units)` radians.
        steps: Most steps that `x` has. Defaults to `None`: its own, which are fixed.

    Returns:
        As `x`.

    Reference:
        Su et al. 2021, arXiv:2104.09864, section 3.4.2, equation 34. Differs: a pair is not two neighbours, which
        only names the units anew.
    """
    steps, half = steps or x.shape[1], x.shape[-1] // 2
    angles = np.arange(steps)[:, None] * 10_000.0 ** (-np.arange(half) / half)
    # Computed in NumPy: 16 bits could not tell the angles of far steps apart.
    tables = (ops.cast(f(angles)[:, None].astype("float32"), x.dtype) for f in (np.cos, np.sin))
    cos, sin = (table[: ops.shape(x)[1]] for table in tables)
    left, right = x[..., :half], x[..., half:]
    return ops.concatenate([left * cos - right * sin, left * sin + right * cos], axis=-1)


@keras.saving.register_keras_serializable("mm_keras")
class RotaryAttention(layers.MultiHeadAttention):
    """The attention of Keras with queries and keys turned by their steps; see `rotate`.

    Args:
        args: As of `keras.layers.MultiHeadAttention`.
        steps: Most steps of queries and keys. Defaults to `None`: their own, which are fixed.
        kwargs: As of `keras.layers.MultiHeadAttention`.
    """

    def __init__(self, *args, steps=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.steps = steps

    def _compute_attention(self, query, key, value, *options, **more):
        query, key = rotate(query, self.steps), rotate(key, self.steps)
        return super()._compute_attention(query, key, value, *options, **more)

    def get_config(self):
        return {**super().get_config(), "steps": self.steps}


def transformer_block(x, attention_mask, dropout, attention=layers.MultiHeadAttention):
    """A pre-normalised transformer block: self-attention in heads of 16 units, then a network four times as wide.

    Args:
        x: `(batch, steps, units)`.
        attention_mask: What `PairMask` gives, or `None`.
        dropout: Fraction of the attention, and of each branch, zeroed in training.
        attention: `MultiHeadAttention`, or `RotaryAttention` for positions inside it.
    Reference:
        Xiong et al. 2020, arXiv:2002.04745, section 3.2 (normalisation first).
    """
    units = x.shape[-1]
    y = layers.LayerNormalization(epsilon=EPSILON)(x)
    # One step alone gets all the attention there is; Keras warns about it where it could be dropped.
    drop = dropout if x.shape[1] != 1 else 0.0
    y = attention(units // HEAD_UNITS, HEAD_UNITS, dropout=drop)(y, y, attention_mask=attention_mask)
    x = layers.Add()([x, layers.Dropout(dropout)(y)])
    y = layers.LayerNormalization(epsilon=EPSILON)(x)
    y = layers.Dense(units)(layers.Dense(4 * units, activation="gelu")(y))
    return layers.Add()([x, layers.Dropout(dropout)(y)])


def transformer(x, mask, encoder, attention=layers.MultiHeadAttention):
    """Blocks over a sequence, and the last normalisation: a generator, every block a depth.

    Blocks: `tiny` 1, `small` 2, `base` 4.

    Args:
        x: `(batch, steps, units)`.
        mask: `(batch, steps)`, or `None` when every step counts.
        encoder: `recipe.Encoder`.
        attention: As in `transformer_block`.

    Yields:
        `{"features": .., "mask": ..}`, without the mask when there is none.

    Returns:
        `(x, mask)`.
    """
    for _ in range(DEPTH[encoder.size]):
        pairs = None if mask is None else PairMask()(mask)
        x = transformer_block(x, pairs, encoder.dropout, attention)
        state = yield {"features": x} if mask is None else {"features": x, "mask": mask}
        x, mask = state["features"], state.get("mask")
    return layers.LayerNormalization(epsilon=EPSILON)(x), mask
