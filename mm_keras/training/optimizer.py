"""AdamW with a learning rate of its own for each weight."""

import keras


@keras.saving.register_keras_serializable("mm_keras")
class RatedAdamW(keras.optimizers.AdamW):
    """AdamW whose steps, decay included, are multiplied by a factor for each variable.

    Adam divides by the gradient's own size, so a factor on the gradient would change nothing; the step is scaled.

    Args:
        rates: Factors, one for each trainable variable, in the order of `build`; `None` is 1 for all. Defaults to
            `None`.
        kwargs: Of `keras.optimizers.AdamW`.

    Raises:
        ValueError: In `build`, when there are not as many variables as rates.

    Reference:
        Howard and Ruder 2018, arXiv:1801.06146, section 3.2 (discriminative fine-tuning).
    """

    def __init__(self, *args, rates=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.rates = None if rates is None else tuple(float(r) for r in rates)
        self.shares = None

    def build(self, variables):
        if self.rates is not None and len(self.rates) != len(variables):
            raise ValueError(
                f"needs a rate for each variable. Received: {len(self.rates)} rates, {len(variables)} variables"
            )
        super().build(variables)

    def share_steps(self, shares):
        """Multiplies steps by shares that may change from step to step, decay included.

        Args:
            shares: A function of no arguments that returns one float tensor, or `None` for 1, for each trainable
                variable, in the order of `build`; called in each step, inside the graph.
        """
        self.shares = shares

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        factor = 1.0 if self.rates is None else self.rates[index]
        rate = keras.ops.cast(learning_rate, variable.dtype) * factor
        if self.shares is not None and (share := self.shares()[index]) is not None:
            rate = rate * keras.ops.cast(share, variable.dtype)
        if self._use_weight_decay(variable):
            self.assign_sub(variable, variable * keras.ops.cast(self.weight_decay, variable.dtype) * rate)
        super().update_step(gradient, variable, rate)

    def _apply_weight_decay(self, variables):
        """Nothing: `update_step` decays, since it knows each variable's rate."""

    def get_config(self):
        return {**super().get_config(), "rates": self.rates}
