"""Fusions by attention among the tokens of all inputs."""

import keras
from keras import layers, ops

from mm_keras.fusion.attention import AttentionBlock, TokenSequences, check_heads
from mm_keras.fusion.joint import JointEmbedding
from mm_keras.fusion.shared_space import mean_of_kept


class _TokenFusion(JointEmbedding):
    level = "tokens"

    def __init__(self, units, dropout=0.0, num_heads=4, layers=2, **kwargs):
        check_heads(units, num_heads)
        super().__init__(units, dropout, **kwargs)
        self.num_heads, self.layers = num_heads, layers

    def build(self, embeddings_shape, present_shape, tokens_shape, masks_shape):
        self.names = sorted(embeddings_shape)
        self.sequences = TokenSequences(self.units, dtype=self.dtype_policy, name="sequences")
        self.sequences.build(embeddings_shape, present_shape, tokens_shape, masks_shape)
        self.blocks = {}
        self._build_blocks()
        self.norm = layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name="norm")
        self.norm.build((None, None, self.units))
        self.drop = layers.Dropout(self.dropout, dtype=self.dtype_policy, name="drop")

    def _add_block(self, key):
        block = AttentionBlock(self.num_heads, self.dropout, dtype=self.dtype_policy, name=f"block_{key}")
        block.build((None, None, self.units), (None, None, self.units))
        self.blocks[key] = block

    def _add_start(self, count):
        # At the scale of the projected tokens: smaller ones beside them would be lost in int8.
        unit = keras.initializers.RandomNormal(stddev=1.0)
        self.start = self.add_weight(shape=(count, self.units), initializer=unit, name="start")

    def call(self, embeddings, present, tokens, masks, training=False):
        x, keep = self.sequences(embeddings, present, tokens, masks)
        return self.drop(self._join(x, keep, training), training=training)

    def _kept(self, keep):
        return ops.concatenate([keep[name][:, 0:1] for name in self.names], axis=1)

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "layers": self.layers}


@keras.saving.register_keras_serializable("mm_keras")
class TokenTransformerFusion(_TokenFusion):
    """One transformer over the tokens of all inputs; the mean of the present inputs' summaries is the result.

    Interacts: yes.

    Args:
        units: Size of the joint embedding and of a token; a multiple of `num_heads`.
        dropout: Fraction zeroed in training, of the attention and of the result. Defaults to `0.0`.
        num_heads: Attention heads. Defaults to `4`.
        layers: Transformer blocks. Defaults to `2`.

    Input shape:
        As `TokenSequences`, which comes first.

    Output shape:
        `(batch, units)`.

    Reference:
        Kim et al. 2021, arXiv:2102.03334, section 3.1 (ViLT). Differs: the encoders' tokens in place of raw patches and
        words; no class token, but the mean of the summaries.
    """

    def _build_blocks(self):
        for depth in range(self.layers):
            self._add_block(str(depth))

    def _join(self, x, keep, training):
        count = len(self.names)
        x, keep_all = (
            ops.concatenate([v[n][:, :1] for n in self.names] + [v[n][:, 1:] for n in self.names], axis=1)
            for v in (x, keep)
        )
        *blocks, last = self.blocks.values()
        for block in blocks:
            x = block(x, keep=keep_all, training=training)
        # Of the last block only the summaries are read, so only they ask.
        x = last(x[:, :count], x, keep_all, training=training)
        return mean_of_kept(self.norm(x), self._kept(keep))


@keras.saving.register_keras_serializable("mm_keras")
class CrossAttentionFusion(_TokenFusion):
    """Every input's tokens attend to those of every other input, pair by pair.

    For each target a block of self-attention follows over what its pairs gave, joined by a dense layer; a dense layer
    joins the targets' summaries. An absent input adds nothing to the others.

    Interacts: yes.

    Args:
        units: Size of the joint embedding and of a token; a multiple of `num_heads`.
        dropout: Fraction zeroed in training, of the attention and of the result. Defaults to `0.0`.
        num_heads: Attention heads. Defaults to `4`.
        layers: Blocks of each ordered pair, so `inputs * (inputs - 1)` times as many in all. Defaults to `1`.

    Input shape:
        As `TokenSequences`, which comes first.

    Output shape:
        `(batch, units)`, at least zero.

    Reference:
        Tsai et al. 2019, arXiv:1906.00295, section 3.2 (MulT). Differs: dense layers and learned places where the paper
        has temporal convolutions and sinusoids; one block of self-attention; the summaries in place of the last steps.
    """

    def __init__(self, units, dropout=0.0, num_heads=4, layers=1, **kwargs):
        super().__init__(units, dropout, num_heads, layers, **kwargs)

    def _build_blocks(self):
        count, units, own = len(self.names), self.units, {"dtype": self.dtype_policy}
        self.merges = []
        for target in range(count):
            for source in range(count):
                for depth in range(self.layers if source != target else 0):
                    self._add_block(f"{target}_{source}_{depth}")
            self._add_block(f"{target}")
            if count > 2:
                self.merges.append(layers.Dense(units, name=f"merge_{target}", **own))
                self.merges[-1].build((None, None, (count - 1) * units))
        self.join = layers.Dense(units, activation="relu", name="join", **own)
        self.join.build((None, count * units))

    def _join(self, x, keep, training):
        summaries = []
        for target, name in enumerate(self.names):
            z = self._hear(target, x, keep, training)
            # Only the summary is read, so only it asks.
            z = self.blocks[str(target)](z[:, :1], z, keep[name], training=training)
            summaries.append(self.norm(z)[:, 0])
        return self.join(ops.concatenate(summaries, axis=-1))

    def _hear(self, target, x, keep, training):
        """Returns the tokens of one input after attention to each other input, `(batch, 1 + steps, units)`."""
        heard = []
        for source, name in enumerate(self.names):
            if source == target:
                continue
            z = x[self.names[target]]
            for depth in range(self.layers):
                z = self.blocks[f"{target}_{source}_{depth}"](z, x[name], keep[name], training=training)
            heard.append(z)
        if not heard:
            return x[self.names[target]]
        return self.merges[target](ops.concatenate(heard, axis=-1)) if len(heard) > 1 else heard[0]


