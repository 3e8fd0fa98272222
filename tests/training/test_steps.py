"""What a training step can be told besides, each against a closed form or a step by hand."""

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import card_recipe, five_input_recipe

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.encoders import build_encoder
from mm_keras.recipe.tensors import TensorInfo
from mm_keras.training.fit import fit
from mm_keras.training.layer_rates import learning_rates, weights_by_block
from mm_keras.training.optimizer import RatedAdamW
from mm_keras.training.rates import Rates, epoch_rate

GRADIENTS = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)


def weights_after(optimizer, gradients, scale=1.0):
    """Returns the weight `(2, 3)` after each gradient, beginning at ones."""
    weight, found = keras.Variable(np.ones((2, 3), np.float32)), []
    optimizer.build([weight])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(scale * gradient)])
        found.append(weight.numpy().copy())
    return np.array(found)


def scaled(inner):
    """The same optimizer under a loss scale of 256."""
    return keras.optimizers.LossScaleOptimizer(inner, initial_scale=256.0)


OPTIONS = {"learning_rate": 0.1, "weight_decay": 0.01, "global_clipnorm": 1.0}


@pytest.mark.parametrize("wrap", [lambda inner: inner, scaled], ids=["plain", "loss scale"])
def test_two_accumulated_batches_are_one_of_their_mean(wrap):
    scale = 256.0 if wrap is scaled else 1.0
    got = weights_after(wrap(RatedAdamW(**OPTIONS, gradient_accumulation_steps=2)), GRADIENTS, scale)
    whole = weights_after(RatedAdamW(**OPTIONS), (GRADIENTS[::2] + GRADIENTS[1::2]) / 2)
    np.testing.assert_array_equal(got[0], 1.0)  # nothing moves in between
    np.testing.assert_allclose(got[1::2], whole, rtol=1e-6)
    np.testing.assert_array_equal(got[2::2], got[1:-1:2])


