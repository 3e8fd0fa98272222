"""Pixels that travel to the device as bytes and are scaled there."""

import keras
import numpy as np
import pandas as pd
import pytest

import mm_keras as mm
from mm_keras.training.heads import level_inputs
from mm_keras.training.learn import learn
from mm_keras.training.trainer import Trainer


def recipe_of(image=None, **training):
    scan = mm.Image(size=(16, 16), channels=1, encoder={"size": "tiny"}, **{"whole_levels": True, **(image or {})})
    return mm.Recipe(
        inputs={"scan": scan, "card": mm.Tabular(numeric=["seconds", "holes"], encoder={"size": "tiny"})},
        fusion={"kind": "concat", "units": 8},
        tasks={"digit": mm.Classification()},
        training=mm.Training(**{"epochs": 1, "batch_size": 64, "modality_dropout": 0.0, **training}),
    )


@pytest.fixture(scope="module")
def data(digits_folder):
    return mm.load(digits_folder / "manifest.csv", recipe_of())


def test_the_network_gets_bytes_and_gives_what_it_gives_of_the_scaled_pixels(data):
    trainer = Trainer(recipe_of(), *learn(recipe_of(), data))
    fed, scaled = (next(iter(batches(data.validation)))[0] for batches in (trainer.feed.dataset, trainer.feed.tensors))
    assert {n: x.dtype.name for n, x in fed.items()} == {"scan": "uint8", "card": "float32"}
    assert np.ptp(fed["scan"]) > 200  # of 255
    np.testing.assert_array_equal(fed["scan"] / np.float32(255), scaled["scan"])
    logits = keras.Model(trainer.model.input, trainer.model.get_layer("digit_logits").output)
    np.testing.assert_array_equal(trainer.network(fed)["digit"], logits(scaled))


@pytest.mark.slow
def test_training_from_bytes_is_training_from_floats(data, tmp_path, monkeypatch):
    mm.fit(recipe_of(epochs=2), data, tmp_path / "bytes", verbose=False)
    monkeypatch.setattr("mm_keras.training.trainer.level_inputs", lambda recipe, preprocessors: ())
    mm.fit(recipe_of(epochs=2), data, tmp_path / "floats", verbose=False)
    losses = [pd.read_csv(tmp_path / name / "history.csv")["val_loss"] for name in ("bytes", "floats")]
    # TensorFlow's optimizer of graphs multiplies by 1 / 255, which rounds elsewhere.
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize(
    "recipe",
    [
        recipe_of({"whole_levels": False}),
        recipe_of({"shift": 0.1}),
        recipe_of(mixup=0.2),
        recipe_of(cutmix=1.0),
        recipe_of(balance="mmpareto"),
    ],
    ids=["floats", "augmented", "mixup", "cutmix", "balance"],
)
def test_what_is_changed_before_the_network_travels_as_floats(recipe, data):
    preprocessors, _ = learn(recipe, data)
    assert level_inputs(recipe, preprocessors) == ()
    assert level_inputs(recipe_of(), learn(recipe_of(), data)[0]) == ("scan",)


@pytest.mark.slow
def test_a_batch_whose_loss_is_no_number_is_written_as_it_was(data, tmp_path):
    recipe = recipe_of(learning_rate=1e30, clip_norm=0.0, warmup_epochs=0)
    with pytest.raises(FloatingPointError):
        mm.fit(recipe, data, tmp_path / "run", verbose=False)
    with np.load(tmp_path / "run" / "nan_batch.npz") as held:
        assert held["input/scan"].dtype == np.uint8
        assert len(held["row"]) == 64
