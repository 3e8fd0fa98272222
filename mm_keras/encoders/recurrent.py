"""Recurrent layers in both directions over masked steps, for texts and sounds."""

import keras
from keras import layers, ops

from mm_keras.encoders.masking import ApplyMask, EndsMask


@keras.saving.register_keras_serializable("mm_keras")
class StepMask(layers.Layer):
    """Turns a mask of steps into the mask that recurrent layers take: bool `(batch, steps)`."""

    def call(self, mask):
        return ops.greater(mask, 0.5)

    def compute_output_spec(self, mask):
        return keras.KerasTensor(mask.shape, dtype="bool")


@keras.saving.register_keras_serializable("mm_keras")
class ReverseSteps(EndsMask):
    """Turns the steps around.

    Input shape:
        `(batch, steps, units)`.

    Output shape:
        The same.
    """

    def call(self, x):
        return ops.flip(x, axis=1)

    def compute_output_shape(self, input_shape):
        return input_shape


def both_directions(layer, x, mask, units, unroll):
    """A recurrent layer forwards and another backwards, side by side; half of the units each.

    Args:
        layer: `keras.layers.GRU` or `keras.layers.LSTM`.
        x: `(batch, steps, channels)`.
        mask: `(batch, steps)`; a step that it drops leaves the state as it is, and gives zeros.
        units: Channels out.
        unroll: Writes the loop out, which full-int8 conversion needs; the weights are the same.

    Returns:
        `(batch, steps, units)`.
    """
    # CuDNN's kernel would be baked into an export traced where a GPU is seen; it refuses such masks anyway.
    cell = {"units": units // 2, "return_sequences": True, "use_cudnn": False, "unroll": unroll}
    # Not `Bidirectional`: unrolled, it zeroes the wrong steps of its backward half. Each direction is masked before the
    # join: int8 conversion would force the scale of the joined tensor on the reversed one without converting it.
    forward = layer(**cell)(x, mask=StepMask()(mask))
    backward = ReverseSteps()(layer(**cell, go_backwards=True)(x, mask=StepMask()(mask)))
    return layers.Concatenate()([ApplyMask()([forward, mask]), ApplyMask()([backward, mask])])
