"""WordPiece ids."""

import keras
from keras import layers, ops

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import ApplyMask, MaskedPooling, TokenMask

DEPTH = {"tiny": 1, "small": 2, "base": 4}


@keras.saving.register_keras_serializable("mm_keras")
class PositionEmbedding(layers.Layer):
    """Adds a learned vector for each place.

    Input shape:
        `(batch, steps, units)`; `steps` is fixed.
    Output shape:
        The same.
    """

    def build(self, input_shape):
        small = keras.initializers.RandomNormal(stddev=0.02)
        self.positions = self.add_weight(shape=input_shape[1:], initializer=small, name="positions")

    def call(self, x):
        return x + ops.cast(self.positions, x.dtype)[: x.shape[1]]

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("mm_keras")
class PairMask(layers.Layer):
    """Turns a mask of steps into the attention mask of Keras: bool `(batch, 1, steps)`, `True` attends."""

    def call(self, mask):
        return ops.expand_dims(ops.greater(mask, 0.5), 1)

    def compute_output_spec(self, mask):
        return keras.KerasTensor((mask.shape[0], 1, mask.shape[1]), dtype="bool")


@keras.saving.register_keras_serializable("mm_keras")
class StepMask(layers.Layer):
    """Turns a mask of steps into the mask that recurrent layers take: bool `(batch, steps)`."""

    def call(self, mask):
        return ops.greater(mask, 0.5)

    def compute_output_spec(self, mask):
        return keras.KerasTensor(mask.shape, dtype="bool")


@keras.saving.register_keras_serializable("mm_keras")
class ReverseSteps(layers.Layer):
    """Turns the steps around.

    Input shape:
        `(batch, steps, units)`.

    Output shape:
        The same.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True  # takes the mask that recurrent layers attach, and ends it here

    def compute_mask(self, inputs, previous_mask):
        return None

    def call(self, x):
        return ops.flip(x, axis=1)

    def compute_output_shape(self, input_shape):
        return input_shape


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
        self.vectors = self.add_weight(
            shape=shape, initializer="zeros", trainable=self.train_vectors, name="vectors"
        )

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


def transformer_block(x, attention_mask, num_heads, dropout):
    """A pre-normalised transformer block: self-attention, then a network four times as wide.

    Reference:
        Xiong et al. 2020, arXiv:2002.04745, section 3.2 (normalisation first).
    """
    units = x.shape[-1]
    y = layers.LayerNormalization(epsilon=1e-5)(x)
    y = layers.MultiHeadAttention(num_heads, units // num_heads, dropout=dropout)(y, y, attention_mask=attention_mask)
    x = layers.Add()([x, layers.Dropout(dropout)(y)])
    y = layers.LayerNormalization(epsilon=1e-5)(x)
    y = layers.Dense(units)(layers.Dense(4 * units, activation="gelu")(y))
    return layers.Add()([x, layers.Dropout(dropout)(y)])


def build_text_transformer(inputs, encoder, tensor):
    """A transformer over WordPieces.

    Blocks: `tiny` 1, `small` 2, `base` 4; heads of 16 units. Every block is a depth.

    Args:
        inputs: Int32 ids `(batch, length)`; 0 pads.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`, with the size of the vocabulary.

    Returns:
        `{"tokens": (batch, length, units), "mask": (batch, length), "embedding": (batch, units)}`.
    """
    units = UNITS[encoder.size]
    mask = TokenMask()(inputs)
    x = PositionEmbedding()(embed_pieces(inputs, tensor, units))
    x = layers.Dropout(encoder.dropout)(x)
    for _ in range(DEPTH[encoder.size]):
        x = transformer_block(x, PairMask()(mask), units // 16, encoder.dropout)
        state = yield {"features": x, "mask": mask}
        x, mask = state["features"], state["mask"]
    return _pooled(layers.LayerNormalization(epsilon=1e-5)(x), mask, units, encoder.dropout)


def build_text_gru(inputs, encoder, tensor, unroll=False):
    """A bidirectional GRU over WordPieces; its states are its one depth.

    Args:
        inputs: As in `build_text_transformer`.
        encoder: As in `build_text_transformer`.
        tensor: As in `build_text_transformer`.
        unroll: Writes the loop out, which full-int8 conversion needs; the weights are the same.

    Returns:
        As `build_text_transformer`.

    Reference:
        Cho et al. 2014, arXiv:1406.1078, section 2.3. Differs: `reset_after`, as in Keras.
    """
    units = UNITS[encoder.size]
    mask = TokenMask()(inputs)
    x = layers.Dropout(encoder.dropout)(embed_pieces(inputs, tensor, units))
    # CuDNN's kernel would be baked into an export traced where a GPU is seen; it refuses such masks anyway.
    cell = {"units": units // 2, "return_sequences": True, "use_cudnn": False, "unroll": unroll}
    # Not `Bidirectional`: unrolled, it zeroes the wrong steps of its backward half. Each direction is masked before the
    # join: int8 conversion would force the scale of the joined tensor on the reversed one without converting it.
    forward = layers.GRU(**cell)(x, mask=StepMask()(mask))
    backward = ReverseSteps()(layers.GRU(**cell, go_backwards=True)(x, mask=StepMask()(mask)))
    x = layers.Concatenate()([ApplyMask()([forward, mask]), ApplyMask()([backward, mask])])
    state = yield {"features": x, "mask": mask}
    x, mask = state["features"], state["mask"]
    return _pooled(x, mask, units, encoder.dropout)


build_text_gru.options = ("unroll",)


def build_text_cnn(inputs, encoder, tensor):
    """Convolutions over 1, 2, 3 and 4 WordPieces, side by side; quick, and strong on short texts and few rows.

    Their result is its one depth.

    Args:
        inputs: As in `build_text_transformer`.
        encoder: As in `build_text_transformer`.
        tensor: As in `build_text_transformer`.

    Returns:
        As `build_text_transformer`.

    Reference:
        Kim 2014, arXiv:1408.5882, section 2. Differs: single pieces are a width too, and the mean is pooled beside
        the maximum.
    """
    units = UNITS[encoder.size]
    mask = TokenMask()(inputs)
    x = embed_pieces(inputs, tensor, units)
    # Whole pieces are dropped, not single values (Iyyer et al. 2015, Deep Unordered Composition, section 3.1).
    x = ApplyMask()([layers.Dropout(encoder.dropout, noise_shape=(None, None, 1))(x), mask])
    widths = [layers.Conv1D(units, width, padding="same", activation="relu")(x) for width in (1, 2, 3, 4)]
    state = yield {"features": ApplyMask()([layers.Concatenate()(widths), mask]), "mask": mask}
    return _pooled(state["features"], state["mask"], units, encoder.dropout)


def _pooled(tokens, mask, units, dropout):
    tokens = ApplyMask()([tokens, mask])
    pooled = layers.Dense(units, activation="relu")(MaskedPooling()([tokens, mask]))
    return {"tokens": tokens, "mask": mask, "embedding": layers.Dropout(dropout)(pooled)}
