"""OGM-GE: the encoder that is ahead is slowed, step by step."""

import keras
import tensorflow as tf

from mm_keras.training.balance.plain import PlainInputs
from mm_keras.training.balance.plan import rows_losses
from mm_keras.training.optimizer import summed


class GradientModulation(PlainInputs):
    """On-the-fly gradient modulation with generalisation enhancement.

    In each step, of every input u with the score `s_u`, the mean over the rows of the probability that its own head
    gives the true class,

        ratio_u  = s_u / mean of the other inputs' scores
        weight_u = 1 - tanh(alpha * ratio_u)  if ratio_u > 1, else 1
        step_u   = weight_u * the step of AdamW along (gradient_u + noise)
        noise    ~ Normal(0, (noise * standard deviation of the values of that gradient tensor)^2), for kernels.

    This in the first epochs, those that begin before the share `until` of all is done; the others are a plain sum, in
    which the one that was slowed catches up. A row counts for an input only where it has the input and a label. Of a
    task without classes the score is `exp(-loss of the row)`, which for classes is the same probability; several tasks'
    scores are meaned. Heads only watch: without `auxiliary`, no gradient of theirs reaches an encoder. The history has
    the means over the steps of `ratio_<input>` and `weight_<input>`.

    Args:
        plan: A `Plan`.
        alpha: How strongly the one that is ahead is slowed.
        noise: Factor on the noise; 0 is OGM without GE.
        until: Share of the epochs; from 1 on all of them.

    Reference:
        Peng et al. 2022, arXiv:2203.15332, equations 8 to 10 and section 3.4; `until` as in their code
        (GeWu-Lab/OGM-GE_CVPR2022), which modulates in 50 of 100 epochs. Differs: an input's score is that of a
        head of its own, for any fusion, not of its part of one linear layer; more than two inputs; the weight is on the
        step, which for SGD is the same, since Adam would divide a factor on the gradient out; the noise is slowed too.
        With AdamW and these defaults it gained nothing on the planted competition (seed 101): 0.846, as the plain sum;
        MMPareto 0.994. In trainings of six epochs it lost: 2.6 points on emoji (three seeds), 1.1 on pictures and
        sounds of digits (one).
    """

    def __init__(self, plan, alpha, noise, until, seed=0):
        super().__init__(plan)
        self.alpha, self.noise, self.until = alpha, noise, until
        # Of the epoch alone, so that a training that goes on need not keep it.
        self.modulates = tf.Variable(1.0, trainable=False)
        self.draws = keras.random.SeedGenerator(seed)
        self.keep_columns(("ratio", "weight"))
        self.weights = {n: tf.Variable(1.0, trainable=False) for n in plan.encoders}

    def begin_epoch(self, done):
        self.modulates.assign(float(done < self.until))

    def steps(self):
        return self.weights

    def variables(self):
        return [self.draws.state, *self.weights.values(), *super().variables()]

    def gradients(self, step):
        ratios = discrepancy_ratios(self.scores(step))
        for name, ratio in ratios.items():
            weight = tf.where(self.modulates > 0.0, modulation(ratio, self.alpha), 1.0)
            self.weights[name].assign(weight)
            self.record(f"ratio_{name}", ratio)
            self.record(f"weight_{name}", weight)
        gradients = super().gradients(step)
        if not self.noise:
            return gradients
        noisy = {id(w) for own in self.plan.encoders.values() for w in own if len(w.shape) > 1}
        pairs = zip(self.plan.variables, gradients, strict=True)
        return [self._enhanced(g, w.shape) if id(w) in noisy else g for w, g in pairs]

    def scores(self, step):
        """Returns `{input: mean score}` of a step, scalars."""
        found = {}
        for name in self.plan.encoders:
            scores = []
            for head, (task, source) in self.plan.heads.items():
                if source == name:
                    here = tf.cast(step.present[name][:, 0], tf.float32) * tf.cast(step.weights[head] > 0, tf.float32)
                    own = self._row_scores(task, head, step)
                    # An empty batch scores the same for all: 0 of 0.
                    scores.append((tf.reduce_sum(own * here) + 1e-8) / (tf.reduce_sum(here) + 1e-8))
            found[name] = tf.add_n(scores) / len(scores)
        return found

    def _row_scores(self, task, head, step):
        if self.plan.tasks[task].is_categorical:
            return tf.reduce_sum(tf.nn.softmax(step.logits[head]) * step.targets[head], axis=-1)
        return tf.exp(-rows_losses(self.plan.losses[head], step.targets[head], step.logits[head]))

    def _enhanced(self, gradient, shape):
        gradient = summed(gradient)
        if gradient is None:
            return None
        gradient = tf.ensure_shape(gradient, shape)  # that of a table is made of the rows that were read
        spread = self.modulates * self.noise * tf.math.reduce_std(gradient)
        return gradient + spread * keras.random.normal(gradient.shape, dtype=gradient.dtype, seed=self.draws)


def discrepancy_ratios(scores):
    """Returns `{input: its score over the mean of the others'}`."""
    total = tf.add_n(list(scores.values()))
    return {n: own * (len(scores) - 1) / (total - own) for n, own in scores.items()}


def modulation(ratio, alpha):
    """Returns the weight of an input's step."""
    return tf.where(ratio > 1.0, 1.0 - tf.tanh(alpha * ratio), 1.0)
