"""Moving pictures."""

from keras import layers

from mm_keras.encoders import UNITS
from mm_keras.encoders.folding import FoldSteps, UnfoldSteps, encode_steps
from mm_keras.encoders.image import build_image_cnn
from mm_keras.encoders.masking import ApplyMask, TokenMask, pool_tokens
from mm_keras.encoders.normalizing import BatchNormalization
from mm_keras.encoders.pooling import AttentionPooling
from mm_keras.encoders.recurrent import both_directions
from mm_keras.encoders.residual import WIDTHS, widened
from mm_keras.encoders.temporal import TimeEmbedding


def build_video_frames(inputs, encoder, tensor, unroll=False):
    """The image CNN on every frame, then over time what the option `pool` names; the depths are those of the CNN.

    `"gru"` (the default) runs a bidirectional GRU over the frames' embeddings; `"attention"` adds learned positions to
    them and pools by attention; `"mean"` takes their mean and maximum, and is blind to their order.

    Args:
        inputs: Float `(batch, frames, height, width, channels)` in [0, 1]; a frame of zeros is padding.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`.
        unroll: Writes the loop of a GRU out, which full-int8 conversion needs; the weights are the same.

    Returns:
        `{"tokens": (batch, frames, units), "mask": (batch, frames), "embedding": (batch, units)}`.

    Reference:
        Donahue et al. 2015, arXiv:1411.4389, section 3 (a CNN, then a recurrent net over frames). Differs: a GRU, both
        ways. Attention: Ilse et al. 2018, arXiv:1802.04712, section 2.4. Differs: positions, and a layer before it.
    """
    pool, units = encoder.options["pool"], UNITS[encoder.size]
    x, mask = yield from encode_steps(build_image_cnn, inputs, encoder, tensor, {})
    if pool == "attention":
        # The layer after the positions lets a frame mean something else early than late; a weighed mean alone cannot.
        tokens = ApplyMask()([layers.Dense(units, activation="relu")(TimeEmbedding()(x)), mask])
        embedding = layers.Dropout(encoder.dropout)(AttentionPooling(units)([tokens, mask]))
        return {"tokens": tokens, "mask": mask, "embedding": embedding}
    if pool == "gru":
        x = both_directions(layers.GRU, x, mask, units, unroll)
    return pool_tokens(x, mask, units, encoder.dropout)


build_video_frames.options = ("unroll",)


def build_video_conv2plus1d(inputs, encoder, tensor):
    """Residual (2+1)D convolutions: each in space, then in time; every remaining frame is a token.

    Stages: `tiny` 16, 32; `small` 32, 64, 128; `base` 64, 128, 256, 256 channels; each but the first halves the
    pictures while their shorter side has at least 8 pixels. Every stage is a depth. Padded frames are zeroed before
    every step in time. Both convolutions are two-dimensional on reshaped tensors, which LiteRT has as a built-in.

    Args:
        inputs: Float `(batch, frames, height, width, channels)` in [0, 1]; a frame of zeros is padding.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`.

    Returns:
        `{"tokens": (batch, frames, units), "mask": (batch, frames), "embedding": (batch, units)}`.

    Reference:
        Tran et al. 2018, arXiv:1711.11248, section 3.5. Differs: time is not halved, so that every frame keeps a token;
        stages shrink by pooling.
    """
    widths, units, steps = WIDTHS[encoder.size], UNITS[encoder.size], tensor.shape[0]
    mask = TokenMask()(inputs)
    x = FoldSteps()(inputs)  # (batch * frames, height, width, channels)
    if min(x.shape[1:3]) >= 32:
        x = layers.MaxPooling2D(2, padding="same")(x)
    x = _in_space_and_time(x, widths[0], steps, mask)
    for stage, width in enumerate(widths):
        if stage and min(x.shape[1:3]) >= 8:
            x = layers.MaxPooling2D(2, padding="same")(x)
        x = _block(x, width, steps, mask)
        shape = x.shape[1:]
        state = yield {"features": UnfoldSteps(steps)(layers.Reshape((-1, width))(x)), "mask": mask}
        mask = state["mask"]
        x = layers.Reshape(shape)(FoldSteps()(state["features"]))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    x = layers.Dense(units, activation="relu")(UnfoldSteps(steps)(x))
    return pool_tokens(x, mask, units, encoder.dropout)


def _block(x, width, steps, mask):
    shortcut = widened(x, width)
    y = _in_space_and_time(x, width, steps, mask)
    y = _in_space_and_time(y, width, steps, mask, activation=None)
    return layers.Activation("relu")(layers.Add()([shortcut, y]))


def _in_space_and_time(x, width, steps, mask, activation="relu"):
    """A 3 x 3 convolution of each frame, then one over 3 frames at each place.

    Between them are as many channels as give the two the weights of one 3 x 3 x 3 convolution.
    """
    height, wide, channels = x.shape[1:]
    middle = 27 * channels * width // (9 * channels + 3 * width)
    x = layers.Conv2D(middle, 3, padding="same", use_bias=False)(x)
    x = layers.Activation("relu")(BatchNormalization()(x))
    x = UnfoldSteps(steps)(layers.Reshape((height * wide, middle))(x))  # (batch, frames, places, channels)
    x = layers.Conv2D(width, (3, 1), padding="same", use_bias=False)(ApplyMask()([x, mask]))
    x = layers.Reshape((height, wide, width))(FoldSteps()(x))
    x = BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x
