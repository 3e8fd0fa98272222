"""What fusions by attention share: sequences of one width, and the transformer block."""

import keras
from keras import layers, ops

from mm_keras.fusion.shared_space import kept_inputs


def check_heads(units, num_heads):
    """Raises `ValueError` when the heads cannot share the units evenly."""
    if units % num_heads:
        raise ValueError(f"`units` must be a multiple of `num_heads`, {num_heads}. Received: units={units}")


@keras.saving.register_keras_serializable("mm_keras")
class TokenSequences(layers.Layer):
    """Brings the tokens of all inputs to one width, each sequence headed by a summary, the projected embedding.

    Every input has dense layers of its own, whose biases tell which input a token comes from, and a learned vector for
    each place. An absent input is masked out, but when all are: then their summaries are kept, their learned missing
    embeddings.

    Args:
        units: Size of a token.

    Input shape:
        As a fusion of tokens: `{input: (batch, channels)}`, `{input: (batch, 1)}`, `{input: (batch, steps, channels)}`
        and `{input: (batch, steps)}`.

    Output shape:
        `{input: (batch, 1 + steps, units)}` and `{input: (batch, 1 + steps)}`, 1 keeps.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, embeddings_shape, present_shape, tokens_shape, masks_shape):
        self.names = sorted(embeddings_shape)
        small = keras.initializers.RandomNormal(stddev=0.02)
        self.summaries, self.projections, self.places = {}, {}, {}
        for i, name in enumerate(self.names):
            for kind, made, shape in (
                ("summary", self.summaries, embeddings_shape[name]),
                ("token", self.projections, tokens_shape[name]),
            ):
                made[name] = layers.Dense(self.units, dtype=self.dtype_policy, name=f"{kind}_{i}")
                made[name].build(shape)
            steps = tokens_shape[name][1]
            self.places[name] = self.add_weight(shape=(steps, self.units), initializer=small, name=f"places_{i}")

    def call(self, embeddings, present, tokens, masks):
        kept = kept_inputs(present, self.names, embeddings[self.names[0]])
        sequences, keep = {}, {}
        for i, name in enumerate(self.names):
            summary = ops.expand_dims(self.summaries[name](embeddings[name]), 1)
            x = self.projections[name](tokens[name])
            sequences[name] = ops.concatenate([summary, x + ops.cast(self.places[name], x.dtype)], axis=1)
            keep[name] = ops.concatenate([ops.cast(kept[:, i : i + 1], x.dtype), ops.cast(masks[name], x.dtype)], 1)
        return sequences, keep

    def compute_output_shape(self, embeddings_shape, present_shape, tokens_shape, masks_shape):
        lengths = {n: (shape[0], 1 + shape[1]) for n, shape in tokens_shape.items()}
        return {n: (*shape, self.units) for n, shape in lengths.items()}, lengths

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("mm_keras")
class AttentionBlock(layers.Layer):
    """A pre-normalised transformer block: attention, then a network twice as wide, each added to what came in.

    Queries and keys share one normalisation. Where all keys are masked, attention adds nothing.

    Args:
        num_heads: Attention heads; they share the units.
        dropout: Fraction zeroed in training, of the attention and of what is added. Defaults to `0.0`.

    Input shape:
        Queries `(batch, queries, units)`; then, each of them or `None`: keys `(batch, keys, units)`, by default the
        queries themselves, and their mask `(batch, keys)`, 1 keeps.

    Output shape:
        `(batch, queries, units)`.

    Reference:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.2; normalised first as Xiong et al. 2020, arXiv:2002.04745.
    """

    def __init__(self, num_heads, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.num_heads, self.dropout = num_heads, dropout

    def build(self, queries_shape, keys_shape=None, keep_shape=None):
        units, own = queries_shape[-1], {"dtype": self.dtype_policy}
        check_heads(units, self.num_heads)
        self.attention = layers.MultiHeadAttention(
            self.num_heads, units // self.num_heads, dropout=self.dropout, name="attention", **own
        )
        self.attention.build(queries_shape, keys_shape or queries_shape)
        self.norms = [layers.LayerNormalization(epsilon=1e-5, name=f"norm_{i}", **own) for i in range(2)]
        for norm in self.norms:
            norm.build(queries_shape)
        self.widen = layers.Dense(2 * units, activation="gelu", name="widen", **own)
        self.widen.build(queries_shape)
        self.narrow = layers.Dense(units, name="narrow", **own)
        self.narrow.build((*queries_shape[:-1], 2 * units))
        self.drop = layers.Dropout(self.dropout, name="drop", **own)

    def call(self, queries, keys=None, keep=None, training=False):
        y = self.norms[0](queries)
        keys = y if keys is None else self.norms[0](keys)
        if keep is None:
            y = self.attention(y, keys, training=training)
        else:
            kept = ops.expand_dims(keep, 1)  # (batch, queries, keys)
            y = self.attention(y, keys, attention_mask=ops.greater(kept, 0.5), training=training)
            y = y * ops.cast(ops.max(kept, axis=-1, keepdims=True), y.dtype)
        x = queries + self.drop(y, training=training)
        return x + self.drop(self.narrow(self.widen(self.norms[1](x))), training=training)

    def compute_output_shape(self, queries_shape, keys_shape=None, keep_shape=None):
        return queries_shape

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "dropout": self.dropout}
