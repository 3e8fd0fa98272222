"""Log-mel spectrograms."""

from keras import layers

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import ApplyMask, MaskedPooling, TokenMask
from mm_keras.encoders.residual import WIDTHS, residual_block


def build_audio_cnn(inputs, encoder, tensor):
    """A residual CNN over frames and mel bands; each remaining frame is a token.

    Frames of silence are padding: they are zeroed after every layer, so that they cannot change the others.
    Every halving is a depth.

    Args:
        inputs: Float `(batch, frames, mels)`; zero is silence.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`.

    Returns:
        `{"tokens": (batch, frames', units), "mask": (batch, frames'), "embedding": (batch, units)}`.
    """
    widths, units = WIDTHS[encoder.size], UNITS[encoder.size]
    mask = TokenMask()(inputs)
    x = layers.Reshape((*tensor.shape, 1))(inputs)
    x = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(widths[0], 3, padding="same", use_bias=False)(x))
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
    x = layers.BatchNormalization(momentum=0.9)(layers.Dense(units, use_bias=False)(x))
    tokens = ApplyMask()([layers.Activation("relu")(x), mask])
    pooled = layers.Dense(units, activation="relu")(MaskedPooling()([tokens, mask]))
    return {"tokens": tokens, "mask": mask, "embedding": layers.Dropout(encoder.dropout)(pooled)}


def _pooled_mask(mask):
    steps = layers.Reshape((mask.shape[1], 1))(mask)
    steps = layers.MaxPooling1D(2, padding="same")(steps)
    return layers.Reshape((steps.shape[1],))(steps)
