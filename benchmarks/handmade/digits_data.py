"""The built-in digits read by hand: the usual tf.data chain, arrays for PyTorch, a served function of raw values."""

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_text as tf_text

from mm_keras.preprocessing.chain import untuned

BATCH = 32
CATEGORIES = ("key_row", "key_column")


class Digits:
    """The training rows of the digits.

    Args:
        manifest: What `mm.make_digits` returned.
        vocabulary: Word pieces, a list.
    """

    def __init__(self, manifest, vocabulary):
        table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
        table = table[table["split"] == "train"].reset_index(drop=True)
        numbers = table[["seconds", "holes"]].apply(pd.to_numeric)
        self.means, self.deviations = numbers.mean().to_numpy(np.float32), numbers.std().to_numpy(np.float32)
        numbers = ((numbers - numbers.mean()) / numbers.std()).fillna(0.0)
        self.words = {c: sorted(set(table[c])) for c in CATEGORIES}
        one_hot = [np.eye(len(w), dtype=np.float32)[[w.index(v) for v in table[c]]] for c, w in self.words.items()]
        magnitude = pd.to_numeric(table["magnitude"]).to_numpy(np.float32)
        self.columns = {
            "scan": [str(manifest.parent / p) for p in table["scan"]],
            "tone": [str(manifest.parent / p) for p in table["tone"]],
            "word": list(table["word"]),
            "card": np.concatenate([numbers.to_numpy(np.float32), *one_hot], axis=1),
            "digit": pd.to_numeric(table["digit"]).to_numpy(np.int32),
            "magnitude": (magnitude - magnitude.mean()) / magnitude.std(),
        }
        self.vocabulary = vocabulary
        self.tokenizer = tf_text.FastBertTokenizer(
            vocabulary, token_out_type=tf.int32, unknown_token="[UNK]", lower_case_nfd_strip_accents=True
        )
        self.mel = tf.signal.linear_to_mel_weight_matrix(64, 257, 8000, 600.0, 1600.0)

    def __len__(self):
        return len(self.columns["word"])

    def picture(self, data):
        """PNG bytes -> `(16, 16, 1)` in [0, 1]."""
        pixels = tf.cast(tf.image.decode_png(data, channels=1), tf.float32) / 255.0
        return tf.image.resize(pixels, (16, 16), antialias=True)

    def frames(self, waves):
        """Samples `(batch, 3200)` -> log-mel frames `(batch, 13, 64)`."""
        spectrum = tf.abs(tf.signal.stft(waves, 512, 256, 512, pad_end=True))
        return tf.math.log1p(tf.tensordot(spectrum, self.mel, 1) / 1e-2) / 10.0

    def ids(self, words):
        """Strings `(batch,)` -> ids `(batch, 12)`."""
        return tf.ensure_shape(self.tokenizer.tokenize(words).to_tensor(0, shape=[None, 12]), [None, 12])

    def wave(self, data):
        """WAV bytes -> `(3200,)`."""
        return tf.audio.decode_wav(data, 1, 3200).audio[:, 0]

    def dataset(self):
        """The usual chain: shuffle, decode in parallel, batch, transform, prefetch.

        Without tf.data's autotuner, as ours: it may keep whoever lets go of an iterator waiting, up to a minute.
        """

        def decode(row):
            padded = tf.pad(self.picture(tf.io.read_file(row["scan"])), [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")
            scan = tf.image.random_crop(padded, (16, 16, 1))
            return {**row, "scan": scan, "tone": self.wave(tf.io.read_file(row["tone"]))}

        def transform(rows):
            inputs = {
                "scan": rows["scan"],
                "tone": self.frames(rows["tone"]),
                "word": self.ids(rows["word"]),
                "card": rows["card"],
            }
            return inputs, {"digit": rows["digit"], "magnitude": rows["magnitude"][:, None]}

        rows = tf.data.Dataset.from_tensor_slices(self.columns).shuffle(len(self), seed=0)
        rows = rows.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
        return untuned(rows.map(transform, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2))

    def arrays(self):
        """Returns all rows ready for a model, `({input: array}, {target: array})`: nothing is left to be read."""
        batches = list(self.dataset().as_numpy_iterator())
        return tuple({k: np.concatenate([b[side][k] for b in batches]) for k in batches[0][side]} for side in (0, 1))

    def export(self, model, path):
        """Writes a SavedModel that takes raw values, as one would write it; no bad value is looked for."""
        tables = {}
        for column, words in self.words.items():
            entries = tf.lookup.KeyValueTensorInitializer(words, tf.range(len(words), dtype=tf.int64))
            tables[column] = tf.lookup.StaticHashTable(entries, -1)
        strings, numbers = tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.float32)

        def serve(scan, tone, word, seconds, holes, key_row, key_column):
            values = (tf.stack([seconds, holes], 1) - self.means) / self.deviations
            values = tf.where(tf.math.is_finite(values), values, 0.0)
            one_hot = [
                tf.one_hot(tables[c].lookup(cells), len(self.words[c]))
                for c, cells in zip(CATEGORIES, (key_row, key_column), strict=True)
            ]
            feed = {
                "scan": tf.ensure_shape(
                    tf.map_fn(self.picture, scan, fn_output_signature=tf.float32), (None, 16, 16, 1)
                ),
                "tone": self.frames(tf.map_fn(self.wave, tone, fn_output_signature=tf.float32)),
                "word": self.ids(word),
                "card": tf.concat([values, *one_hot], 1),
            }
            answers = model(feed, training=False)
            return {"digit": tf.nn.softmax(answers["digit"]), "magnitude": answers["magnitude"]}

        archive = keras.export.ExportArchive()
        for resource in (*tables.values(), self.tokenizer):
            archive.track(resource)
        archive.add_endpoint("serve", serve, input_signature=[strings] * 3 + [numbers] * 2 + [strings] * 2)
        archive.write_out(path, verbose=False)
