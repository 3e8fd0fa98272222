"""Where in time a step stands."""

import keras
import numpy as np
from keras import layers, ops


@keras.saving.register_keras_serializable("mm_keras")
class TimeEmbedding(layers.Layer):
    """Adds a learned vector for each step, which begins as sines and cosines of the time.

    Wavelengths run from 4 steps to 4 times all steps: the longest tell early from late, and neighbours begin alike,
    which a few hundred rows do not teach vectors that begin at random.

    Args:
        steps: How many steps there are. Defaults to `None`: as many as the input has.
    Input shape:
        `(batch, steps, units)`, or fewer steps, which are the first ones.
    Output shape:
        The same.
    Reference:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.5. Differs: other wavelengths; learned further.
    """

    def __init__(self, steps=None, **kwargs):
        super().__init__(**kwargs)
        self.steps = steps

    def build(self, input_shape):
        shape = (self.steps or input_shape[1], input_shape[2])
        self.times = self.add_weight(shape=shape, initializer=_sinusoids, name="times")

    def call(self, x):
        return x + ops.cast(self.times, x.dtype)[: ops.shape(x)[1]]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "steps": self.steps}


def _sinusoids(shape, dtype=None):
    steps, units = shape
    waves = 4.0 * float(steps) ** np.linspace(0.0, 1.0, -(-units // 2))
    angles = 2 * np.pi * np.arange(steps)[:, None] / waves
    return ops.convert_to_tensor(np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[:, :units], dtype)
