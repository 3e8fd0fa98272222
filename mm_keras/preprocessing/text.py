"""Strings of any script -> ids of WordPieces, whose vocabulary is learned from the training rows, or of bytes."""

import json
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow_text.python.ops.bert_tokenizer import BasicTokenizer
from tensorflow_text.tools.wordpiece_vocab import bert_vocab_from_dataset

from mm_keras.errors import DataError
from mm_keras.preprocessing.augmentation import stream, texts
from mm_keras.preprocessing.chain import PLAIN, compiled, untuned
from mm_keras.preprocessing.preprocessor import Preprocessor
from mm_keras.preprocessing.word_vectors import read_word_vectors
from mm_keras.recipe import TensorInfo
from mm_keras.recipe.hub import is_preset, read_part, read_vocabulary

PAD, UNKNOWN = "[PAD]", "[UNK]"


class TextPreprocessor(Preprocessor):
    """Lower-cases, strips accents (NFD), splits at spaces, punctuation and CJK characters, then into WordPieces.

    With `tokens="bytes"` nothing of this: each byte of the UTF-8 is its value plus 1, so that only padding is 0. A text
    of nothing but ASCII white space is missing. The cut may fall inside a character.

    Args:
        name: The input's name, which is also its served field.
        spec: A `recipe.Text`.
        state: `{"vocabulary": [...]}`, as `adapt` leaves it, with `"vectors": {...}` when the recipe names some; empty
            for bytes.

    Attributes:
        word_vectors: Float32 `(words, size)` of the vocabulary's last words, after `adapt`; else `None`.

    Reference:
        Song et al. 2021, arXiv:2012.15524 (the tokenizer); Schuster and Nakajima 2012 (WordPiece).
    """

    most_bytes = 2**20

    def __init__(self, name, spec, state=None):
        super().__init__(name, spec, state)
        self._tokenizer = None
        self.word_vectors = None

    @property
    def tensor(self):
        vectors = self.state.get("vectors", {"words": 0, "size": 0})
        return TensorInfo(
            shape=(self.spec.length,),
            dtype="int32",
            vocabulary_size=257 if self.is_bytes else len(self.state["vocabulary"]),
            vectors=vectors["words"],
            vector_size=vectors["size"],
            train_vectors=self.spec.train_vectors,
            network=json.dumps(self.state["network"]) if "network" in self.state else "",
        )

    @property
    def is_bytes(self):
        """Whether the tokens are bytes."""
        return self.spec.tokens == "bytes"

    @property
    def tokenizer(self):
        """The in-graph tokenizer; its vocabulary is a constant, so nothing needs tracking."""
        if self._tokenizer is None:
            with tf.init_scope():  # outside of whatever graph asks first, so that the next one can use it too
                self._tokenizer = make_tokenizer(self.state["vocabulary"])
        return self._tokenizer

    def adapt(self, cells):
        """Learns the vocabulary from an array of strings.

        With word vectors, half of `vocabulary_size` is for pieces; the rest is for whole words that have a vector:
        those of the texts, the most frequent first, then those that the file begins with, which texts to come may
        hold. They stand last. The tokenizer takes the longest match, so such a word stays whole, and pieces spell all
        others.

        Raises:
            DataError: When no row has a word, or for bytes any text, or the file of vectors is malformed.
        """
        if self.spec.encoder_kind == "hub" and self.spec.encoder.weights and is_preset(self.spec.encoder.weights):
            self.state, self._tokenizer = _of_preset(self.spec.encoder.weights), None
            return
        if self.is_bytes:
            if not any(np.any(self.finish([str(cell)])) for cell in cells):
                raise DataError(f"input {self.name!r}: every training row is empty.")
            return
        pieces = self._learned_pieces(cells, self.spec.vocabulary_size // (2 if self.spec.vectors else 1))
        self.state, self._tokenizer = {"vocabulary": pieces}, None
        if self.spec.vectors:
            self._add_words(cells, pieces)

    def _learned_pieces(self, cells, count):
        texts = _batches(cells)
        try:
            vocabulary = bert_vocab_from_dataset.bert_vocab_from_dataset(
                texts.map(PLAIN(self._clean)),
                vocab_size=count,
                reserved_tokens=[PAD, UNKNOWN],
                bert_tokenizer_params={"lower_case": True},
                # The learner's own threshold, 10, spells out most words of a few hundred rows letter by letter.
                learn_params={"lower_thresh": 2},
            )
        except StopIteration:  # how the learner answers to texts without a word
            raise DataError(f"input {self.name!r}: no training row has a word to learn a vocabulary from.") from None
        return list(dict.fromkeys(vocabulary))

    def _add_words(self, cells, pieces):
        counts = Counter()
        for batch in _batches(cells):
            texts = self._clean(batch)
            counts.update(BasicTokenizer(lower_case=True).tokenize(texts).flat_values.numpy().tolist())
        counts = Counter({word.decode("utf-8", "replace"): n for word, n in counts.items()})
        room = max(0, self.spec.vocabulary_size - len(pieces))
        found, repeats = read_word_vectors(self.spec.vectors, set(counts) | set(pieces), room)
        ranked = [w for w, _ in counts.most_common() if w in found]
        fresh = [w for w in dict.fromkeys([*ranked, *found]) if w not in set(pieces)]
        words = [p for p in pieces[2:] if p in found] + fresh[:room]
        words = whole_words(pieces, words)
        if not words:
            raise DataError(f"input {self.name!r}: none of its words stands in {self.spec.vectors}.")
        known = set(words)
        self.state = {
            "vocabulary": [p for p in pieces if p not in known] + words,
            "vectors": {
                "file": Path(self.spec.vectors).name,
                "size": len(found[words[0]]),
                "words": len(words),
                "repeated_lines": repeats,
                # Of the running words of the training rows.
                "coverage": sum(n for w, n in counts.items() if w in known) / counts.total(),
            },
        }
        self.word_vectors = np.stack([found[w] for w in words])

    def _clean(self, texts):
        return tf.strings.regex_replace(texts, self.spec.remove, "") if self.spec.remove else texts

    def finish(self, batch):
        """Batch: string `(batch,)` -> int32 `(batch, length)`; 0 pads."""
        if self.is_bytes:
            return self._byte_ids(self._clean(batch))
        ids = self.tokenizer.tokenize(self._clean(batch))
        if "begin" in self.state:
            ids = self._between_marks(ids)
        return tf.ensure_shape(ids.to_tensor(0, shape=[None, self.spec.length]), [None, self.spec.length])

    def _byte_ids(self, texts):
        lengths = tf.where(tf.equal(tf.strings.strip(texts), ""), 0, tf.strings.length(texts))
        # The whole batch in one op, which pads and cuts.
        values = tf.io.decode_raw(texts, tf.uint8, fixed_length=self.spec.length)
        ids = tf.cast(values, tf.int32) + 1
        kept = tf.sequence_mask(lengths, self.spec.length)
        return tf.ensure_shape(tf.where(kept, ids, 0), [None, self.spec.length])

    def _between_marks(self, ids):
        """Puts a preset's [CLS] and [SEP] around the ids of each text; an empty one stays empty."""
        ids = ids[:, : self.spec.length - 2]
        some = tf.cast(ids.row_lengths() > 0, tf.int64)
        first, last = (
            tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(some)], tf.constant(self.state[k], tf.int32)), some)
            for k in ("begin", "end")
        )
        return tf.concat([first, ids, last], axis=1)

    def augment_finished(self, ids, seed):
        """Batch in training: tokens change places and are deleted, as the recipe says."""
        if self.spec.swap:
            ids = texts.swap(ids, stream(seed, "swap"), self.spec.swap)
        return texts.drop(ids, stream(seed, "drop"), self.spec.drop) if self.spec.drop else ids

    def check(self, raw):
        return tf.ones(tf.shape(raw[self.name]), tf.bool)

    def why(self, raw):
        """Returns string `(batch,)`, empty: any bytes are a text."""
        return tf.zeros(tf.shape(raw[self.name]), tf.string)

    def words(self, token_ids):
        """Returns the WordPieces, or the characters, of one row of ids, padding left out."""
        if self.is_bytes:
            return [text for text, _ in self.characters(token_ids)]
        return [self.state["vocabulary"][i] for i in np.asarray(token_ids) if i]

    def characters(self, token_ids):
        """Returns `[(character, number of its bytes)]` of one row of byte ids.

        Bytes that are no UTF-8, as half a character at the cut, are the replacement character, U+FFFD.
        """
        values = bytes(int(i) - 1 for i in np.asarray(token_ids) if i)
        found = []
        while values:
            found.append(_first_character(values))
            values = values[found[-1][1] :]
        return found

    def spelling(self, text):
        """Returns how the WordPieces of one text were written, capitals, accents and all; those of bytes are `words`.

        Args:
            text: Bytes.

        Returns:
            A list as long as `words`; `##` before what stands right behind the one before it.
        """
        contents, starts, ends = (part.numpy() for part in self._places(tf.constant(text)))
        joined = [i > 0 and start == ends[i - 1] for i, start in enumerate(starts)]
        written = [
            f"{'##' if is_joined else ''}{contents[start:end].decode(errors='replace')}"
            for start, end, is_joined in zip(starts, ends, joined, strict=True)
        ]
        if "begin" not in self.state or not written:
            return written[: self.spec.length]
        begin, end = (self.state["vocabulary"][self.state[k]] for k in ("begin", "end"))
        return [begin, *written[: self.spec.length - 2], end]

    @cached_property
    def _places(self):
        """Text -> what is left of it, and where each WordPiece begins and ends, in bytes; op by op it takes 25 ms."""

        def places(text):
            text = self._clean(text)
            _, starts, ends = self.tokenizer.tokenize_with_offsets(text[None])
            return text, starts.values, ends.values

        return compiled(places, tf.TensorSpec([], tf.string))

    def draw(self, tensor):
        return self.words(tensor)


