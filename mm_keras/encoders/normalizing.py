"""Batch normalisation as the encoders use it."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("mm_keras")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer of this name, for trainings of some hundred steps, and in one op where TensorFlow has it.

    Keras computes the statistics and the result of a batch in a dozen ops, each of which reads the whole map again, and
    its gradient in some more: on a processor about a third of a small convolutional network's step. TensorFlow's own
    op takes two passes. It is used in training alone, on maps whose last axis is normalised; the numbers are the same
    up to rounding, and so are weights, configuration and every exported graph.

    Args:
        momentum: Of the moving mean and variance. Defaults to `0.9`: Keras's 0.99 is for many thousand steps, after
            some hundred inference would not know the data.
        **kwargs: As of `keras.layers.BatchNormalization`.

    Reference:
        Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1. Differs: the moving variance is of the batch, without
        Bessel's correction, as in Keras.
    """

    def __init__(self, momentum=0.9, **kwargs):
        super().__init__(momentum=momentum, **kwargs)

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable and mask is None and self._is_one_op(inputs)):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf  # here, since Keras may run without

        wide = ops.cast(inputs, "float32")
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=wide,
            scale=ops.cast(self.gamma, "float32"),
            offset=ops.cast(self.beta, "float32"),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        # The op's variance is Bessel's, which a single number does not have.
        count = tf.cast(tf.size(wide) // wide.shape[-1], tf.float32)
        variance *= tf.maximum(count - 1.0, 1.0) / count
        for moving, seen in ((self.moving_mean, mean), (self.moving_variance, variance)):
            kept = ops.cast(moving, "float32") * self.momentum
            moving.assign(kept + seen * (1.0 - self.momentum))
        return ops.cast(outputs, self.compute_dtype)

    def _is_one_op(self, inputs):
        if keras.backend.backend() != "tensorflow" or len(inputs.shape) != 4 or self.axis not in (-1, 3):
            return False
        plain = self.scale and self.center and not self.renorm and not self.synchronized
        return plain and inputs.dtype in ("float32", "bfloat16", "float16")
