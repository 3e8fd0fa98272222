"""Features computed elsewhere."""

from keras import layers

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import FullMask
from mm_keras.encoders.normalizing import BatchNormalization


def build_vector_mlp(inputs, encoder, tensor):
    """A two-layer network; the embedding is its only token, its middle its one depth.

    Args:
        inputs: Float `(batch, features)`, standardised.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`.

    Returns:
        `{"tokens": (batch, 1, units), "mask": ones, "embedding": (batch, units)}`.
    """
    units = UNITS[encoder.size]
    x = layers.Dense(2 * units, use_bias=False)(inputs)
    x = layers.Activation("relu")(BatchNormalization()(x))
    return (yield from one_token(x, units, encoder.dropout))


def one_token(x, units, dropout):
    """Yields the middle of a two-layer network as a depth; its end is the embedding, and the only token.

    Args:
        x: `(batch, channels)`.
        units: Size of the embedding.
        dropout: Fraction of the middle and of the embedding zeroed in training.

    Returns:
        What an encoder returns.
    """
    x = (yield {"features": x})["features"]
    x = layers.Dense(units, activation="relu")(layers.Dropout(dropout)(x))
    embedding = layers.Dropout(dropout)(x)
    tokens = layers.Reshape((1, units))(embedding)
    return {"tokens": tokens, "mask": FullMask()(tokens), "embedding": embedding}
