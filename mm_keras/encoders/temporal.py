"""What encoders of steps in time share."""

from keras import layers

from mm_keras.encoders.masking import ApplyMask, MaskedPooling
from mm_keras.encoders.text import ReverseSteps, StepMask


def gru_states(x, mask, units, unroll):
    """The states of a bidirectional GRU, as in `text.build_text_gru`.

    Args:
        x: `(batch, steps, channels)`.
        mask: `(batch, steps)`.
        units: Of both directions together.
        unroll: Writes the loop out, which full-int8 conversion needs; the weights are the same.

    Returns:
        `(batch, steps, units)`, zero outside the mask.
    """
    cell = {"units": units // 2, "return_sequences": True, "use_cudnn": False, "unroll": unroll}
    forward = layers.GRU(**cell)(x, mask=StepMask()(mask))
    backward = ReverseSteps()(layers.GRU(**cell, go_backwards=True)(x, mask=StepMask()(mask)))
    return layers.Concatenate()([ApplyMask()([forward, mask]), ApplyMask()([backward, mask])])


def pool_steps(tokens, mask, units, dropout):
    """Returns what a builder returns: the tokens, masked, and the embedding of their mean and maximum."""
    tokens = ApplyMask()([tokens, mask])
    pooled = layers.Dense(units, activation="relu")(MaskedPooling()([tokens, mask]))
    return {"tokens": tokens, "mask": mask, "embedding": layers.Dropout(dropout)(pooled)}
