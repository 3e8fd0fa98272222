"""What all balances begin with: the plain sum of the losses."""

import keras
import tensorflow as tf


class PlainInputs:
    """Every source's loss by its share; the gradients of the sum.

    Args:
        plan: A `Plan`.
    """

    # Whether it has `callbacks`, which look at rows between epochs.
    measures = False

    def __init__(self, plan):
        self.plan, self.means = plan, {}

    def begin_epoch(self, done):
        """Learns, before each epoch, which share of all epochs is done."""

    def weight(self, source):
        return 1.0

    def gradients(self, step):
        return step.tape.gradient(step.total, self.plan.variables)

    def steps(self):
        return {}

    def record(self, name, value):
        """Adds a step's value to the column `name` of the history, which has the mean over an epoch's steps.

        A step whose gradients overflowed in 16 bits, which the optimizer leaves out, is left out here too.
        """
        finite = tf.math.is_finite(value)
        self.means[name].update_state(tf.where(finite, value, 0.0), sample_weight=tf.cast(finite, tf.float32))

    def keep_columns(self, kinds):
        """Makes a column `<kind>_<input>` for each kind and input."""
        self.means = {f"{kind}_{n}": keras.metrics.Mean() for kind in kinds for n in self.plan.encoders}

    def variables(self):
        """Returns what changes from step to step; a training that is stopped goes on with it."""
        return [v for mean in self.means.values() for v in mean.variables]

    def columns(self):
        found = {name: float(mean.result()) for name, mean in self.means.items()}
        for mean in self.means.values():
            mean.reset_state()
        return found


class PlainTasks:
    """Every task's losses by its scale and its own weight.

    Args:
        plan: A `Plan`.
    """

    def __init__(self, plan):
        self.plan = plan

    def factor(self, task):
        return self.plan.scales[task]

    def penalty(self):
        return 0.0

    def update(self, step):
        pass

    def variables(self):
        """Returns what changes from step to step; a training that is stopped goes on with it."""
        return []

    def columns(self):
        return {}
