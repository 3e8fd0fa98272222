"""Strings."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mm_keras.recipe.inputs.encoder import ModalityInput
from mm_keras.recipe.part import Positive, Share


class Text(ModalityInput):
    """A string of any script, split into WordPieces whose vocabulary is learned from the training rows, or into bytes.

    Args:
        column: Column of the manifest with the text. Defaults to the input's name.
        tokens: `"wordpiece"`, or `"bytes"`: the bytes of its UTF-8 as they came, case and accents kept, with nothing to
            learn. Bytes make longer sequences, and know no unknown word.
        length: Number of tokens kept; longer texts are cut. A character of UTF-8 is one to four bytes.
        vocabulary_size: Number of WordPieces to aim at, `[PAD]` and `[UNK]` counted. The learner may miss it by a
            tenth, and gives fewer when not so many occur twice; every character of the texts is kept whatever it is,
            alone and as part of a word. Bytes have none.
        remove: RE2 pattern deleted from the text before it is split.
        vectors: File of word vectors, in the text format of GloVe and word2vec. Words that have one stay whole, and
            half of `vocabulary_size` is for them; WordPieces spell the others.
        train_vectors: Whether the vectors are trained on. Defaults to `False`: of few rows, words that do not occur
            would be left behind by those that do.
        swap: Share of the WordPieces that change places with another in training (arXiv:1901.11196). Defaults to
            `0.0`.
        drop: Share of the WordPieces that training deletes, never all of a text. Defaults to `0.0`.
        encoder: Name or `Encoder`; `ngrams` when none is named, with `vectors` `transformer`.
    """

    kind: Literal["text"] = "text"
    column: str | None = None
    tokens: Literal["wordpiece", "bytes"] = "wordpiece"
    length: Positive = 64
    vocabulary_size: Annotated[int, Field(ge=16)] = 8000
    remove: str | None = None
    vectors: str | None = None
    train_vectors: bool = False
    swap: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    drop: Share = 0.0

    augmentation: ClassVar = ("swap", "drop")

    @model_validator(mode="after")
    def _vectors_fit(self):
        if self.train_vectors and not self.vectors:
            raise ValueError("`train_vectors` needs `vectors`, a file of them.")
        if self.tokens == "bytes" and (self.vectors or self.encoder_kind == "hub"):
            raise ValueError("bytes have neither word vectors nor a preset's vocabulary; take tokens 'wordpiece'.")
        if self.vectors and self.encoder_kind == "ngrams":
            raise ValueError(f"the encoder 'ngrams' takes no word vectors. Received: vectors={self.vectors!r}")
        if self.vectors and self.encoder.weights:
            raise ValueError(
                "takes `vectors` or the encoder's `weights`, which bring their own vocabulary. "
                f"Received: vectors={self.vectors!r}, weights={self.encoder.weights!r}"
            )
        return self

    @property
    def default_encoder(self):
        return "transformer" if self.vectors else super().default_encoder

    @model_validator(mode="after")
    def _pattern_compiles(self):
        if self.remove:
            # Arrow's RE2 is the library that TensorFlow runs; Python's `re` takes and refuses other patterns.
            import pyarrow
            from pyarrow import compute

            try:
                compute.replace_substring_regex(pyarrow.array([""]), pattern=self.remove, replacement="")
            except pyarrow.ArrowInvalid as error:
                raise ValueError(f"`remove` is no RE2 pattern: {error}. Received: remove={self.remove!r}") from None
        return self
