"""The residual convolution block that pictures and spectrograms share."""

from keras import layers

from mm_keras.encoders.normalizing import BatchNormalization

WIDTHS = {"tiny": (16, 32), "small": (32, 64, 128), "base": (64, 128, 256, 256)}


def residual_block(x, width, keep=lambda x: x):
    """Two 3x3 convolutions and a shortcut.

    Args:
        x: `(batch, height, width, channels)`.
        width: Channels out.
        keep: Applied after each activation; zeroes padding, so that it cannot leak through the next kernel.
    Reference:
        He et al. 2016, arXiv:1512.03385, section 3.2. Differs: stages shrink by pooling, not by strides, so that
        padding at the end does not shift the grid.
    """
    shortcut = widened(x, width)
    y = BatchNormalization()(layers.Conv2D(width, 3, padding="same", use_bias=False)(x))
    y = keep(layers.Activation("relu")(y))
    y = BatchNormalization()(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
    return keep(layers.Activation("relu")(layers.Add()([shortcut, y])))


def widened(x, width):
    """Returns the shortcut of a block: what came in, by a linear map where it has not `width` channels."""
    if x.shape[-1] == width:
        return x
    return BatchNormalization()(layers.Conv2D(width, 1, use_bias=False)(x))
