"""Gradient blending: each head's loss by how much it generalises for how much it overfits."""

import keras
import numpy as np
import tensorflow as tf

from mm_keras.training.balance.plain import PlainInputs
from mm_keras.training.balance.plan import rows_losses


class GradientBlending(PlainInputs):
    """Online gradient blending by the overfitting-to-generalisation ratio.

    The sources are the fusion and each input's own head. At both ends of a super-epoch the loss of every source is
    measured on the validation rows, `V`, and on as many training rows, `T`, dropout and augmentation off. With the
    generalisation that it gained, `G = V_begin - V_end`, and the overfitting, `O = (V - T)_end - (V - T)_begin`, whose
    ratio squared, `(O / G)^2`, is least for the blend

        weight_k = G_k / O_k^2, over the sum of all sources' weights,

    which weighs the losses of the next super-epoch. The first one has equal weights. A row counts for an input's head
    only where it has the input; several tasks' losses are summed, each by its scale. The history has `weight_fusion`
    and `weight_<input>`, those that the epoch was trained with.

    Args:
        plan: A `Plan`.
        super_epoch: How many epochs lie between two measurements.

    Reference:
        Wang et al. 2020, arXiv:1905.12681, proposition 1 and algorithms 1 and 2 (the online variant). Differs: the
        losses are measured along the blended training itself, without a second training of each source alone; a source
        that got worse counts as one that gained nothing; `O` is at least `0.02`, a fiftieth of the loss at the
        start, below which it is noise; no weight is less than a tenth of an equal one, so that every head stays
        trained.
    """

    measures = True

    def __init__(self, plan, super_epoch):
        super().__init__(plan)
        self.super_epoch = super_epoch
        self.sources = ("fusion", *plan.encoders)
        self.weights = {s: tf.Variable(1.0 / len(self.sources), trainable=False) for s in self.sources}

    def weight(self, source):
        return self.weights[source]

    def variables(self):
        return list(self.weights.values())

    def columns(self):
        return {f"weight_{s}": float(weight) for s, weight in self.weights.items()}

    def callbacks(self, batches):
        """Returns those that a training needs; `batches` are two datasets, of training and of validation rows."""
        return [_SuperEpochs(self, batches)]

    def measure(self, batches):
        """Returns `(sources,)`: each source's loss on rows, in inference; all tasks' summed, each by its scale."""
        sums = np.sum([np.asarray(self._batch_sums(*batch)) for batch in batches], axis=0)  # (2, heads)
        means = dict(zip(self.plan.heads, sums[0] / np.maximum(sums[1], 1e-8), strict=True))
        found = dict.fromkeys(self.sources, 0.0)
        for head, (task, source) in self.plan.heads.items():
            found[source] += means[head] * self.plan.scales[task]
        return np.array(list(found.values()))

    @tf.function(autograph=False, reduce_retracing=True)
    def _batch_sums(self, tensors, targets, weights):
        """Returns `(2, heads)`: of each head the weighted losses' sum, and the weights'."""
        logits, present = self.plan.watched(tensors, training=False)
        sums = []
        for head, (_, source) in self.plan.heads.items():
            here = weights[head]
            if source != "fusion":
                here = here * tf.cast(present[source][:, 0], here.dtype)
            rows = tf.cast(rows_losses(self.plan.losses[head], targets[head], logits[head]), here.dtype)
            sums.append([tf.reduce_sum(rows * here), tf.reduce_sum(here)])
        return tf.transpose(tf.convert_to_tensor(sums))


class _SuperEpochs(keras.callbacks.Callback):
    """Measures at the ends of super-epochs, and sets the weights of the next one.

    Comes after what writes the columns, which are of the epoch that was trained.
    """

    def __init__(self, blending, batches):
        super().__init__()
        self.blending, self.batches, self.last = blending, batches, None

    def get_state(self):
        return {"last": self.last}

    def set_state(self, state):
        self.last = state["last"]

    def on_train_begin(self, logs=None):
        if self.last is None:
            self.last = self._measure()

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.blending.super_epoch == 0:
            now = self._measure()
            weights = blend(*self.last, *now)
            for source, weight in zip(self.blending.sources, weights, strict=True):
                self.blending.weights[source].assign(weight)
            self.last = now

    def _measure(self):
        return [self.blending.measure(batches) for batches in self.batches]


def blend(train_begin, validation_begin, train_end, validation_end, least_overfitting=0.02, least_share=0.1):
    """Returns the weights of sources, `(sources,)`, which sum to 1.

    Args:
        train_begin: Losses `(sources,)` of training rows before the super-epoch.
        validation_begin: The same of validation rows.
        train_end: Of training rows after it.
        validation_end: Of validation rows after it.
        least_overfitting: What `O` is at least.
        least_share: What a weight is at least, as a share of an equal one.
    """
    gain = np.maximum(validation_begin - validation_end, 0.0)
    overfitting = np.maximum((validation_end - train_end) - (validation_begin - train_begin), least_overfitting)
    raw, equal = gain / overfitting**2, 1.0 / len(gain)
    weights = raw / raw.sum() if raw.sum() > 0 else np.full(len(gain), equal)
    # A mean with equal ones, which still sums to 1.
    return (1.0 - least_share) * weights + least_share * equal
