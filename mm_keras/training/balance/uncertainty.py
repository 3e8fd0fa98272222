"""The losses of several tasks, each by the noise that is learned for it."""

import keras
import tensorflow as tf

from mm_keras.training.balance.plain import PlainTasks


class UncertaintyWeights(PlainTasks):
    """Weighs tasks by their homoscedastic uncertainty.

    Every task has a learned logarithm of a variance `s`, 0 at first. What is trained is the sum over the tasks of

        exp(-s) / 2 * loss + s / 2   for a number (mean squared error, standardised),
        exp(-s) * loss + s / 2       for classes (cross-entropy),

    least at the variance `exp(s) = loss`, or `2 * loss`. The factor on a task's loss, `weight_<task>` in the history as
    it was at the end of the epoch, weighs the inputs' own heads too.

    Args:
        plan: A `Plan`.
        rate: Learning rate of Adam for the logarithms.

    Reference:
        Kendall et al. 2018, arXiv:1705.07115, equations 7 and 10. Differs: `s` has a learning rate of its own, since it
        has as far to go in a short training as in a long one.
    """

    def __init__(self, plan, rate):
        super().__init__(plan)
        self.halves = {t: 1.0 if task.is_categorical else 0.5 for t, task in plan.tasks.items()}
        self.logs = {t: keras.Variable(0.0, dtype="float32", name=f"{t}_log_variance") for t in plan.tasks}
        self.optimizer = keras.optimizers.Adam(rate)
        self.optimizer.build(list(self.logs.values()))

    def factor(self, task):
        return self.halves[task] * tf.exp(-tf.convert_to_tensor(self.logs[task]))

    def penalty(self):
        return 0.5 * tf.add_n([tf.convert_to_tensor(s) for s in self.logs.values()])

    def update(self, step):
        gradients = []
        for head, (task, source) in self.plan.heads.items():
            if source == "fusion":
                gradients.append((0.5 - self.factor(task) * step.losses[head], self.logs[task]))
        self.optimizer.apply_gradients(gradients)

    def variables(self):
        return [*self.logs.values(), *self.optimizer.variables]

    def columns(self):
        return {f"weight_{t}": float(self.factor(t)) for t in self.logs}