def test_half_batches_of_a_model_that_are_accumulated_are_the_whole_batch():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 4)).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32)
    found = []
    for steps, batches in ((None, [(x, y)]), (2, [(x[:4], y[:4]), (x[4:], y[4:])])):
        keras.utils.set_random_seed(2)
        network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(2)])
        optimizer = RatedAdamW(**OPTIONS, gradient_accumulation_steps=steps, rates=[0.5, 1.0, 1.0, 1.0], average=0.9)
        network.compile(optimizer, "mse", run_eagerly=True)
        for batch in batches:
            network.train_on_batch(*batch)
        found.append([*network.get_weights(), *(a.numpy() for a in optimizer.averages)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("steps", [None, 2])
def test_averages_follow_the_recurrence(steps):
    optimizer = RatedAdamW(**OPTIONS, average=0.6, gradient_accumulation_steps=steps)
    weights, expected = weights_after(optimizer, np.tile(GRADIENTS, (3, 1, 1))), np.ones((2, 3))
    for number, weight in enumerate(weights[:: steps or 1] if steps is None else weights[1::2], 1):
        momentum = min(0.6, number / (9 + number))
        expected = momentum * expected + (1 - momentum) * weight
    np.testing.assert_allclose(optimizer.averages[0].numpy(), expected, rtol=1e-6)
    assert number > 9 or steps  # both sides of the minimum
    config = optimizer.get_config()
    assert RatedAdamW.from_config(config).average == 0.6


@pytest.mark.parametrize("scale", [1.0, 256.0])
def test_gradients_are_clipped_without_the_loss_scale(scale):
    """Adam's first step hides a gradient's size; its second moment shows it: 0.001 times the square."""
    inner = RatedAdamW(0.1, global_clipnorm=0.5)
    weights_after(scaled(inner) if scale > 1 else inner, GRADIENTS[:1], scale)
    clipped = GRADIENTS[0] * 0.5 / np.linalg.norm(GRADIENTS[0])
    second = next(v for v in inner.variables if v.path.endswith("velocity"))
    share = 1 - float(np.float32(0.999))  # as the op has it, of 32 bits
    np.testing.assert_allclose(second.numpy(), share * clipped**2, rtol=1e-5)


def test_a_step_that_overflowed_moves_nothing_and_halves_the_scale():
    inner = RatedAdamW(0.1, average=0.9)
    optimizer = scaled(inner)
    weights = weights_after(optimizer, [np.full((2, 3), np.inf, np.float32)])
    np.testing.assert_array_equal(weights[0], 1.0)
    np.testing.assert_array_equal(inner.averages[0].numpy(), 1.0)
    assert (float(optimizer.dynamic_scale), int(inner.iterations)) == (128.0, 0)


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({"epochs": 4}, [1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
        ({"epochs": 6}, [1 / 3, 0.5 + 0.75**0.5 / 2, 0.75, 0.5, 0.25, 0.5 - 0.75**0.5 / 2]),
        ({"epochs": 6, "warmup_epochs": 0}, [1.0, 0.5 + 0.75**0.5 / 2, 0.75, 0.5, 0.25, 0.5 - 0.75**0.5 / 2]),
        ({"epochs": 5, "warmup_epochs": 1}, [1.0, 1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
        ({"epochs": 4, "schedule": "linear"}, [1.0, 0.75, 0.5, 0.25]),
        ({"epochs": 4, "schedule": "constant", "warmup_epochs": 2}, [1.0, 1.0, 1.0, 1.0]),
    ],
    ids=str,
)
def test_the_rate_of_each_epoch(options, rates):
    training = parts.Training(learning_rate=0.01, **options)
    np.testing.assert_allclose([epoch_rate(training, e) for e in range(len(rates))], 0.01 * np.array(rates))


def test_a_warm_up_rises_by_equal_steps_from_batch_to_batch():
    watch = Rates(parts.Training(learning_rate=0.8, epochs=4, warmup_epochs=2, schedule="linear"))
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.compile(RatedAdamW(1.0))
    watch.set_model(network)
    watch.set_params({"steps": 4})
    seen, logs = [], {}
    for epoch in range(4):
        watch.on_epoch_begin(epoch)
        for batch in range(4):
            watch.on_train_batch_begin(batch)
            seen.append(float(network.optimizer.learning_rate))
        watch.on_epoch_end(epoch, logs)
    np.testing.assert_allclose(seen, [*np.arange(0.1, 0.81, 0.1), *[0.8] * 4, *[0.4] * 4], rtol=1e-6)
    assert logs["learning_rate"] == pytest.approx(0.4)


def test_rates_of_layers_are_the_powers_of_one_factor():
    recipe = parts.Recipe(
        inputs={"title": parts.Text(encoder={"kind": "transformer", "size": "tiny"})},
        tasks={"rating": parts.Regression()},
        training=parts.Training(layer_decay=0.5),
    )
    spec = TensorInfo((8,), "int32", vocabulary_size=20)
    encoder = build_encoder("title", recipe.inputs["title"], spec)
    inputs = keras.Input((8,), dtype="int32", name="title")
    out = keras.layers.Dense(1, name="head")(encoder(inputs)["embedding"])
    model = keras.Model(inputs, out)
    rates = learning_rates(recipe, model, model.trainable_variables)
    found = {v.path: rate for v, rate in zip(model.trainable_variables, rates, strict=True)}
    assert found["head/kernel"] == found["head/bias"] == 1.0
    blocks = weights_by_block([encoder])
    assert len(blocks) > 3
    # Every weight of the encoder is in one block, and the last block has the factor once.
    assert sorted(id(w) for b in blocks for w in b) == sorted(id(w) for w in encoder.trainable_weights)
    for depth, block in enumerate(reversed(blocks), 1):
        assert {found[w.path] for w in block} == {0.5**depth}
    first = next(v.path for v in encoder.trainable_weights if "embedding" in v.path)
    assert found[first] == min(found.values())
    assert learning_rates(five_input_recipe(), model, model.trainable_variables) is None


@pytest.fixture(scope="module")
def card_data(digits_folder):
    return load(digits_folder / "manifest.csv", card_recipe())


@pytest.mark.slow
def test_the_weights_that_are_validated_and_kept_are_the_averages(card_data, tmp_path):
    steps, kept = [], []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(self.model.get_weights())

        def on_epoch_end(self, epoch, logs=None):
            kept.append(self.model.get_weights())

    recipe = card_recipe(epochs=3, ema=0.5, learning_rate=0.01, accumulate_steps=2, calibrate=False)
    run = fit(recipe, card_data, tmp_path / "run", verbose=False, callbacks=[Watch()])
    # 15 steps, of which every second one moves the weights.
    average, number, by_step = None, 0, []
    for at, weights in enumerate(steps):
        if at % 2:
            number += 1
            momentum = min(0.5, number / (9 + number))
            # What it began at is what the first of two steps left as it was.
            before = steps[0] if average is None else average
            average = [momentum * a + (1 - momentum) * w for a, w in zip(before, weights, strict=True)]
        by_step.append(average)
    for epoch in range(3):
        for one, other in zip(by_step[5 * epoch + 4], kept[epoch], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    history = pd.read_csv(tmp_path / "run/history.csv")
    outputs = run.forward(run.encode([card_data.validation.example(i) for i in range(len(card_data.validation))])[0])
    classes = run.tasks["digit"].encode(card_data.validation.labels["digit"])
    loss = -np.log(outputs["digit"].numpy()[np.arange(len(classes)), classes]).mean()
    np.testing.assert_allclose(loss, history["val_digit_loss"].iloc[run.info["best_epoch"]], rtol=1e-4)


def with_training(recipe, **options):
    training = parts.Training(**{**dict(recipe.training), **options})
    return recipe.model_copy(update={"training": training})


@pytest.mark.slow
def test_steps_in_one_execution_give_the_same_weights(card_data, tmp_path):
    """Two do not divide the five steps of an epoch. XLA's sums come in another order, and so would its draws."""
    own = card_recipe(epochs=2, modality_dropout=0.0)
    card = own.inputs["card"].model_copy(update={"encoder": parts.Encoder(kind="mlp", size="tiny", dropout=0.0)})
    own = own.model_copy(update={"inputs": {"card": card}, "fusion": parts.Fusion("concat", dropout=0.0)})
    plain, together, compiled = (
        fit(with_training(own, **options), card_data, tmp_path / str(number), verbose=False)
        for number, options in enumerate(({}, {"steps_per_execution": 2}, {"jit_compile": True}))
    )
    for one, other, third in zip(*(r.model.get_weights() for r in (plain, together, compiled)), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, third, atol=1e-4)
    histories = [pd.read_csv(tmp_path / str(n) / "history.csv") for n in (0, 1)]
    pd.testing.assert_frame_equal(*histories)
