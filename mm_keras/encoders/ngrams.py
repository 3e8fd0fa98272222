"""WordPiece ids, as the set of their n-grams."""

import keras
from keras import layers, ops

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import TokenMask

# About so many different n-grams stand in ten thousand short texts; memory is all that more of them cost.
BUCKETS = {"tiny": 4096, "small": 16_384, "base": 65_536}


@keras.saving.register_keras_serializable("mm_keras")
class HashedNGrams(layers.Layer):
    """Numbers the n-grams that begin at each token: a hash of the ids, so that no table of n-grams is kept.

    `h = (h * 1031 + id) mod (buckets - 1)`, from `h = n`, once for each token of the n-gram; the number is `h + 1`.

    Args:
        most: Longest n-gram; lengths 1 to `most` are numbered.
        buckets: How many numbers there are, the 0 of padding counted; at most 2,000,000, so that products fit int32.

    Input shape:
        Int32 ids `(batch, steps)`; 0 pads at the end.

    Output shape:
        Int32 `(batch, steps, most)`, 0 where an n-gram would reach into the padding.

    Example:
        >>> import numpy as np
        >>> np.asarray(HashedNGrams(most=2, buckets=100)(np.array([[3, 5, 0]])))[0].tolist()
        [[45, 26], [47, 0], [0, 0]]
    """

    def __init__(self, most, buckets, **kwargs):
        super().__init__(**kwargs, autocast=False)
        if not 2 <= buckets <= 2_000_000:
            raise ValueError(f"`buckets` must lie between 2 and 2,000,000. Received: buckets={buckets}")
        self.most, self.buckets = most, buckets

    def call(self, ids):
        ids = ops.cast(ids, "int32")
        steps, numbers = ops.shape(ids)[1], []
        padded = ops.pad(ids, [[0, 0], [0, self.most - 1]])
        for n in range(1, self.most + 1):
            number, whole = ops.full_like(ids, n), ops.ones_like(ids)
            for offset in range(n):
                shifted = padded[:, offset : offset + steps]
                number = ops.mod(number * 1031 + ops.mod(shifted, self.buckets - 1), self.buckets - 1)
                whole = whole * ops.cast(ops.not_equal(shifted, 0), "int32")
            numbers.append((number + 1) * whole)
        return ops.stack(numbers, axis=-1)

    def compute_output_spec(self, ids):
        return keras.KerasTensor((*ids.shape, self.most), dtype="int32")

    def get_config(self):
        return {**super().get_config(), "most": self.most, "buckets": self.buckets}


@keras.saving.register_keras_serializable("mm_keras")
class SumNGrams(layers.Layer):
    """Sums the vectors of the n-grams at each token, and counts them all.

    Input shape:
        `[vectors (batch, steps, most, units), numbers (batch, steps, most)]`; the number 0 stands for none.

    Output shape:
        `[(batch, steps, units), (batch, 1)]`, the count in float32, since half precision ends at 65504.
    """

    def call(self, inputs):
        vectors, numbers = inputs
        keep = ops.cast(ops.expand_dims(ops.not_equal(numbers, 0), -1), "float32")
        tokens = ops.sum(ops.cast(vectors, "float32") * keep, axis=2)
        return [ops.cast(tokens, self.compute_dtype), ops.expand_dims(ops.sum(keep, axis=(1, 2, 3)), -1)]

    def compute_output_spec(self, inputs):
        batch, steps, _, units = inputs[0].shape
        tokens = keras.KerasTensor((batch, steps, units), dtype=self.compute_dtype)
        return [tokens, keras.KerasTensor((batch, 1), dtype="float32")]


@keras.saving.register_keras_serializable("mm_keras")
class RootMeanTokens(layers.Layer):
    """Sums the tokens, over the root of the count of their n-grams.

    Input shape:
        `[tokens (batch, steps, units), count (batch, 1)]`; tokens of padding are zero.

    Output shape:
        `(batch, units)`, zero where the count is.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs, autocast=False)

    def call(self, inputs):
        tokens, count = inputs
        none = ops.cast(ops.equal(count, 0.0), "float32")
        pooled = ops.sum(ops.cast(tokens, "float32"), axis=1) / ops.sqrt(count + none)
        return ops.cast(pooled, self.compute_dtype)

    def compute_output_spec(self, inputs):
        batch, _, units = inputs[0].shape
        return keras.KerasTensor((batch, units), dtype=self.compute_dtype)


def build_text_ngrams(inputs, encoder, tensor):
    """A vector for each run of 1 to `longest` WordPieces, summed; nothing else, so it is quick, and hard to overfit.

    With a vocabulary of about a hundred pieces these are runs of letters, which new words share with known ones.

    Option `longest` (5): pieces in the longest run. Buckets: `tiny` 4096, `small` 16384, `base` 65536; runs that fall
    into one bucket share a vector.

    Args:
        inputs: Int32 ids `(batch, length)`; 0 pads.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`, with the size of the vocabulary.

    Returns:
        `{"tokens": (batch, length, units), "mask": (batch, length), "embedding": (batch, units)}`.

    Reference:
        Joulin et al. 2017, arXiv:1607.01759, section 2 (hashed n-grams, averaged); Bojanowski et al. 2017,
        arXiv:1607.04606, section 3.2 (n-grams of letters). Differs: the sum is divided by the root of the count, so
        that long texts keep a voice.
    """
    units = UNITS[encoder.size]
    mask = TokenMask()(inputs)
    numbers = HashedNGrams(encoder.options["longest"], BUCKETS[encoder.size])(inputs)
    vectors = layers.Embedding(BUCKETS[encoder.size], units)(numbers)
    tokens, count = SumNGrams()([vectors, numbers])
    state = yield {"features": tokens, "mask": mask, "count": count}
    pooled = RootMeanTokens()([state["features"], state["count"]])
    embedding = layers.Dropout(encoder.dropout)(pooled)
    return {"tokens": state["features"], "mask": state["mask"], "embedding": embedding}