def _batches(cells):
    """Returns a dataset of string batches, of an array or of a column that streams."""
    if hasattr(cells, "parts"):

        def batches():
            for part in cells.parts():
                yield [str(cell) for cell in part]

        return untuned(tf.data.Dataset.from_generator(batches, output_signature=tf.TensorSpec([None], tf.string)))
    # A list, since an array of strings would give every row the width of the longest.
    return untuned(tf.data.Dataset.from_tensor_slices([str(cell) for cell in cells])).batch(1000)


def _first_character(values):
    for size in range(1, 5):
        try:
            return values[:size].decode(), size
        except UnicodeDecodeError:
            continue
    return "\N{REPLACEMENT CHARACTER}", 1


def _of_preset(folder):
    """What a KerasHub preset brings: its vocabulary, its marks, and the network they are for."""
    vocabulary = read_vocabulary(folder)
    return {
        "vocabulary": vocabulary,
        "begin": vocabulary.index("[CLS]"),
        "end": vocabulary.index("[SEP]"),
        "network": {"backbone": read_part(folder, "config")},
    }


def make_tokenizer(vocabulary):
    """Returns the in-graph tokenizer of a vocabulary."""
    return tf_text.FastBertTokenizer(
        vocabulary, token_out_type=tf.int32, unknown_token=UNKNOWN, lower_case_nfd_strip_accents=True
    )


def whole_words(pieces, words):
    """Returns those `words` that a tokenizer with them and the `pieces` keeps whole: no capitals, no punctuation."""
    vocabulary = list(dict.fromkeys([*pieces, *words]))
    place = {piece: i for i, piece in enumerate(vocabulary)}
    ids = make_tokenizer(vocabulary).tokenize(tf.constant(words)).to_list() if words else []
    return [word for word, got in zip(words, ids, strict=True) if got == [place[word]]]
