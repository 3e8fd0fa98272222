"""Missing inputs: seen from the tensor itself, dropped at random in training, replaced by a learned embedding."""

import math

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("mm_keras")
class Presence(layers.Layer):
    """Tells which rows hold anything.

    Input shape:
        `(batch, ...)` of any numeric dtype.
    Output shape:
        Float `(batch, 1)`: 0 where the whole row is zero, the blank value, else 1.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs, autocast=False)  # in 16 bits, a small number would be none

    def call(self, x):
        if len(x.shape) > 4:
            # LiteRT compares up to four axes.
            x = ops.reshape(x, (-1, math.prod(x.shape[1:])))
        axes = tuple(range(1, len(x.shape)))
        filled = ops.any(ops.not_equal(x, ops.zeros((), x.dtype)), axis=axes)
        return ops.cast(ops.expand_dims(filled, -1), self.compute_dtype)

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], 1), dtype=self.compute_dtype)


@keras.saving.register_keras_serializable("mm_keras")
class ModalityDropout(layers.Layer):
    """In training, takes each present input away with probability `rate`, but never all of a row.

    Args:
        rate: Probability for each input, independently. A row that would lose all `n` of its present inputs keeps one,
            drawn at random, so that an input is taken away with probability `rate - rate ** n / n`.
        seed: Of the draws. Defaults to `0`.
    Input shape:
        `{input: (batch, 1)}` of presences.
    Output shape:
        The same, with some ones turned to zeros.
    Reference:
        Neverova et al. 2016, arXiv:1501.00102, section 3.3 (ModDrop). Differs: a row never loses all.
    """

    def __init__(self, rate, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._share = None

    def follow(self, share):
        """Multiplies the rate by a `keras.Variable`, which may change between steps; `None` ends that.

        It is no weight of the layer: models are stored, and counted, without it.
        """
        self._share = None if share is None else lambda: keras.ops.convert_to_tensor(share)

    def call(self, presences, training=False):
        if not training or not self.rate:
            return dict(presences)
        names = sorted(presences)
        # Drawn in float32: of 16 bits, ties would favour the first names.
        present = ops.cast(ops.concatenate([presences[n] for n in names], axis=-1), "float32")
        draws = keras.random.uniform((2, *ops.shape(present)), dtype="float32", seed=self.seed_generator)
        rate = self.rate if self._share is None else self.rate * self._share()
        kept = present * ops.cast(draws[0] >= rate, "float32")
        spared = ops.one_hot(ops.argmax(present * (draws[1] + 1e-3), axis=-1), len(names), dtype="float32")
        none_kept = 1.0 - ops.max(kept, axis=-1, keepdims=True)
        kept = ops.cast(kept + present * spared * none_kept, self.compute_dtype)
        return {name: kept[:, i : i + 1] for i, name in enumerate(names)}

    def compute_output_shape(self, input_shape):
        return dict(input_shape)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("mm_keras")
class MissingEmbedding(layers.Layer):
    """Puts a learned embedding in place of an absent input's.

    Input shape:
        `[embedding (batch, units), presence (batch, 1)]`.
    Output shape:
        `(batch, units)`.
    """

    def build(self, input_shape):
        self.missing = self.add_weight(shape=(input_shape[0][-1],), initializer="zeros", name="missing")

    def call(self, inputs):
        embedding, present = inputs
        present = ops.cast(present, embedding.dtype)
        return embedding * present + ops.cast(self.missing, embedding.dtype) * (1.0 - present)

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@keras.saving.register_keras_serializable("mm_keras")
class MaskAbsent(layers.Layer):
    """Empties the token sequence of an absent input: zeros, all masked out.

    Args:
        steps: Up to how many steps padding is put back where batches are trimmed, since fusions of tokens learn a
            vector for each place. Defaults to `None`: the input has them all.
    Input shape:
        `[tokens (batch, steps, units), mask (batch, steps), presence (batch, 1)]`.
    Output shape:
        `[tokens (batch, steps, units), mask (batch, steps)]`; tokens outside the mask are zero.
    """

    def __init__(self, steps=None, **kwargs):
        super().__init__(**kwargs)
        self.steps = steps

    def call(self, inputs):
        tokens, mask, present = inputs
        if self.steps is not None:
            tokens = ops.pad(tokens, [[0, 0], [0, self.steps], [0, 0]])[:, : self.steps]
            mask = ops.pad(mask, [[0, 0], [0, self.steps]])[:, : self.steps]
        mask = ops.cast(mask, tokens.dtype) * ops.cast(present, tokens.dtype)
        return [tokens * ops.expand_dims(mask, -1), mask]

    def compute_output_shape(self, input_shape):
        batch, steps, units = input_shape[0]
        steps = self.steps or steps
        return [(batch, steps, units), (batch, steps)]

    def get_config(self):
        return {**super().get_config(), "steps": self.steps}
