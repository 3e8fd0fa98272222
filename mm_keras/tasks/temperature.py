"""What makes the probabilities of a finished classifier honest: one number for each task."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("mm_keras")
class Temperature(layers.Layer):
    """Divides logits by a temperature, which is fitted when the training is over.

    Above 1 it makes a model less sure, below 1 surer; the order of the classes never changes. No gradient reaches it:
    it is 1 until `calibrate` sets it. It is part of the model, so whatever is made of the model is calibrated too.

    Attributes:
        temperature: The weight, a float32 scalar.

    Input shape:
        Float tensor `(batch, classes)`, logits.

    Output shape:
        The same, float32.

    Example:
        >>> import numpy as np
        >>> layer = Temperature()
        >>> layer.build((None, 2))
        >>> layer.set_weights([np.float32(2.0)])
        >>> layer(np.array([[4.0, -2.0]])).numpy().tolist()
        [[2.0, -1.0]]

    Reference:
        Guo et al. 2017, arXiv:1706.04599, section 4.2 (temperature scaling).
    """

    def __init__(self, **kwargs):
        # In float32 whatever the policy, as the logits.
        super().__init__(**{**kwargs, "dtype": "float32"})

    def build(self, input_shape):
        self.temperature = self.add_weight(shape=(), initializer="ones", trainable=False, name="temperature")

    def call(self, inputs):
        # A product: converters fold it into the layer before, and int8 has no division.
        return inputs * ops.reciprocal(self.temperature)

    def compute_output_shape(self, input_shape):
        return input_shape
