"""Token ids -> vectors, learned here or elsewhere."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("mm_keras")
class PieceVectors(layers.Embedding):
    """An embedding whose last ids have vectors learned elsewhere, a table of its own beside that of the others.

    So the vectors may stay as they are while the pieces that have none are trained.

    Args:
        input_dim: How many ids have no such vector.
        output_dim: Size of a vector.
        words: How many ids after these have one.
        train_vectors: Whether those are trained on. Defaults to `False`.
    Input shape:
        Int `(batch, steps)`.
    Output shape:
        `(batch, steps, output_dim)`.
    """

    def __init__(self, input_dim, output_dim, words, train_vectors=False, **kwargs):
        super().__init__(input_dim, output_dim, **kwargs)
        self.words, self.train_vectors = words, train_vectors

    def build(self, input_shape=None):
        super().build(input_shape)
        shape = (self.words, self.output_dim)
        self.vectors = self.add_weight(shape=shape, initializer="zeros", trainable=self.train_vectors, name="vectors")

    def call(self, ids):
        pieces = ops.take(self.embeddings, ops.minimum(ids, self.input_dim - 1), axis=0)
        words = ops.take(self.vectors, ops.maximum(ids - self.input_dim, 0), axis=0)
        is_piece = ops.expand_dims(ops.less(ids, self.input_dim), -1)
        return ops.cast(ops.where(is_piece, pieces, words), self.compute_dtype)

    # The ways of `Embedding` store its own table alone.
    save_own_variables = layers.Layer.save_own_variables
    load_own_variables = layers.Layer.load_own_variables

    def get_config(self):
        return {**super().get_config(), "words": self.words, "train_vectors": self.train_vectors}


def embed_pieces(ids, tensor, units):
    """Returns a vector for each id, `(batch, length, units)`; vectors learned elsewhere pass a dense layer.

    Args:
        ids: Int32 `(batch, length)`.
        tensor: `TensorInfo` of the ids.
        units: Size of the result.
    """
    if not tensor.vector_size:
        return layers.Embedding(tensor.vocabulary_size, units)(ids)
    pieces = tensor.vocabulary_size - tensor.vectors
    x = PieceVectors(pieces, tensor.vector_size, tensor.vectors, tensor.train_vectors)(ids)
    return layers.Dense(units, use_bias=False)(x)
