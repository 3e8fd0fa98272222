"""Pictures by convolutions in the manner of transformers."""

import keras
from keras import layers, ops

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import FullMask, pool_tokens
from mm_keras.encoders.residual import WIDTHS
from mm_keras.encoders.transformer import EPSILON

# Blocks of each stage of `WIDTHS`, most in the last but one, or the last of few.
BLOCKS = {"tiny": (1, 1), "small": (1, 1, 3), "base": (1, 1, 3, 1)}


@keras.saving.register_keras_serializable("mm_keras")
class LayerScale(layers.Layer):
    """Multiplies each channel by a learned factor, small at first, so that a new block is nearly the identity.

    Args:
        initial: The factors before training. Defaults to `0.1`.

    Input shape:
        `(batch, ..., channels)`.

    Output shape:
        The same.

    Reference:
        Touvron et al. 2021, arXiv:2103.17239, section 2.1: 0.1 for up to 18 blocks.
    """

    def __init__(self, initial=0.1, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape):
        start = keras.initializers.Constant(self.initial)
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer=start, name="scale")

    def call(self, x):
        return x * ops.cast(self.scale, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}


def convnext_block(x):
    """A depthwise 7x7 convolution, then a network four times as wide on each position; scaled, and added.

    Args:
        x: `(batch, height, width, channels)`.

    Reference:
        Liu et al. 2022, arXiv:2201.03545, sections 2.4 to 2.6 and figure 4. Differs: no stochastic depth; the layer
        scale begins at 0.1 (`LayerScale`), not at 1e-6, which few epochs would not lift; normalisation has a larger
        epsilon (`transformer.EPSILON`).
    """
    width = x.shape[-1]
    y = layers.DepthwiseConv2D(7, padding="same")(x)
    y = layers.LayerNormalization(epsilon=EPSILON)(y)
    y = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(y))
    return layers.Add()([x, LayerScale()(y)])


def build_image_convnext(inputs, encoder, tensor):
    """A ConvNeXt; each position of the last feature map is a token.

    Stages: `tiny` 16, 32; `small` 32, 64, 128; `base` 64, 128, 256, 256 channels; of 1, 1 / 1, 1, 3 / 1, 1, 3, 1
    blocks. The stem cuts patches of 4 pixels, of 2 when the shorter side has less than 64, of 1 under 16; each stage
    but the first halves the map while its shorter side has at least 8 positions. Every stage is a depth.

    Args:
        inputs: Float `(batch, height, width, channels)` in [0, 1].
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`.

    Returns:
        `{"tokens": (batch, h * w, channels), "mask": ones, "embedding": (batch, units)}`.

    Reference:
        Liu et al. 2022, arXiv:2201.03545, section 2. Differs: fewer blocks and channels, a finer stem for small
        pictures, and a hidden layer between pooling and head.
    """
    shorter = min(tensor.shape[:2])
    step = 4 if shorter >= 64 else 2 if shorter >= 16 else 1
    x = inputs
    for stage, (width, blocks) in enumerate(zip(WIDTHS[encoder.size], BLOCKS[encoder.size], strict=True)):
        if stage == 0:
            x = layers.Conv2D(width, step, strides=step, padding="same")(x)
            x = layers.LayerNormalization(epsilon=EPSILON)(x)
        else:
            step = 2 if min(x.shape[1:3]) >= 8 else 1
            x = layers.LayerNormalization(epsilon=EPSILON)(x)
            x = layers.Conv2D(width, step, strides=step, padding="same")(x)
        for _ in range(blocks):
            x = convnext_block(x)
        x = (yield {"features": x})["features"]
    x = layers.LayerNormalization(epsilon=EPSILON)(x)
    tokens = layers.Reshape((x.shape[1] * x.shape[2], x.shape[3]))(x)
    return pool_tokens(tokens, FullMask()(tokens), UNITS[encoder.size], encoder.dropout)
