"""GradNorm: the losses of several tasks, weighed such that all learn at one pace."""

import tensorflow as tf

from mm_keras.training.balance.plain import PlainTasks
from mm_keras.training.optimizer import summed

LEAST = 1e-3


class GradNorm(PlainTasks):
    """Weighs tasks such that their gradients' norms follow how much they have still to learn.

    With the scaled loss `L_t` of a task, 1 at the start, and the norm `n_t` of its gradient in the weights that all
    tasks share,

        G_t      = weight_t * n_t
        target_t = mean(G) * (L_t / mean(L))^alpha, held constant
        weight_t = weight_t - rate * sign(G_t - target_t) * n_t / mean(n),

    then all weights, at least 0.001, are multiplied such that their mean is 1: one step down the sum of
    `|G_t - target_t|`. `L_t` is a running mean, of 0.9 of itself and 0.1 of the step's. The history has
    `weight_<task>` as it was at the end of the epoch.

    Args:
        plan: A `Plan`.
        alpha: How strongly a task that is behind is pulled; 0 wants equal norms.
        rate: Learning rate of the weights.

    Reference:
        Chen et al. 2018, arXiv:1711.02257, section 3.1, equations 1 and 2, and algorithm 1. Differs: the shared weights
        are the whole fusion's; losses start at 1 by their scale, not by the first batch's; the step is by gradients
        over their mean norm, so that it does not depend on the unit; losses are running means.
    """

    def __init__(self, plan, alpha, rate):
        super().__init__(plan)
        self.alpha, self.rate, self.names = alpha, rate, list(plan.tasks)
        self.weights = tf.Variable(tf.ones(len(self.names)), trainable=False)
        self.losses = tf.Variable(tf.ones(len(self.names)), trainable=False)
        self.heads = {task: head for head, (task, source) in plan.heads.items() if source == "fusion"}

    def factor(self, task):
        return self.plan.scales[task] * self.weights[self.names.index(task)]

    def update(self, step):
        losses = tf.stack([self.plan.scales[t] * step.losses[self.heads[t]] for t in self.names])
        norms = tf.stack([self._norm(step, t) for t in self.names])
        # A batch without a label of a task says nothing of it.
        running = 0.9 * self.losses + 0.1 * losses
        self.losses.assign(tf.where(losses > 0.0, running, self.losses))
        self.weights.assign(next_weights(self.weights, self.losses, norms, self.alpha, self.rate))

    def _norm(self, step, task):
        """Returns the norm of a task's gradient in the shared weights; the optimizer's scale cancels out later."""
        found = step.tape.gradient(step.scaled[self.heads[task]], self.plan.shared)
        squares = [tf.reduce_sum(summed(g) ** 2) for g in found if g is not None]
        return self.plan.scales[task] * tf.sqrt(tf.add_n(squares))

    def variables(self):
        return [self.weights, self.losses]

    def columns(self):
        return {f"weight_{t}": float(w) for t, w in zip(self.names, self.weights.numpy(), strict=True)}


def next_weights(weights, losses, norms, alpha, rate):
    """Returns the tasks' weights after one step; all `(tasks,)`.

    Args:
        weights: Before it.
        losses: Each over what it was at the start.
        norms: Of the gradients of the losses, not weighed.
        alpha: As in `GradNorm`.
        rate: As in `GradNorm`.
    """
    weighed = weights * norms
    target = tf.reduce_mean(weighed) * (losses / tf.reduce_mean(losses)) ** alpha
    slope = tf.sign(weighed - target) * tf.math.divide_no_nan(norms, tf.reduce_mean(norms))
    moved = tf.maximum(weights - rate * slope, LEAST)
    return moved / tf.reduce_mean(moved)
