"""A rate of its own for each weight scales AdamW's step exactly, decay included, and is stored."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mm_keras.training.optimizer import RatedAdamW


def model():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])


def steps(network, optimizer, count):
    """Returns how far each weight moved."""
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    network.compile(optimizer, "mse", run_eagerly=True)  # a few steps are done before they would be compiled
    before = network.get_weights()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(count, 8, 4)).astype("float32"), rng.normal(size=(count, 8, 2)).astype("float32")
    for one in zip(x, y, strict=True):
        network.train_on_batch(*one)
    return [after - old for after, old in zip(network.get_weights(), before, strict=True)]


SETTINGS = {"learning_rate": 0.01, "weight_decay": 0.1, "global_clipnorm": 1.0}


@pytest.mark.parametrize(
    ("betas", "rtol"), [({"beta_1": 1 - 2**-3, "beta_2": 1 - 2**-10}, 0), ({}, 1e-5)], ids=["whole in 32 bits", "usual"]
)
def test_without_rates_it_is_adamw(betas, rtol):
    """To the last bits of a weight where 1 - beta is the same in 32 and 64 bits."""
    got = steps(model(), RatedAdamW(**SETTINGS, **betas), 5)
    for one, other in zip(got, steps(model(), keras.optimizers.AdamW(**SETTINGS, **betas), 5), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-7)


def test_one_step_moves_a_weight_by_exactly_its_factor():
    rates = [0.25, 0.5, 1.0, 0.125]
    whole = steps(model(), keras.optimizers.AdamW(**SETTINGS), 1)
    got = steps(model(), RatedAdamW(**SETTINGS, rates=rates), 1)
    for rate, one, other in zip(rates, got, whole, strict=True):
        # The step itself is exact, since the factors are powers of two; adding it to a weight near 1 rounds.
        np.testing.assert_allclose(one, rate * other, rtol=0, atol=2e-7)
        assert np.abs(other).min() > 5e-3


def test_decay_alone_is_scaled_too():
    network = model()
    optimizer = RatedAdamW(1.0, weight_decay=0.5, rates=[0.5, 1, 1, 1])
    optimizer.build(network.trainable_variables)
    before = network.get_weights()
    optimizer.apply([keras.ops.zeros(v.shape) for v in network.trainable_variables])
    for factor, old, new in zip([0.75, 0.5, 0.5, 0.5], before, network.get_weights(), strict=True):
        np.testing.assert_allclose(new, factor * old, rtol=1e-6)


def test_an_embedding_moves_as_the_dense_layer_that_it_stands_for():
    """Words that come several times in a batch have one gradient, the sum over their places."""
    ids = np.random.default_rng(0).integers(0, 4, (5, 8, 6))  # of five words, the last never read
    y = np.random.default_rng(1).normal(size=(5, 8, 2)).astype("float32")
    ends = []
    for first in (keras.layers.Embedding(5, 3), keras.layers.Dense(3, use_bias=False)):
        keras.utils.set_random_seed(1)
        words = isinstance(first, keras.layers.Dense)
        inputs = keras.Input((6, 5) if words else (6,), dtype="float32" if words else "int32")
        network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(first(inputs))))
        network.set_weights([np.linspace(-1, 1, w.size).reshape(w.shape) for w in network.get_weights()])
        network.compile(RatedAdamW(0.05, weight_decay=0.1, global_clipnorm=0.3), "mse", run_eagerly=True)
        for batch, target in zip(ids, y, strict=True):
            network.train_on_batch(np.eye(5, dtype="float32")[batch] if words else batch, target)
        ends.append(network.get_weights())
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_rates_survive_a_stored_model(tmp_path):
    network, rates = model(), (0.25, 0.5, 1.0, 0.125)
    steps(network, RatedAdamW(**SETTINGS, rates=rates), 2)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer, RatedAdamW)
    assert again.optimizer.rates == rates
    x = np.ones((8, 4), "float32")
    for m in (network, again):
        m.train_on_batch(x, x[:, :2])
    for one, other in zip(network.get_weights()[::2], again.get_weights()[::2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_as_many_rates_as_variables():
    with pytest.raises(ValueError, match="2 rates, 4 variables"):
        RatedAdamW(rates=[1.0, 0.5]).build(model().trainable_variables)


def test_in_mixed_float16_the_inner_optimizer_is_rated():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        whole = steps(model(), keras.optimizers.AdamW(**SETTINGS), 1)
        got = steps(model(), RatedAdamW(**SETTINGS, rates=[0.25, 0.5, 1.0, 0.125]), 1)
    finally:
        keras.config.set_dtype_policy("float32")
    for rate, one, other in zip([0.25, 0.5, 1.0, 0.125], got, whole, strict=True):
        np.testing.assert_allclose(one, rate * other, rtol=0, atol=2e-7)


def test_a_step_is_one_op_of_each_weight():
    """Keras's own step is some twenty; the graph is what training runs."""
    network, optimizer = model(), RatedAdamW(**SETTINGS)
    network.compile(optimizer, "mse")
    batch = np.ones((8, 4), np.float32), np.ones((8, 2), np.float32)
    network.train_on_batch(*batch)
    traced = tf.function(lambda: network.train_step(batch), autograph=False).get_concrete_function()
    kinds = [op.type for op in traced.graph.get_operations()]
    assert kinds.count("ResourceApplyAdam") == len(network.trainable_variables) == 4
