"""Fusion of decisions: every input has its own head."""

import keras
from keras import layers, ops

from mm_keras.fusion.shared_space import kept_inputs


class DecisionFusion(layers.Layer):
    """What fusions of decisions share: which inputs count, and how much.

    None of them interacts: whichever class one input speaks for, it speaks for whatever the others hold.

    Args:
        probabilities: Whether the logits stand for classes. Defaults to `True`.
    """

    level = "decisions"

    def __init__(self, probabilities=True, **kwargs):
        # In float32 whatever the policy: logarithms of small probabilities do not fit 16 bits.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.probabilities = probabilities

    def build(self, logits_shape, present_shape=None):
        self.names = sorted(logits_shape)

    def _shares(self, like):
        return ops.ones((1, len(self.names)), like.dtype) / len(self.names)

    def _weights(self, present, like):
        """Returns `(batch, inputs)`, summing to 1 over the present inputs; if none is, over all."""
        share = self._shares(like)
        if present is None:
            return ops.broadcast_to(share, ops.shape(like))
        weights = kept_inputs(present, self.names, like) * share
        return weights / ops.sum(weights, axis=-1, keepdims=True)

    def call(self, logits, present=None):
        stacked = ops.stack([logits[name] for name in self.names], axis=1)  # (batch, inputs, classes)
        weights = ops.expand_dims(self._weights(present, stacked[..., 0]), -1)
        if not self.probabilities:
            return ops.sum(stacked * weights, axis=1)
        return self._join(ops.log_softmax(stacked, axis=-1), weights)

    def _join(self, logs, weights):
        """Returns the logarithm of the weighted mean of the probabilities whose logarithms are given."""
        # 1e-9 in place of 0 keeps the logarithm finite; it moves a probability by less than that.
        terms = logs + ops.log(ops.maximum(weights, 1e-9))
        top = ops.max(terms, axis=1, keepdims=True)
        return ops.squeeze(top, 1) + ops.log(ops.sum(ops.exp(terms - top), axis=1))

    def compute_output_shape(self, logits_shape, present_shape=None):
        return next(iter(logits_shape.values()))

    def get_config(self):
        return {**super().get_config(), "probabilities": self.probabilities}


@keras.saving.register_keras_serializable("mm_keras")
class DecisionMean(DecisionFusion):
    """Means the present inputs' probabilities (or values).

    Interacts: no.

    Args:
        probabilities: Whether the logits stand for classes; then the result is the logarithm of the mean of their
            softmax. `False` means the values themselves. Defaults to `True`.

    Input shape:
        `{input: logits (batch, classes)}` and `{input: (batch, 1)}`.

    Output shape:
        `(batch, classes)`.

    Example:
        >>> import numpy as np
        >>> one, two = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
        >>> np.exp(DecisionMean()({"a": one, "b": two})).astype(float).round(2).tolist()
        [[0.7, 0.3]]

    Reference:
        Kittler et al. 1998, On combining classifiers, section 2 (the sum rule).
    """


@keras.saving.register_keras_serializable("mm_keras")
class DecisionWeighted(DecisionFusion):
    """As `DecisionMean`, with a learned weight for each input, renormalised over those present.

    Interacts: no.

    Args:
        probabilities: As in `DecisionMean`.

    Input shape:
        `{input: logits (batch, classes)}` and `{input: (batch, 1)}`.

    Output shape:
        `(batch, classes)`.
    """

    def build(self, logits_shape, present_shape=None):
        super().build(logits_shape, present_shape)
        self.scores = self.add_weight(shape=(1, len(self.names)), initializer="zeros", name="scores")

    def _shares(self, like):
        return ops.softmax(self.scores, axis=-1)


@keras.saving.register_keras_serializable("mm_keras")
class DecisionProduct(DecisionFusion):
    """Multiplies the present inputs' probabilities (or means their values): each input can veto.

    Interacts: no.

    Args:
        probabilities: As in `DecisionMean`; the result is the sum of the logarithms, up to a constant.

    Input shape:
        `{input: logits (batch, classes)}` and `{input: (batch, 1)}`.

    Output shape:
        `(batch, classes)`.

    Example:
        >>> import numpy as np
        >>> one, two = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
        >>> product = np.exp(DecisionProduct()({"a": one, "b": two}))
        >>> (product / product.sum()).astype(float).round(2).tolist()
        [[0.9, 0.1]]

    Reference:
        Kittler et al. 1998, On combining classifiers, section 2.1 (the product rule, equal priors). Differs: each
        input's logits carry the prior, which the joint training weighs.
    """

    def _join(self, logs, weights):
        return ops.sum(logs * ops.cast(ops.greater(weights, 0.0), logs.dtype), axis=1)