@keras.saving.register_keras_serializable("mm_keras")
class BottleneckFusion(_TokenFusion):
    """A transformer for each input, which hear of each other only through a few shared tokens.

    In every layer each input's tokens and the bottlenecks attend to each other; then the bottlenecks become the mean of
    what the present inputs made of them. The mean of the present inputs' summaries is the result. The cost grows with
    the square of each length, not of their sum.

    Interacts: yes.

    Args:
        units: Size of the joint embedding and of a token; a multiple of `num_heads`.
        dropout: Fraction zeroed in training, of the attention and of the result. Defaults to `0.0`.
        num_heads: Attention heads. Defaults to `4`.
        layers: Transformer blocks of each input, at least 2: what the first puts into the bottlenecks, the second
            reads. Defaults to `2`.
        bottlenecks: Shared tokens. Defaults to `4`, the paper's best.

    Input shape:
        As `TokenSequences`, which comes first.

    Output shape:
        `(batch, units)`.

    Raises:
        ValueError: When `layers` is less than 2.

    Reference:
        Nagrani et al. 2021, arXiv:2107.00135, section 3.2 (MBT, equations 8 and 9). Differs: fusion from the first
        layer on, since the encoders come before; the summaries are averaged, not their decisions.
    """

    def __init__(self, units, dropout=0.0, num_heads=4, layers=2, bottlenecks=4, **kwargs):
        if layers < 2:
            raise ValueError(f"`layers` must be at least 2, or no input hears of another. Received: layers={layers}")
        super().__init__(units, dropout, num_heads, layers, **kwargs)
        self.bottlenecks = bottlenecks

    def _build_blocks(self):
        self._add_start(self.bottlenecks)
        for depth in range(self.layers):
            for i in range(len(self.names)):
                self._add_block(f"{depth}_{i}")

    def _join(self, x, keep, training):
        x = dict(x)
        shared = _repeated(self.start, x[self.names[0]])
        masks = {n: ops.concatenate([keep[n], ops.ones_like(shared[..., 0])], axis=1) for n in self.names}
        for depth in range(self.layers - 1):
            made = []
            for i, name in enumerate(self.names):
                both = ops.concatenate([x[name], shared], axis=1)
                both = self.blocks[f"{depth}_{i}"](both, keep=masks[name], training=training)
                steps = x[name].shape[1]
                x[name] = both[:, :steps]
                made.append(both[:, steps:])
            shared = mean_of_kept(ops.stack(made, axis=1), self._kept(keep))
        # Of the last layer only the summaries are read, so only they ask.
        summaries = [
            self.blocks[f"{self.layers - 1}_{i}"](
                x[n][:, :1], ops.concatenate([x[n], shared], axis=1), masks[n], training=training
            )
            for i, n in enumerate(self.names)
        ]
        return mean_of_kept(self.norm(ops.concatenate(summaries, axis=1)), self._kept(keep))

    def get_config(self):
        return {**super().get_config(), "bottlenecks": self.bottlenecks}


@keras.saving.register_keras_serializable("mm_keras")
class PerceiverFusion(_TokenFusion):
    """A few learned vectors read the tokens of all inputs, think, and read again; their mean is the result.

    The cost grows with the number of tokens, not with its square.

    Interacts: yes.

    Args:
        units: Size of the joint embedding, of a token and of a latent vector; a multiple of `num_heads`.
        dropout: Fraction zeroed in training, of the attention and of the result. Defaults to `0.0`.
        num_heads: Attention heads. Defaults to `4`.
        layers: How often the latent vectors read, and then attend to each other; weights of its own each time.
            Defaults to `2`.
        latents: Latent vectors. Defaults to `8`.

    Input shape:
        As `TokenSequences`, which comes first.

    Output shape:
        `(batch, units)`.

    Reference:
        Jaegle et al. 2021, arXiv:2103.03206, section 3.1. Differs: learned places in place of Fourier features; several
        heads when reading; one block of self-attention each time.
    """

    def __init__(self, units, dropout=0.0, num_heads=4, layers=2, latents=8, **kwargs):
        super().__init__(units, dropout, num_heads, layers, **kwargs)
        self.latents = latents

    def _build_blocks(self):
        self._add_start(self.latents)
        for depth in range(self.layers):
            self._add_block(f"read_{depth}")
            self._add_block(f"think_{depth}")

    def _join(self, x, keep, training):
        tokens, mask = (ops.concatenate([v[n] for n in self.names], axis=1) for v in (x, keep))
        latents = _repeated(self.start, tokens)
        for depth in range(self.layers):
            latents = self.blocks[f"read_{depth}"](latents, tokens, mask, training=training)
            latents = self.blocks[f"think_{depth}"](latents, training=training)
        return ops.mean(self.norm(latents), axis=1)

    def get_config(self):
        return {**super().get_config(), "latents": self.latents}


def _repeated(weight, like):
    """Returns `weight`, `(count, units)`, for every row of `like`."""
    return ops.zeros_like(like[:, :1]) + ops.cast(weight, like.dtype)
