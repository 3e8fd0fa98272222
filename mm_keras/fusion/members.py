"""What models need that are made of several models."""

import keras
from keras import layers


@keras.saving.register_keras_serializable("mm_keras")
class Beside(layers.Layer):
    """Passes its first argument on as it is, and keeps the second in the graph, where `Model.get_layer` finds it.

    Keras drops what no output depends on: the embeddings of nested models, which other models read, say.

    Input shape:
        Any structure of tensors, and any other.
    Output shape:
        The first structure.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs, autocast=False)

    def call(self, kept, beside):
        return kept

    def compute_output_spec(self, kept, beside):
        return keras.tree.map_structure(lambda t: keras.KerasTensor(t.shape, dtype=t.dtype), kept)
