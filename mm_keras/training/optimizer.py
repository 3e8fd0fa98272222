"""AdamW with a learning rate of its own for each weight, and the weights' running average."""

import keras


@keras.saving.register_keras_serializable("mm_keras")
class RatedAdamW(keras.optimizers.AdamW):
    """AdamW whose steps, decay included, are multiplied by a factor for each variable.

    Adam divides by the gradient's own size, so a factor on the gradient would change nothing; the step is scaled.

    Args:
        rates: Factors, one for each trainable variable, in the order of `build`; `None` is 1 for all. Defaults to
            `None`.
        average: Momentum of a running average of each variable, in `averages`; `None` has none. With `w_t` a variable
            after step `t`, from 1, `a_0` what it was in `build`, and `m_t = min(average, t / (9 + t))`,

                a_t = m_t a_{t-1} + (1 - m_t) w_t.

            Steps that are accumulated, or left out because a gradient overflowed in 16 bits, do not count. Defaults to
            `None`.
        kwargs: Of `keras.optimizers.AdamW`.

    Raises:
        ValueError: In `build`, when there are not as many variables as rates.

    Reference:
        Howard and Ruder 2018, arXiv:1801.06146, section 3.2 (discriminative fine-tuning). Polyak and Juditsky 1992,
        Acceleration of stochastic approximation by averaging; exponentially as in Tarvainen and Valpola 2017,
        arXiv:1703.01780, section 3. Differs: the momentum grows as in TensorFlow's `ExponentialMovingAverage`, so that
        a short training is not averaged with its beginning.

    The gradient of an embedding is summed over the places where a row was read, as everywhere but in Keras on
    TensorFlow, whose optimizers square, and count in the norm, each place by itself.
    """

    def __init__(self, *args, rates=None, average=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.rates = None if rates is None else tuple(float(r) for r in rates)
        self.average, self.averages = average, []
        self.shares = None

    def build(self, variables):
        if self.rates is not None and len(self.rates) != len(variables):
            raise ValueError(
                f"needs a rate for each variable. Received: {len(self.rates)} rates, {len(variables)} variables"
            )
        super().build(variables)
        if self.average is not None:
            self.averages = self.add_optimizer_variables(variables, "average")
            for average, variable in zip(self.averages, variables, strict=True):
                average.assign(variable)

    def share_steps(self, shares):
        """Multiplies steps by shares that may change from step to step, decay included.

        Args:
            shares: A function of no arguments that returns one float tensor, or `None` for 1, for each trainable
                variable, in the order of `build`; called in each step, inside the graph.
        """
        self.shares = shares

    def apply(self, grads, trainable_variables=None):
        super().apply([summed(g) for g in grads], trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        factor = 1.0 if self.rates is None else self.rates[index]
        rate = keras.ops.cast(learning_rate, variable.dtype) * factor
        if self.shares is not None and (share := self.shares()[index]) is not None:
            rate = rate * keras.ops.cast(share, variable.dtype)
        if self._use_weight_decay(variable):
            self.assign_sub(variable, variable * keras.ops.cast(self.weight_decay, variable.dtype) * rate)
        if keras.backend.backend() == "tensorflow" and not self.amsgrad:
            self._apply_adam(index, gradient, variable, rate)
        else:
            super().update_step(gradient, variable, rate)
        if self.averages:
            step = keras.ops.cast(self.iterations + 1, variable.dtype)
            momentum = keras.ops.minimum(self.average, step / (9.0 + step))
            average = self.averages[index]
            self.assign(average, momentum * average + (1.0 - momentum) * keras.ops.convert_to_tensor(variable))

    def _apply_adam(self, index, gradient, variable, rate):
        """As Keras's `update_step`, in one op of TensorFlow instead of some twenty: a tenth of a small model's step.

        The op takes 1 - 0.999 from numbers of 32 bits, where Keras takes it from those of 64: steps differ by 6e-6 of
        their size.
        """
        import tensorflow as tf

        one, two, epsilon = (tf.cast(v, variable.dtype) for v in (self.beta_1, self.beta_2, self.epsilon))
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=one**step,
            beta2_power=two**step,
            lr=rate,
            beta1=one,
            beta2=two,
            epsilon=epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )

    def _clip_gradients(self, grads):
        """Clips the sum over TensorFlow's devices: each alone has another norm than the whole batch."""
        devices = _devices_of_this_step()
        if devices is None or not self.global_clipnorm:
            return super()._clip_gradients(grads)
        summed = iter(devices.all_reduce("SUM", [g for g in grads if g is not None]))
        clipped = super()._clip_gradients([None if g is None else next(summed) for g in grads])
        # Keras sums over the devices once more.
        return [None if g is None else g / devices.num_replicas_in_sync for g in clipped]

    def _apply_weight_decay(self, variables):
        """Nothing: `update_step` decays, since it knows each variable's rate."""

    def get_config(self):
        return {**super().get_config(), "rates": self.rates, "average": self.average}


def summed(gradient):
    """Returns a gradient as one tensor; TensorFlow has a row for each place where one of an embedding was read."""
    if gradient is None or keras.backend.backend() != "tensorflow":
        return gradient
    import tensorflow as tf

    return tf.convert_to_tensor(gradient)


def _devices_of_this_step():
    """Returns TensorFlow's context of several devices, or `None` outside of one; JAX needs none."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None
