"""The reference model in Keras, for any backend, without missing inputs."""

import keras
from keras import layers

from handmade.sizes import DEPTH, DROPOUT, HEAD_UNITS, TOKEN_UNITS, UNITS, WIDTHS


def normalised(x):
    """Batch normalisation."""
    return layers.BatchNormalization(momentum=0.9)(x)


def residual(x, width):
    """Two convolutions and a shortcut."""
    shortcut = x
    if x.shape[-1] != width:
        shortcut = normalised(layers.Conv2D(width, 1, use_bias=False)(x))
    y = normalised(layers.Conv2D(width, 3, padding="same", use_bias=False)(x))
    y = layers.Activation("relu")(y)
    y = normalised(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
    return layers.Activation("relu")(layers.Add()([shortcut, y]))


def pool(x, units):
    """Mean and maximum over the steps, then an embedding."""
    x = layers.Concatenate()([layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)])
    return layers.Dropout(DROPOUT)(layers.Dense(units, activation="relu")(x))


def stem(x, width):
    """The first convolution."""
    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
    return layers.Activation("relu")(normalised(x))


def encode_picture(x, size):
    """A residual CNN over a picture."""
    widths = WIDTHS[size]
    is_large = min(x.shape[1:3]) >= 32
    x = stem(x, widths[0])
    if is_large:
        x = layers.MaxPooling2D(2, padding="same")(x)
    for stage, width in enumerate(widths):
        if stage and min(x.shape[1:3]) >= 8:
            x = layers.MaxPooling2D(2, padding="same")(x)
        x = residual(x, width)
    return pool(layers.Reshape((-1, x.shape[-1]))(x), UNITS[size])


def encode_sound(x, size):
    """A residual CNN over a spectrogram; each remaining frame is a step."""
    x = stem(layers.Reshape((*x.shape[1:], 1))(x), WIDTHS[size][0])
    for width in WIDTHS[size]:
        x = residual(layers.MaxPooling2D(2, padding="same")(x), width)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x)
    x = layers.Activation("relu")(normalised(layers.Dense(UNITS[size], use_bias=False)(x)))
    return pool(x, UNITS[size])


class Places(layers.Layer):
    """Adds a learned vector for each place."""

    def build(self, input_shape):
        self.places = self.add_weight(shape=input_shape[1:], initializer="uniform")

    def call(self, x):
        return x + keras.ops.cast(self.places, x.dtype)


def encode_text(ids, vocabulary, size):
    """A transformer over word ids."""
    units = UNITS[size]
    x = layers.Dropout(DROPOUT)(Places()(layers.Embedding(vocabulary, units)(ids)))
    mask = layers.Lambda(lambda i: keras.ops.expand_dims(i != 0, 1))(ids)
    for _ in range(DEPTH[size]):
        y = layers.LayerNormalization(epsilon=1e-3)(x)
        attention = layers.MultiHeadAttention(units // HEAD_UNITS, HEAD_UNITS, dropout=DROPOUT)
        x = x + layers.Dropout(DROPOUT)(attention(y, y, attention_mask=mask))
        y = layers.LayerNormalization(epsilon=1e-3)(x)
        x = x + layers.Dropout(DROPOUT)(layers.Dense(units)(layers.Dense(4 * units, activation="gelu")(y)))
    return pool(layers.LayerNormalization(epsilon=1e-3)(x), units)


def encode_row(x, columns, size):
    """Two layers over the columns' vectors."""
    units = UNITS[size]
    x = layers.Dense(2 * units, activation="relu")(layers.Dense(columns * TOKEN_UNITS[size])(x))
    x = layers.Dense(units, activation="relu")(layers.Dropout(DROPOUT)(x))
    return layers.Dropout(DROPOUT)(x)


def build(sizes):
    """Returns the model: `{scan, tone, word, card}` -> `{digit: logits, magnitude}`."""
    inputs = {
        "scan": keras.Input(sizes.picture, name="scan"),
        "tone": keras.Input(sizes.sound, name="tone"),
        "word": keras.Input((sizes.length,), dtype="int32", name="word"),
        "card": keras.Input((sizes.features,), name="card"),
    }
    parts = [
        encode_picture(inputs["scan"], sizes.encoder),
        encode_sound(inputs["tone"], sizes.encoder),
        encode_text(inputs["word"], sizes.vocabulary, sizes.encoder),
        encode_row(inputs["card"], sizes.columns, sizes.encoder),
    ]
    joined = layers.Concatenate()(parts)
    gated = [
        layers.Dense(sizes.joint, activation="sigmoid")(joined) * layers.Dense(sizes.joint, activation="tanh")(p)
        for p in parts
    ]
    joint = layers.Dropout(DROPOUT)(layers.Add()(gated))
    outputs = {
        "digit": layers.Dense(sizes.classes, dtype="float32")(joint),
        "magnitude": layers.Dense(1, dtype="float32")(joint),
    }
    return keras.Model(inputs, outputs)


def compile_model(model):
    """Compiles it as one would."""
    model.compile(
        optimizer=keras.optimizers.AdamW(3e-3, weight_decay=1e-4, global_clipnorm=5.0),
        loss={"digit": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "magnitude": "mse"},
        metrics={"digit": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]},
    )
    return model
