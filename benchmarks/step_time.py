"""Time per training step of `mm.fit` against the Keras 3 + tf.data script one would write by hand.

usage: python benchmarks/step_time.py [--rounds 7] [--epochs 5]

Both train the same architecture on the built-in digits, from the same files, with the same batch size, optimizer and
losses. The hand-written script below decodes PNG and WAV with TensorFlow's own ops and has none of what mm_keras adds
(missing inputs, quarantine, guards). Rounds alternate between the two in one process; medians of their per-step
times are compared. Last line: JSON with `ratio` = mm_keras / by hand.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_text as tf_text
from keras import layers

import mm_keras as mm
from mm_keras.training.fit import Trainer
from mm_keras.training.learn import learn

BATCH = 32


def residual(x, width):
    """Two convolutions and a shortcut."""
    shortcut = x
    if x.shape[-1] != width:
        shortcut = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(width, 1, use_bias=False)(x))
    y = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(width, 3, padding="same", use_bias=False)(x))
    y = layers.Activation("relu")(y)
    y = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
    return layers.Activation("relu")(layers.Add()([shortcut, y]))


def pool(x):
    """Mean and maximum over the steps."""
    return layers.Concatenate()([layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)])


def hand_written_model(vocabulary_size, columns, classes):
    """The digits model of the catalogue's recipe, as one would write it without missing inputs."""
    scan = keras.Input((16, 16, 1), name="scan")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(scan)
    x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))
    x = residual(layers.MaxPooling2D(2, padding="same")(residual(x, 16)), 32)
    x = layers.Reshape((-1, 32))(x)
    scan_embedding = layers.Dropout(0.1)(layers.Dense(32, activation="relu")(pool(x)))

    tone = keras.Input((13, 64), name="tone")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(layers.Reshape((13, 64, 1))(tone))
    x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))
    for width in (16, 32):
        x = residual(layers.MaxPooling2D(2, padding="same")(x), width)
    x = layers.Dense(32, activation="relu")(layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x))
    tone_embedding = layers.Dropout(0.1)(layers.Dense(32, activation="relu")(pool(x)))

    word = keras.Input((12,), dtype="int32", name="word")
    x = layers.Embedding(vocabulary_size, 32)(word)
    x = layers.Dropout(0.1)(x + layers.Embedding(12, 32)(keras.ops.arange(12)))
    y = layers.LayerNormalization(epsilon=1e-5)(x)
    mask = layers.Lambda(lambda ids: keras.ops.expand_dims(ids != 0, 1))(word)
    x = x + layers.Dropout(0.1)(layers.MultiHeadAttention(2, 16, dropout=0.1)(y, y, attention_mask=mask))
    y = layers.LayerNormalization(epsilon=1e-5)(x)
    x = x + layers.Dropout(0.1)(layers.Dense(32)(layers.Dense(128, activation="gelu")(y)))
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    word_embedding = layers.Dropout(0.1)(layers.Dense(32, activation="relu")(pool(x)))

    card = keras.Input((columns,), name="card")
    x = layers.Dropout(0.1)(layers.Dense(64, activation="relu")(layers.Dense(32)(card)))
    card_embedding = layers.Dropout(0.1)(layers.Dense(32, activation="relu")(x))

    parts = [scan_embedding, tone_embedding, word_embedding, card_embedding]
    joined = layers.Concatenate()(parts)
    joint = layers.Add()(
        [layers.Dense(64, activation="sigmoid")(joined) * layers.Dense(64, activation="tanh")(p) for p in parts]
    )
    joint = layers.Dropout(0.1)(joint)
    outputs = {"digit": layers.Dense(classes)(joint), "magnitude": layers.Dense(1)(joint)}
    return keras.Model({"scan": scan, "tone": tone, "word": word, "card": card}, outputs)


