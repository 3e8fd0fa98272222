"""Batch normalisation in one op: Keras's numbers, and a hand count."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mm_keras.encoders.normalizing import BatchNormalization


def _trained(layer, x, weights):
    """Returns output, gradients, moving statistics, and what inference then gives."""
    layer.build(x.shape)
    layer.gamma.assign(np.linspace(0.5, 2.0, x.shape[-1]))
    layer.beta.assign(np.linspace(-1.0, 2.0, x.shape[-1]))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tf.reduce_sum(tf.cast(y, "float32") * weights)
    gradients = tape.gradient(loss, [x, layer.gamma, layer.beta])
    found = [y, *gradients, layer.moving_mean, layer.moving_variance, layer(x, training=False)]
    return [np.asarray(tf.cast(v, "float32")) for v in found]


@pytest.mark.parametrize("shape", [(8, 5, 7, 6), (2, 1, 1, 3), (1, 1, 1, 3)])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_one_op_gives_what_keras_gives(shape, dtype):
    rng = np.random.default_rng(0)
    x, weights = (tf.constant(rng.normal(3, 2, shape), "float32") for _ in range(2))
    ours = _trained(BatchNormalization(dtype=dtype), x, weights)
    theirs = _trained(layers.BatchNormalization(momentum=0.9, dtype=dtype), x, weights)
    # A sum over 280 numbers; two numbers of nearly no distance divide by the root of epsilon, 30 times.
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4 if dtype == "float32" else 2e-2, atol=1e-4)


def test_moving_variance_is_the_batch_s():
    layer = BatchNormalization()
    x = np.array([1.0, 3.0, 5.0, 7.0], np.float32).reshape(2, 2, 1, 1)
    layer(x, training=True)
    # Mean 4, squared distances 9, 1, 1, 9; from 0 and 1, a tenth of the way.
    np.testing.assert_allclose(layer.moving_mean, [0.4], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [0.9 + 0.1 * 20 / 4], rtol=1e-6)


def _ops(layer, x, **call):
    function = tf.function(lambda t: layer(t, **call), autograph=False)
    return {
        op.type for op in function.get_concrete_function(tf.TensorSpec([None, *x.shape[1:]])).graph.get_operations()
    }


def test_only_training_runs_the_op():
    x, mask = np.ones((4, 3, 3, 2), np.float32), np.ones((4, 3, 3), bool)
    layer = BatchNormalization()
    layer.build(x.shape)
    assert "FusedBatchNormV3" in _ops(layer, x, training=True)
    assert "FusedBatchNormV3" not in _ops(layer, x, training=False)  # exported graphs stay what they were
    assert "FusedBatchNormV3" not in _ops(layer, x, training=True, mask=mask)
    layer.trainable = False
    assert "FusedBatchNormV3" not in _ops(layer, x, training=True)


@pytest.mark.parametrize("options", [{"synchronized": True}, {"axis": 1}, {"scale": False}, {"renorm": True}])
def test_what_the_op_cannot_do_is_left_to_keras(options):
    layer = BatchNormalization(**options)
    x = np.random.default_rng(0).normal(size=(6, 3, 3, 2)).astype("float32")
    other = layers.BatchNormalization(momentum=0.9, **options)
    np.testing.assert_array_equal(layer(x, training=True), other(x, training=True))


def test_it_is_saved_and_named_as_keras_s():
    layer = BatchNormalization()
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer)).momentum == 0.9
    # Weights of runs made before are found by this name.
    assert layer.name.startswith("batch_normalization")
