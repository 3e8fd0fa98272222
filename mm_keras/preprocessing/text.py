"""Strings of any script -> WordPiece ids; the vocabulary is learned from the training rows."""

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow_text.tools.wordpiece_vocab import bert_vocab_from_dataset

from mm_keras.errors import DataError
from mm_keras.preprocessing.augmentation import stream, texts
from mm_keras.recipe import TensorInfo

PAD, UNKNOWN = "[PAD]", "[UNK]"


class TextPreprocessor:
    """Lower-cases, strips accents (NFD), splits at spaces, punctuation and CJK characters, then into WordPieces.

    Args:
        name: The input's name, which is also its served field.
        spec: A `recipe.Text`.
        state: `{"vocabulary": [...]}`, as `adapt` leaves it.
    Reference:
        Song et al. 2021, arXiv:2012.15524 (the tokenizer); Schuster and Nakajima 2012 (WordPiece).
    """

    reads_files = False
    row_wise = False

    def __init__(self, name, spec, state=None):
        self.name, self.spec, self.state = name, spec, state or {}
        self.raw_specs = {name: tf.TensorSpec([], tf.string)}
        self.blank = {name: b""}
        self._tokenizer = None

    @property
    def tensor(self):
        return TensorInfo(shape=(self.spec.length,), dtype="int32", vocabulary_size=len(self.state["vocabulary"]))

    @property
    def tokenizer(self):
        """The in-graph tokenizer; its vocabulary is a constant, so nothing needs tracking."""
        if self._tokenizer is None:
            with tf.init_scope():  # outside of whatever graph asks first, so that the next one can use it too
                self._tokenizer = tf_text.FastBertTokenizer(
                    self.state["vocabulary"],
                    token_out_type=tf.int32,
                    unknown_token=UNKNOWN,
                    lower_case_nfd_strip_accents=True,
                )
        return self._tokenizer

    def adapt(self, cells):
        """Learns the vocabulary from an array of strings.

        Raises:
            DataError: When no row has a word.
        """
        # A list, since an array of strings would give every row the width of the longest.
        texts = tf.data.Dataset.from_tensor_slices([str(cell) for cell in cells]).batch(1000)
        try:
            vocabulary = bert_vocab_from_dataset.bert_vocab_from_dataset(
                texts.map(self._clean),
                vocab_size=self.spec.vocabulary_size,
                reserved_tokens=[PAD, UNKNOWN],
                bert_tokenizer_params={"lower_case": True},
                # The learner's own threshold, 10, spells out most words of a few hundred rows letter by letter.
                learn_params={"lower_thresh": 2},
            )
        except StopIteration:  # how the learner answers to texts without a word
            raise DataError(f"input {self.name!r}: no training row has a word to learn a vocabulary from.") from None
        self.state = {"vocabulary": list(dict.fromkeys(vocabulary))}
        self._tokenizer = None

    def _clean(self, texts):
        return tf.strings.regex_replace(texts, self.spec.remove, "") if self.spec.remove else texts

    def read(self, cell):
        return {self.name: cell}

    def decode(self, raw):
        return raw[self.name]

    def finish(self, batch):
        """Batch: string `(batch,)` -> int32 `(batch, length)`; 0 pads."""
        ids = self.tokenizer.tokenize(self._clean(batch))
        return tf.ensure_shape(ids.to_tensor(0, shape=[None, self.spec.length]), [None, self.spec.length])

    def augment_finished(self, ids, seed):
        """Batch in training: tokens change places and are deleted, as the recipe says."""
        if self.spec.swap:
            ids = texts.swap(ids, stream(seed, "swap"), self.spec.swap)
        return texts.drop(ids, stream(seed, "drop"), self.spec.drop) if self.spec.drop else ids

    def check(self, raw):
        return tf.ones(tf.shape(raw[self.name]), tf.bool)

    def words(self, token_ids):
        """Returns the WordPieces of one row of ids, padding left out."""
        return [self.state["vocabulary"][i] for i in np.asarray(token_ids) if i]

    def draw(self, tensor):
        return self.words(tensor)