def hand_written_data(table, home, vocabulary):
    """The usual chain: shuffle, decode in parallel, batch, transform, prefetch."""
    tokenizer = tf_text.FastBertTokenizer(
        vocabulary, token_out_type=tf.int32, unknown_token="[UNK]", lower_case_nfd_strip_accents=True
    )
    numbers = table[["seconds", "holes"]].apply(pd.to_numeric)
    numbers = ((numbers - numbers.mean()) / numbers.std()).fillna(0.0)
    card = np.concatenate([numbers, pd.get_dummies(table[["key_row", "key_column"]]).to_numpy()], axis=1).astype(
        np.float32
    )
    magnitude = pd.to_numeric(table["magnitude"]).to_numpy(np.float32)
    columns = {
        "scan": [str(home / p) for p in table["scan"]],
        "tone": [str(home / p) for p in table["tone"]],
        "word": list(table["word"]),
        "card": card,
        "digit": pd.to_numeric(table["digit"]).to_numpy(np.int32),
        "magnitude": (magnitude - magnitude.mean()) / magnitude.std(),
    }
    mel = tf.signal.linear_to_mel_weight_matrix(64, 257, 8000, 600.0, 1600.0)

    def decode(row):
        pixels = tf.image.decode_png(tf.io.read_file(row["scan"]), channels=1)
        pixels = tf.image.resize(tf.cast(pixels, tf.float32) / 255.0, (16, 16), antialias=True)
        padded = tf.pad(pixels, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")
        wave = tf.audio.decode_wav(tf.io.read_file(row["tone"]), 1, 3200).audio[:, 0]
        return {**row, "scan": tf.image.random_crop(padded, (16, 16, 1)), "tone": wave}

    def transform(rows):
        spectrum = tf.abs(tf.signal.stft(rows["tone"], 512, 256, 512, pad_end=True))
        inputs = {
            "scan": rows["scan"],
            "tone": tf.math.log1p(tf.tensordot(spectrum, mel, 1) / 1e-2) / 10.0,
            "word": tf.ensure_shape(tokenizer.tokenize(rows["word"]).to_tensor(0, shape=[None, 12]), [None, 12]),
            "card": rows["card"],
        }
        return inputs, {"digit": rows["digit"], "magnitude": rows["magnitude"][:, None]}

    rows = tf.data.Dataset.from_tensor_slices(columns).shuffle(len(table), seed=0)
    rows = rows.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
    return rows.map(transform, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE), card.shape[1]


def by_hand(manifest, vocabulary):
    """Returns the hand-written model, compiled, and its data."""
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    table = table[table["split"] == "train"].reset_index(drop=True)
    data, columns = hand_written_data(table, manifest.parent, vocabulary)
    model = hand_written_model(len(vocabulary), columns, 10)
    model.compile(
        optimizer=keras.optimizers.AdamW(3e-3, weight_decay=1e-4, global_clipnorm=5.0),
        loss={"digit": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "magnitude": "mse"},
        metrics={"digit": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]},
    )
    return model, data


def ours(manifest, epochs):
    """Returns the network that `mm.fit` trains, compiled, its data, and the preprocessors."""
    recipe = mm.load_recipe(manifest.parent / "recipe.yaml")
    # The hand-written script has no auxiliary heads; without them both train the same layers.
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"auxiliary": 0.0})})
    data = mm.load(manifest, recipe)
    trainer = Trainer(recipe, *learn(recipe, data))
    trainer.compile()
    return trainer.network, trainer.dataset(data.train, range(epochs)), trainer.preprocessors


def main():
    """Runs the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=5, help="in a round")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(mm.make_digits(folder))
        network, data, preprocessors = ours(manifest, args.epochs)
        model, plain = by_hand(manifest, preprocessors["word"].state["vocabulary"])
        print(f"parameters: mm_keras {network.count_params():,}, by hand {model.count_params():,}")
        pairs = {"mm_keras": (network, data), "by hand": (model, plain)}
        steps = len(plain)
        # All epochs of mm_keras are one dataset, as in `mm.fit`.
        options = {"mm_keras": {"steps_per_epoch": steps}, "by hand": {}}
        for name, (network, data) in pairs.items():
            network.fit(data, epochs=1, verbose=0, shuffle=False, **options[name])  # tracing and the first read
        times = {name: [] for name in pairs}
        for turn in range(args.rounds):
            for name in list(pairs)[:: 1 if turn % 2 else -1]:
                network, data = pairs[name]
                began = time.perf_counter()
                network.fit(data, epochs=args.epochs, verbose=0, shuffle=False, **options[name])
                times[name].append((time.perf_counter() - began) / (args.epochs * steps))
            print(
                f"round {turn + 1}: " + ", ".join(f"{n} {1000 * t[-1]:.2f} ms/step" for n, t in times.items()),
                flush=True,
            )
    medians = {name: float(np.median(t)) for name, t in times.items()}
    ratio = medians["mm_keras"] / medians["by hand"]
    print(
        json.dumps(
            {
                "ratio": round(ratio, 3),
                **{f"{n} ms": round(1000 * t, 3) for n, t in medians.items()},
                "rounds": args.rounds,
            }
        )
    )


if __name__ == "__main__":
    main()
