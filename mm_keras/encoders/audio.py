"""Log-mel spectrograms. Frames of silence are padding: they are masked, and cannot change the others."""

from keras import layers

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import ApplyMask, TokenMask, pool_depth, pool_tokens
from mm_keras.encoders.normalizing import BatchNormalization
from mm_keras.encoders.patches import embed_patches
from mm_keras.encoders.recurrent import both_directions
from mm_keras.encoders.residual import WIDTHS, residual_block
from mm_keras.encoders.transformer import PositionEmbedding, transformer


def build_audio_cnn(inputs, encoder, tensor):
    """A residual CNN over frames and mel bands; each remaining frame is a token.

    Frames of silence are zeroed after every layer. Every halving is a depth.

    Args:
        inputs: Float `(batch, frames, mels)`; zero is silence.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`.

    Returns:
        `{"tokens": (batch, frames', units), "mask": (batch, frames'), "embedding": (batch, units)}`.
    """
    units = UNITS[encoder.size]
    tokens, mask = yield from _convolutions(inputs, encoder, tensor)
    return pool_tokens(tokens, mask, units, encoder.dropout)


def build_audio_conv_gru(inputs, encoder, tensor, unroll=False):
    """The CNN's convolutions, then a bidirectional GRU over the remaining frames, whose states are the tokens.

    Every halving is a depth, and so are the states.

    Args:
        inputs: As in `build_audio_cnn`.
        encoder: As in `build_audio_cnn`.
        tensor: As in `build_audio_cnn`.
        unroll: Writes the loop out, which full-int8 conversion needs; the weights are the same.

    Returns:
        As `build_audio_cnn`.

    Reference:
        Choi et al. 2017, arXiv:1609.04243, section 2.4 (convolutions as features of a recurrent network). Differs:
        residual blocks, one layer of GRU in both directions, and all its states are pooled.
    """
    units = UNITS[encoder.size]
    x, mask = yield from _convolutions(inputs, encoder, tensor)
    x = both_directions(layers.GRU, x, mask, units, unroll)
    return (yield from pool_depth(x, mask, units, encoder.dropout))


build_audio_conv_gru.options = ("unroll",)


def build_audio_transformer(inputs, encoder, tensor):
    """A transformer over patches of the spectrogram, each a token with a learned position.

    Blocks: `tiny` 1, `small` 2, `base` 4; heads of 16 units. Every block is a depth. The options `patch_frames` and
    `patch_bands` are the sides of a patch, cut to the spectrogram's own: with as many bands as it has, or more, each
    token is a stretch of time. Patches without sound are masked out.

    Args:
        inputs: As in `build_audio_cnn`.
        encoder: As in `build_audio_cnn`.
        tensor: As in `build_audio_cnn`.

    Returns:
        `{"tokens": (batch, patches, units), "mask": (batch, patches), "embedding": (batch, units)}`; patches in the
        order of time, those of one time from the lowest band up.

    Reference:
        Gong et al. 2021, arXiv:2104.01778, section 2.1. Differs: patches do not overlap, silence is masked out, and
        all patches are pooled in place of a class token; weights are not taken from pictures.
    """
    units, (frames, bands) = UNITS[encoder.size], tensor.shape
    size = min(encoder.options["patch_frames"], frames), min(encoder.options["patch_bands"], bands)
    x, grid = embed_patches(layers.Reshape((frames, bands, 1))(inputs), size, units)
    mask = _patch_mask(inputs, size[0], grid)
    x = layers.Dropout(encoder.dropout)(PositionEmbedding()(x))
    x, mask = yield from transformer(x, mask, encoder)
    return pool_tokens(x, mask, units, encoder.dropout)


def _patch_mask(inputs, frames, grid):
    """Returns `(batch, patches)`: 1 where a stretch of frames holds any sound, in whichever band."""
    x, end = inputs, grid[0] * frames - inputs.shape[1]
    if end:
        x = layers.ZeroPadding1D((0, end))(x)
    mask = TokenMask()(layers.Reshape((grid[0], frames * inputs.shape[2]))(x))
    if grid[1] > 1:
        mask = layers.UpSampling1D(grid[1])(layers.Reshape((grid[0], 1))(mask))
        mask = layers.Reshape((grid[0] * grid[1],))(mask)
    return mask


def _convolutions(inputs, encoder, tensor):
    """Yields every halving; returns `(batch, frames', units)` and its mask."""
    widths = WIDTHS[encoder.size]
    mask = TokenMask()(inputs)
    x = layers.Reshape((*tensor.shape, 1))(inputs)
    x = BatchNormalization()(layers.Conv2D(widths[0], 3, padding="same", use_bias=False)(x))
    x = ApplyMask()([layers.Activation("relu")(x), mask])
    for width in widths:
        x = layers.MaxPooling2D(2, padding="same")(x)
        mask = _pooled_mask(mask)
        x = residual_block(x, width, lambda y, m=mask: ApplyMask()([y, m]))
        state = yield {"features": x, "mask": mask}
        mask = state["mask"]
        x = ApplyMask()([state["features"], mask])
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x)
    # Normalised before the activation: without it, some trainings switch every unit off in the first epoch, for good.
    x = BatchNormalization()(layers.Dense(UNITS[encoder.size], use_bias=False)(x))
    return layers.Activation("relu")(x), mask


def _pooled_mask(mask):
    steps = layers.Reshape((mask.shape[1], 1))(mask)
    steps = layers.MaxPooling1D(2, padding="same")(steps)
    return layers.Reshape((steps.shape[1],))(steps)
