"""Any Keras layer that joins a list of tensors, as a fusion."""

import keras
from keras import layers

from mm_keras.errors import RecipeError


@keras.saving.register_keras_serializable("mm_keras")
class PlainFusion(layers.Layer):
    """Calls a layer on the list of embeddings, in the order of their inputs' names.

    Args:
        layer: A Keras layer that takes a list of `(batch, channels)` and gives `(batch, units)`: `keras.layers.Add()`,
            or one's own.
        weights: Initial weights of the layer, a list of arrays; not part of the configuration. Defaults to `None`.

    Input shape:
        `{input: (batch, channels)}` and, unused, `{input: (batch, 1)}`.

    Output shape:
        What the layer gives.

    Raises:
        RecipeError: In `build`, when the layer does not take the embeddings, or gives another rank.

    Example:
        >>> import numpy as np
        >>> fusion = PlainFusion(layers.Multiply())
        >>> np.asarray(fusion({"b": np.array([[2.0, 3.0]]), "a": np.array([[5.0, 7.0]])})).tolist()
        [[10.0, 21.0]]
    """

    level = "embeddings"

    def __init__(self, layer, weights=None, **kwargs):
        super().__init__(**kwargs)
        self.layer, self._initial = layer, weights

    def build(self, embeddings_shape, present_shape=None):
        shapes = [embeddings_shape[name] for name in sorted(embeddings_shape)]
        try:
            joint = self.layer([keras.KerasTensor(shape, dtype=self.compute_dtype) for shape in shapes])
        except (TypeError, ValueError) as error:
            raise RecipeError(f"fusion {self.layer.name!r} does not take embeddings {shapes}: {error}") from None
        if len(getattr(joint, "shape", ())) != 2:
            given = getattr(joint, "shape", type(joint).__name__)
            raise RecipeError(f"fusion {self.layer.name!r} must give (batch, units). Received: {given}")
        if self._initial:
            self.layer.set_weights(self._initial)

    def call(self, embeddings, present=None):
        return self.layer([embeddings[name] for name in sorted(embeddings)])

    def get_config(self):
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})
