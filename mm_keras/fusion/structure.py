"""Fusions inside the encoders, at each of their depths."""

import keras
from keras import layers, ops

from mm_keras.fusion.concat import ConcatFusion
from mm_keras.fusion.joint import JointEmbedding
from mm_keras.fusion.shared_space import build_projections


def squeeze(features, mask=None):
    """Means features over all their places.

    Args:
        features: `(batch, ..., channels)`, of any rank from 2.
        mask: `(batch, steps)` over axis 1, 1 keeps; a row without any step gives zeros. Defaults to `None`, all.

    Returns:
        Float32 `(batch, channels)`: a sum over many places does not fit 16 bits.
    """
    x = ops.cast(features, "float32")
    if len(x.shape) == 2:
        return x
    if len(x.shape) > 3:
        x = ops.mean(x, axis=tuple(range(2, len(x.shape) - 1)))
    if mask is None:
        return ops.mean(x, axis=1)
    keep = ops.expand_dims(ops.cast(mask, "float32"), -1)
    # Not `maximum(count, 1)`: int8 conversion gives both sides of it one scale, and a count would end at 1.
    return ops.sum(x * keep, axis=1) / (ops.sum(keep, axis=1) + 1.0 - ops.max(keep, axis=1))


@keras.saving.register_keras_serializable("mm_keras")
class SqueezeExcite(layers.Layer):
    """Rescales the channels of every branch by gates that see all branches.

    `z = relu(W [s_1; ..; s_M])` of the branches' means `s_i`, 0 for an absent input; branch `i` is multiplied by
    `2 sigmoid(W_i z)`.

    Args:
        reduction: How many times `z` is shorter than the means together. Defaults to `4`.

    Input shape:
        `{input: (batch, ..., channels)}`, `{input: (batch, 1)}` and, for the inputs that have one, `{input: (batch,
        steps)}`.

    Output shape:
        As the first.
    """

    def __init__(self, reduction=4, **kwargs):
        super().__init__(**kwargs)
        self.reduction = reduction

    def build(self, features_shape, present_shape=None, masks_shape=None):
        self.names = sorted(features_shape)
        total = sum(features_shape[n][-1] for n in self.names)
        short = -(-total // self.reduction)
        self.join = layers.Dense(short, activation="relu", dtype=self.dtype_policy, name="join")
        self.join.build((None, total))
        self.gates = {}
        for i, name in enumerate(self.names):
            channels = features_shape[name][-1]
            self.gates[name] = layers.Dense(channels, activation="sigmoid", dtype=self.dtype_policy, name=f"gate_{i}")
            self.gates[name].build((None, short))

    def call(self, features, present, masks=None):
        masks = masks or {}
        means = [squeeze(features[n], masks.get(n)) * ops.cast(present[n], "float32") for n in self.names]
        z = self.join(ops.concatenate(means, axis=-1))
        changed = {}
        for name in self.names:
            x = features[name]
            gate = 2.0 * ops.cast(self.gates[name](z), x.dtype)
            for _ in range(len(x.shape) - 2):
                gate = ops.expand_dims(gate, 1)
            changed[name] = x * gate
        return changed

    def compute_output_shape(self, features_shape, present_shape=None, masks_shape=None):
        return dict(features_shape)

    def get_config(self):
        return {**super().get_config(), "reduction": self.reduction}


class MMTMFusion:
    """Squeezes and excites between the branches at every depth, then concatenates the embeddings.

    Interacts: yes.

    Args:
        units: Size of the joint embedding.
        dropout: Fraction of it zeroed in training. Defaults to `0.0`.
        reduction: Of each `SqueezeExcite`. Defaults to `4`, the paper's for two branches of one width.
        name: Of the last layer; those of the depths are `<name>_1`, `<name>_2`.. Defaults to `"fusion"`.

    Reference:
        Joze et al. 2020, arXiv:1911.08670, section 3.2 (the multimodal transfer module). Differs: any number of
        branches; a ReLU before the gates, as in the authors' code; at the end embeddings are joined as in
        `ConcatFusion`, where the paper means the branches' decisions.
    """

    level = "depths"

    def __init__(self, units, dropout=0.0, reduction=4, name="fusion"):
        self.units, self.dropout, self.reduction, self.name = units, dropout, reduction, name

    def exchange(self, depth, features, masks, present):
        """Returns the features, rescaled."""
        layer = SqueezeExcite(self.reduction, name=f"{self.name}_{depth}")
        return layer(features, {n: present[n] for n in features}, _given(masks))

    def join(self, embeddings, present):
        """Returns the joint embedding."""
        return ConcatFusion(self.units, self.dropout, name=self.name)(embeddings, present)


@keras.saving.register_keras_serializable("mm_keras")
class CentralLayer(JointEmbedding):
    """One layer of the central network: a weighted sum of the branches and of its layer before, then a dense layer.

    `c' = relu(W (a_0 c + sum_i a_i p_i (V_i s_i + b_i)) + b)` of the branches' means `s_i` and presences `p_i`.

    Args:
        units: Size of the central network.
        dropout: Fraction of the result zeroed in training. Defaults to `0.0`.

    Input shape:
        `{input: (batch, ..., channels)}`; then, each of them or `None`: `{input: (batch, 1)}` with `None` for all
        present, `{input: (batch, steps)}` for the inputs that have a mask, and the layer before, `(batch, units)`.

    Output shape:
        `(batch, units)`, at least zero.
    """

    def build(self, features_shape, present_shape=None, masks_shape=None, central_shape=None):
        self.names = sorted(features_shape)
        terms = len(self.names) + (central_shape is not None)
        equal = keras.initializers.Constant(1.0 / terms)
        # The branches in the order of their names, then the layer before.
        self.shares = self.add_weight(shape=(terms,), initializer=equal, name="shares")
        squeezed = {n: (None, features_shape[n][-1]) for n in self.names}
        self.projections = build_projections(squeezed, self.units, dtype=self.dtype_policy)
        self.join = layers.Dense(self.units, activation="relu", dtype=self.dtype_policy, name="join")
        self.join.build((None, self.units))
        self.drop = layers.Dropout(self.dropout, dtype=self.dtype_policy, name="drop")

    def call(self, features, present=None, masks=None, central=None, training=False):
        masks = masks or {}
        terms = []
        for name in self.names:
            x = self.projections[name](squeeze(features[name], masks.get(name)))
            terms.append(x if present is None else x * ops.cast(present[name], x.dtype))
        if central is not None:
            terms.append(central)
        shares = ops.cast(self.shares, terms[0].dtype)
        return self.drop(self.join(sum(x * shares[i] for i, x in enumerate(terms))), training=training)


class CentralFusion:
    """A network of its own that adds the branches to itself at every depth, and at last their embeddings.

    It reads the branches and leaves them as they are. An absent input adds nothing inside, and its learned embedding at
    the end.

    Interacts: yes.

    Args:
        units: Size of the central network, and so of the joint embedding.
        dropout: Fraction of the joint embedding zeroed in training. Defaults to `0.0`.
        name: Of the last layer; those of the depths are `<name>_1`, `<name>_2`.. Defaults to `"fusion"`.

    Reference:
        Vielzeuf et al. 2018, arXiv:1808.07275, section 3.2 (CentralNet, equation 1). Differs: branches are means over
        their places, projected to `units`, since pictures, texts and numbers share no shape; a weight for each term,
        begun equal. `training.auxiliary` gives the branches the losses of their own that the paper has.
    """

    level = "depths"

    def __init__(self, units, dropout=0.0, name="fusion"):
        self.units, self.dropout, self.name = units, dropout, name
        self._central = None

    def exchange(self, depth, features, masks, present):
        """Returns the features, unchanged."""
        layer = CentralLayer(self.units, name=f"{self.name}_{depth}")
        self._central = layer(features, {n: present[n] for n in features}, _given(masks), self._central)
        return features

    def join(self, embeddings, present):
        """Returns the joint embedding."""
        return CentralLayer(self.units, self.dropout, name=self.name)(embeddings, central=self._central)


def _given(masks):
    """Returns the masks that there are: Keras passes no dict with `None` in it, nor an empty one."""
    return {n: m for n, m in masks.items() if m is not None} or None
