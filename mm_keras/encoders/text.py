"""WordPiece ids, or bytes."""

from functools import partial

from keras import layers

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import ApplyMask, TokenMask, pool_depth, pool_tokens
from mm_keras.encoders.pieces import embed_pieces
from mm_keras.encoders.recurrent import both_directions
from mm_keras.encoders.transformer import PositionEmbedding, RotaryAttention, transformer


def build_text_transformer(inputs, encoder, tensor):
    """A transformer over WordPieces or bytes.

    Blocks: `tiny` 1, `small` 2, `base` 4; heads of 16 units. Every block is a depth. The option `positions` is
    `"learned"` (a vector for each place) or `"rotary"` (distances, inside the attention; see `transformer.rotate`).

    Args:
        inputs: Int32 ids `(batch, length)`; 0 pads.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`, with the size of the vocabulary.

    Returns:
        `{"tokens": (batch, length, units), "mask": (batch, length), "embedding": (batch, units)}`.
    """
    units = UNITS[encoder.size]
    mask = TokenMask()(inputs)
    x = embed_pieces(inputs, tensor, units)
    is_rotary = encoder.options["positions"] == "rotary"
    x = layers.Dropout(encoder.dropout)(x if is_rotary else PositionEmbedding(tensor.shape[0])(x))
    attention = partial(RotaryAttention, steps=tensor.shape[0]) if is_rotary else layers.MultiHeadAttention
    x, mask = yield from transformer(x, mask, encoder, attention)
    return pool_tokens(x, mask, units, encoder.dropout)


def build_text_gru(inputs, encoder, tensor, unroll=False):
    """A bidirectional GRU over WordPieces or bytes; its states are its one depth.

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
    return (yield from _recurrent(layers.GRU, inputs, encoder, tensor, unroll))


def build_text_lstm(inputs, encoder, tensor, unroll=False):
    """A bidirectional LSTM over WordPieces or bytes; its states are its one depth.

    Args:
        inputs: As in `build_text_transformer`.
        encoder: As in `build_text_transformer`.
        tensor: As in `build_text_transformer`.
        unroll: As in `build_text_gru`.

    Returns:
        As `build_text_transformer`.

    Reference:
        Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; Gers et al. 2000,
        doi:10.1162/089976600300015015 (the forget gate, whose bias begins at 1, as in Keras).
    """
    return (yield from _recurrent(layers.LSTM, inputs, encoder, tensor, unroll))


build_text_gru.options = build_text_lstm.options = ("unroll",)


def _recurrent(layer, inputs, encoder, tensor, unroll):
    units = UNITS[encoder.size]
    mask = TokenMask()(inputs)
    x = layers.Dropout(encoder.dropout)(embed_pieces(inputs, tensor, units))
    x = both_directions(layer, x, mask, units, unroll)
    return (yield from pool_depth(x, mask, units, encoder.dropout))


def build_text_cnn(inputs, encoder, tensor):
    """Convolutions over 1, 2, 3 and 4 WordPieces or bytes, side by side; quick, and strong on short texts and few rows.

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
    x = ApplyMask()([layers.Concatenate()(widths), mask])
    return (yield from pool_depth(x, mask, units, encoder.dropout))
