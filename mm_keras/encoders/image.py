"""Pictures."""

from keras import layers

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import FullMask, MaskedPooling
from mm_keras.encoders.normalizing import BatchNormalization
from mm_keras.encoders.residual import WIDTHS, residual_block


def build_image_cnn(inputs, encoder, tensor):
    """A residual CNN; each position of the last feature map is a token.

    Stages: `tiny` 16, 32; `small` 32, 64, 128; `base` 64, 128, 256, 256 channels; each but the first halves the
    picture while its shorter side has at least 8 pixels. The stem halves pictures of 32 pixels and more once more.
    Every stage is a depth.

    Args:
        inputs: Float `(batch, height, width, channels)` in [0, 1].
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`.

    Returns:
        `{"tokens": (batch, h * w, channels), "mask": ones, "embedding": (batch, units)}`.
    """
    widths = WIDTHS[encoder.size]
    x = layers.Conv2D(widths[0], 3, padding="same", use_bias=False)(inputs)
    x = layers.Activation("relu")(BatchNormalization()(x))
    if min(tensor.shape[:2]) >= 32:
        x = layers.MaxPooling2D(2, padding="same")(x)
    for stage, width in enumerate(widths):
        if stage and min(x.shape[1:3]) >= 8:
            x = layers.MaxPooling2D(2, padding="same")(x)
        x = (yield {"features": residual_block(x, width)})["features"]
    return pool_map(x, UNITS[encoder.size], encoder.dropout)


def pool_map(x, units, dropout):
    """Makes each position of a feature map a token, pools them, and returns what an encoder returns.

    Args:
        x: `(batch, height, width, channels)`.
        units: Size of the embedding.
        dropout: Fraction of it zeroed in training.
    """
    tokens = layers.Reshape((x.shape[1] * x.shape[2], x.shape[3]))(x)
    mask = FullMask()(tokens)
    pooled = MaskedPooling()([tokens, mask])
    embedding = layers.Dropout(dropout)(layers.Dense(units, activation="relu")(pooled))
    return {"tokens": tokens, "mask": mask, "embedding": embedding}
