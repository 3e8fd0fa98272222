"""Fusion of decisions by the evidence behind them."""

import keras
from keras import ops

from mm_keras.fusion.decision import DecisionFusion


@keras.saving.register_keras_serializable("mm_keras")
class DecisionEvidence(DecisionFusion):
    """Takes each input's logits as evidence and joins the opinions by Dempster's rule.

    An input's evidence for class k of K is `e_k = softplus(logit_k)`, its opinion the Dirichlet distribution of
    `e_k + 1`: belief `e_k / S` in each class and uncertainty `K / S`, `S = sum_k e_k + K`. The reduced rule of Dempster
    joins two opinions at a time, in any order. An absent input has the vacuous opinion, no evidence at all, which
    changes nothing; with none present the classes are equally probable, and the uncertainty is 1.

    The result is `log alpha`, the joint Dirichlet's, so that its softmax is the expected probability `alpha_k / S`, and
    the uncertainty of the answer is `K / sum(exp(result))`.
    Interacts: no. The class that wins has the largest sum over the inputs.

    Args:
        probabilities: Whether the logits stand for classes. With `False` they are values, which bring no evidence with
            them; they are meaned by a learned precision of each input, `softplus` of a weight, which is the rule for
            normal distributions, and absent inputs have none (with none present, all count).

    Input shape:
        `{input: logits (batch, classes)}` and `{input: (batch, 1)}`.

    Output shape:
        `(batch, classes)`.

    Example:
        >>> import numpy as np
        >>> sure, unsure = np.array([[9.0, -9.0]]), np.array([[-9.0, 1.0]])
        >>> alpha = np.exp(DecisionEvidence()({"a": sure, "b": unsure})).astype(float)
        >>> (alpha / alpha.sum()).round(2).tolist()
        [[0.81, 0.19]]

    Reference:
        Han et al. 2021, arXiv:2102.02051, sections 3.1 and 3.2 (TMC). Differs: the cross-entropy of the expected
        probability trains it, without the term that draws wrong evidence to zero.
    """

    def build(self, logits_shape, present_shape=None):
        super().build(logits_shape, present_shape)
        self.count = next(iter(logits_shape.values()))[-1]
        if not self.probabilities:
            self.scores = self.add_weight(shape=(1, len(self.names)), initializer="zeros", name="scores")

    def _shares(self, like):
        precisions = ops.softplus(self.scores)
        return precisions / ops.sum(precisions, axis=-1, keepdims=True)

    def call(self, logits, present=None):
        if not self.probabilities:
            return super().call(logits, present)
        # In closed form: joining opinions multiplies their `1 + e_k / K`, and the vacuous one's is 1.
        total = 0.0
        for name in self.names:
            factor = ops.log1p(ops.softplus(logits[name]) / self.count)
            total = total + (factor if present is None else factor * present[name])
        # log(K * exp(total) - (K - 1)), which is alpha, without the overflow of the exponential.
        return total + ops.log(self.count - (self.count - 1) * ops.exp(-total))
