"""Sequences of feature vectors. The last channel of a step is 1 where there is one, so that a step may be all zero."""

import keras
from keras import layers

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import ApplyMask, TokenMask, pool_depth, pool_tokens
from mm_keras.encoders.normalizing import BatchNormalization
from mm_keras.encoders.recurrent import StepMask, both_directions
from mm_keras.encoders.temporal import TimeEmbedding
from mm_keras.encoders.transformer import transformer

BLOCKS = {"tiny": 2, "small": 3, "base": 4}


@keras.saving.register_keras_serializable("mm_keras")
class StepFeatures(layers.Layer):
    """Leaves the last channel out, which marks real steps.

    Input shape:
        `(batch, steps, features + 1)`.
    Output shape:
        `(batch, steps, features)`.
    """

    def call(self, x):
        return x[..., :-1]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] - 1)


def build_series_conv(inputs, encoder, tensor):
    """Residual convolutions over time; each block looks twice as far as the one before. Every block is a depth.

    Blocks: `tiny` 2, `small` 3, `base` 4, whose tokens see 13, 29 and 61 steps.

    Args:
        inputs: Float `(batch, steps, features + 1)`, standardised, zero where there is no step.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`.

    Returns:
        `{"tokens": (batch, steps, units), "mask": (batch, steps), "embedding": (batch, units)}`.

    Reference:
        Bai et al. 2018, arXiv:1803.01271, section 3.3 (dilation 2 ** i, residual blocks). Differs: steps see both ways;
        batches are normalised, not weights, over real steps only.
    """
    units, mask = UNITS[encoder.size], TokenMask()(inputs)
    x = ApplyMask()([layers.Dense(units)(StepFeatures()(inputs)), mask])
    for block in range(BLOCKS[encoder.size]):
        wide = {"padding": "same", "dilation_rate": 2**block, "use_bias": False}
        # Not `LayerNormalization`: an int8 would spend its range on the inverse deviation of padding, which is zero.
        y = BatchNormalization()(layers.Conv1D(units, 3, **wide)(x), mask=StepMask()(mask))
        y = ApplyMask()([layers.Dropout(encoder.dropout)(layers.Activation("relu")(y)), mask])
        y = BatchNormalization()(layers.Conv1D(units, 3, **wide)(y), mask=StepMask()(mask))
        x = ApplyMask()([layers.Activation("relu")(layers.Add()([x, y])), mask])
        state = yield {"features": x, "mask": mask}
        mask = state["mask"]
        x = ApplyMask()([state["features"], mask])
    return pool_tokens(x, mask, units, encoder.dropout)


def build_series_gru(inputs, encoder, tensor, unroll=False):
    """A bidirectional GRU; its states are its one depth.

    Args:
        inputs: As in `build_series_conv`.
        encoder: As in `build_series_conv`.
        tensor: As in `build_series_conv`.
        unroll: Writes the loop out, which full-int8 conversion needs; the weights are the same.

    Returns:
        As `build_series_conv`.

    Reference:
        Cho et al. 2014, arXiv:1406.1078, section 2.3. Differs: `reset_after`, as in Keras.
    """
    units, mask = UNITS[encoder.size], TokenMask()(inputs)
    x = both_directions(layers.GRU, StepFeatures()(inputs), mask, units, unroll)
    return (yield from pool_depth(x, mask, units, encoder.dropout))


build_series_gru.options = ("unroll",)


def build_series_transformer(inputs, encoder, tensor):
    """A transformer over the steps, with learned positions.

    Blocks: `tiny` 1, `small` 2, `base` 4; heads of 16 units. Every block is a depth.

    Args:
        inputs: As in `build_series_conv`.
        encoder: As in `build_series_conv`.
        tensor: As in `build_series_conv`.

    Returns:
        As `build_series_conv`.

    Reference:
        Zerveas et al. 2021, arXiv:2010.02803, section 3.1. Differs: layers are normalised, not batches, and before
        each sub-layer (arXiv:2002.04745).
    """
    units, mask = UNITS[encoder.size], TokenMask()(inputs)
    x = TimeEmbedding(tensor.shape[0])(layers.Dense(units)(StepFeatures()(inputs)))
    x = layers.Dropout(encoder.dropout)(x)
    x, mask = yield from transformer(x, mask, encoder)
    return pool_tokens(x, mask, units, encoder.dropout)
