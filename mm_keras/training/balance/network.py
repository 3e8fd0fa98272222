"""The network that a balance trains."""

import keras
import tensorflow as tf

from mm_keras.training.balance.plan import Step


class BalancedNetwork(keras.Model):
    """A functional model whose losses and gradients are weighed by a balance of inputs and one of tasks.

    `loss` in the logs is the sum that is trained on, weights included; `val_loss` has the weights of the recipe alone,
    so that it can be compared from epoch to epoch.

    Args:
        args: Inputs and outputs, as of `keras.Model`.
        plan: A `Plan`.
        inputs_balance, tasks_balance: Made with it.
        kwargs: As of `keras.Model`.
    """

    def __init__(self, *args, plan, inputs_balance, tasks_balance, **kwargs):
        super().__init__(*args, **kwargs)
        self.plan, self.inputs_balance, self.tasks_balance = plan, inputs_balance, tasks_balance

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape(persistent=True) as tape:
            logits, present = self.plan.watched(x, training=True)
            # The sum of the recipe's own weights is not used; the losses that the logs show are counted here.
            self.compute_loss(x=x, y=y, y_pred=logits, sample_weight=weights)
            losses = {h: loss(y[h], logits[h], weights[h]) for h, loss in self.plan.losses.items()}
            fusion, alone = self._objectives(losses)
            total = tf.add_n([fusion, *alone.values()])
            scale = self.optimizer.scale_loss
            objectives = scale(total), scale(fusion), {n: scale(loss) for n, loss in alone.items()}
            scaled = {h: scale(loss) for h, loss in losses.items()}
        self._loss_tracker.update_state(total, sample_weight=tf.shape(next(iter(logits.values())))[0])
        step = Step(tape, *objectives, losses, scaled, logits, y, weights, present)
        gradients = self.inputs_balance.gradients(step)
        self.tasks_balance.update(step)
        self.optimizer.apply_gradients(zip(gradients, self.plan.variables, strict=True))
        return self.compute_metrics(x, y, logits, sample_weight=weights)

    def _objectives(self, losses):
        """Returns what is trained: `(the loss of the fusion's heads, {input: that of its own heads})`."""
        sums = {source: [] for _, source in self.plan.heads.values()}
        factors = {task: self.tasks_balance.factor(task) for task in self.plan.tasks}
        for head, (task, source) in self.plan.heads.items():
            factor = factors[task] if source == "fusion" else tf.stop_gradient(factors[task])
            share = self.plan.shares[head] * self.inputs_balance.weight(source)
            sums[source].append(losses[head] * factor * share)
        found = {source: tf.add_n(parts) for source, parts in sums.items()}
        # What layers add by themselves, such as a penalty of weights.
        fusion = found.pop("fusion") + self.tasks_balance.penalty() + sum(self.losses)
        return fusion, found

    def begin_epoch(self, done):
        """Tells the balance of inputs, before each epoch, which share of all epochs is done."""
        self.inputs_balance.begin_epoch(done)

    def step_shares(self):
        """Returns the factor on the step of each trainable variable, or `None`; see `RatedAdamW.share_steps`."""
        steps = self.inputs_balance.steps()
        own = {id(w): steps[n] for n, variables in self.plan.encoders.items() if n in steps for w in variables}
        return [own.get(id(w)) for w in self.trainable_variables]

    def balance_variables(self):
        """Returns what the balances learn, and the draws of their noise; Keras does not know of these variables."""
        return [*self.inputs_balance.variables(), *self.tasks_balance.variables()]

    def columns(self):
        """Returns what the balances put in the history at the end of an epoch."""
        return self.inputs_balance.columns() | self.tasks_balance.columns()
