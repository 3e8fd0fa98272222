"""A training in buckets: the gradients of the same batches with their padding, and a model of the recipe's lengths."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from bucketed_child import recipe_of, table_of
from test_resume import assert_same_run, stopped_and_resumed

import mm_keras as mm
from mm_keras.diagnosing.measure import Steps
from mm_keras.errors import DataError, RecipeError
from mm_keras.training.distributing.refusals import check_backend
from mm_keras.training.learn import learn
from mm_keras.training.nan_guard import write_batches
from mm_keras.training.optimizer import summed
from mm_keras.training.trainer import Trainer


def trainer_of(recipe, data=None, **options):
    keras.utils.set_random_seed(recipe.training.seed)
    return Trainer(recipe, *learn(recipe, mm.load(table_of(), recipe) if data is None else data), **options)


def train(trainer, rows):
    """Trains an epoch; returns how often its step was traced."""
    trainer.prepare(rows)
    traced, step = [], trainer.network.train_step
    trainer.network.train_step = lambda batch: traced.append(1) or step(batch)
    batches = trainer.feed.dataset(rows, range(1))
    trainer.network.fit(batches, verbose=0, shuffle=False, steps_per_epoch=len(batches))
    return len(traced)


def gradients(trainer, batch):
    """Returns those of one batch, of all weights that are trained."""
    tensors, targets, weights = batch
    with tf.GradientTape() as tape:
        loss = trainer.network.compute_loss(tensors, targets, trainer.network(tensors, training=True), weights)
    return [summed(g) for g in tape.gradient(loss, trainer.network.trainable_variables)]


@pytest.mark.parametrize(
    ("text", "series", "fusion"),
    [
        ("ngrams", None, "concat"),
        pytest.param("cnn", "gru", "concat", marks=pytest.mark.long),
        pytest.param("transformer", None, "gated", marks=pytest.mark.slow),
        pytest.param("ngrams", "conv", "cross_attention", marks=pytest.mark.long),
        pytest.param("gru", "transformer", "mmtm", marks=pytest.mark.long),
    ],
)
def test_a_step_without_padding_is_the_step_with_it(text, series, fusion):
    recipe = recipe_of(text, series, fusion)
    data = mm.load(table_of(), recipe)
    cut, whole = trainer_of(recipe, data), trainer_of(recipe, data)
    padded = trainer_of(recipe, data, is_trimmed=False)
    assert cut.feed.trimmed == recipe.bucketed
    assert {n: x.shape[1] for n, x in padded.network.input.items()} == {
        n: recipe.inputs[n].length if n == "title" else 32 for n in recipe.inputs
    }
    assert {x.shape[1] for x in cut.network.input.values()} == {None}
    for weight, other in zip(cut.network.get_weights(), padded.network.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    for trainer in (cut, whole):
        trainer.prepare(data.train)
    shorter = 0
    for batch, (with_padding, _) in zip(
        cut.feed.dataset(data.train, range(1)).take(4), whole.feed.again(data.train, 0, range(4)), strict=True
    ):
        shorter += batch[0]["title"].shape[1] < with_padding[0]["title"].shape[1]
        for got, expected in zip(gradients(cut, batch), gradients(whole, with_padding), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert shorter > 1

    assert train(cut, data.train) == 1  # one graph for all lengths
    settled = cut.settled()
    assert settled.feed.trimmed == ()
    assert settled.settled() is settled
    for (short, *_), (long, *_) in zip(cut.feed.dataset(data.test), settled.feed.dataset(data.test), strict=True):
        assert short["title"].shape[1] <= long["title"].shape[1] == 96
        expected, got = cut.network(short, training=False), settled.network(long, training=False)
        for head in expected:
            np.testing.assert_allclose(got[head], expected[head], rtol=1e-6, atol=1e-6)


def test_the_lengths_of_batches_differ_and_validation_stays_in_order():
    recipe = recipe_of("ngrams", None)
    data = mm.load(table_of(), recipe)
    trainer = trainer_of(recipe, data)
    lengths = {tensors["title"].shape[1] for tensors, *_ in trainer.feed.dataset(data.train, range(1))}
    assert len(lengths) > 3
    assert all(n % 8 == 0 for n in lengths)
    padded = trainer_of(recipe, data, is_trimmed=False).feed.dataset(data.validation)
    whole = np.concatenate([t["title"] for t, *_ in padded])
    at = 0
    for tensors, *_ in trainer.feed.dataset(data.validation):
        rows, kept = tensors["title"].shape
        np.testing.assert_array_equal(tensors["title"], whole[at : at + rows, :kept])
        at += rows
    assert at == len(data.validation)


def test_a_batch_that_is_told_has_its_padding(tmp_path):
    """Several batches of one call, of different lengths, go into one file."""
    recipe = recipe_of("ngrams", None)
    data = mm.load(table_of(), recipe)
    trainer = trainer_of(recipe, data)
    write_batches(tmp_path, trainer.feed.again(data.train, 1, range(2, 5)), data.train)
    with np.load(tmp_path / "nan_batch.npz") as file:
        assert file["input/title"].shape == (24, 96)
        ids, numbers = file["input/title"], file["row"]
    trained = list(trainer.feed.dataset(data.train, range(1, 2)).skip(2).take(3))
    for place, (tensors, *_) in enumerate(trained):
        cut = tensors["title"].numpy()
        np.testing.assert_array_equal(ids[8 * place : 8 * place + 8, : cut.shape[1]], cut)
    assert len(set(numbers)) == 24


@pytest.mark.parametrize(
    "training",
    [
        pytest.param({"steps_per_execution": 2, "ema": 0.9, "checkpoint_steps": 2}, marks=pytest.mark.slow),
        pytest.param({"mixup": 0.4}, marks=pytest.mark.long),
    ],
)
def test_a_training_in_buckets_goes_on_with_the_same_bits(training, tmp_path):
    recipe = recipe_of("transformer", None, **{"calibrate": True, "checkpoint_steps": 2, **training})
    data = mm.load(table_of(), recipe)
    whole = mm.fit(recipe, data, tmp_path / "whole", verbose=False)
    run, _ = stopped_and_resumed(recipe, data, tmp_path / "run", (0, 3), (1, 5))
    assert_same_run(whole, run)
    assert {n: x.shape[1] for n, x in run.model.input.items()} == {"title": 96}


def test_a_run_is_the_ordinary_one(tmp_path):
    recipe = recipe_of("ngrams", None, sampling="balanced", balance="none", epochs=1, calibrate=True)
    run = mm.fit(recipe, mm.load(table_of(), recipe), tmp_path / "run", verbose=False)
    assert run.model.input["title"].shape == (None, 96)
    assert mm.load_run(tmp_path / "run").recipe.training.bucket
    stored = keras.saving.load_model(tmp_path / "run/model.keras")
    assert stored.input["title"].shape == (None, 96)


@pytest.mark.parametrize(
    "balance",
    [
        pytest.param("mmpareto", marks=pytest.mark.slow),
        *(pytest.param(b, marks=pytest.mark.long) for b in ("ogm_ge", "gradient_blending")),
    ],
)
def test_balances_take_batches_of_any_length(balance, tmp_path):
    recipe = recipe_of("ngrams", "conv", balance=balance, epochs=1)
    run = mm.fit(recipe, mm.load(table_of(), recipe), tmp_path / "run", verbose=False)
    assert run.model.input["title"].shape == (None, 96)


@pytest.mark.slow
def test_members_of_an_ensemble_are_joined_at_full_length(tmp_path):
    recipe = recipe_of("ngrams", None, epochs=1)
    made = mm.ensemble(recipe, mm.load(table_of(), recipe), tmp_path / "two", members=2, kind="mean", verbose=False)
    assert made.run.model.input["title"].shape == (None, 96)


def test_the_doctor_measures_batches_of_several_lengths():
    recipe = recipe_of("ngrams", None)
    data = mm.load(table_of(), recipe)
    trainer = trainer_of(recipe, data)
    steps = Steps(trainer, trainer.feed.dataset(data.train, range(100)))
    assert 0 < steps.alone(0.05) < 5
    assert 0 < steps.fed(0.05) < 5


def test_what_buckets_cannot_do_is_refused(tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match="bucket: XLA compiles the step for each length"):
        mm.load_recipe({**recipe_of().model_dump(), "training": {"bucket": True, "jit_compile": True}})
    with pytest.raises(RecipeError, match=r"^training.bucket: arrays cannot hold it"):
        mm.write_arrays(recipe_of(), mm.load(table_of(), recipe_of()), tmp_path / "arrays")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    check_backend(recipe_of(series=None))
    with pytest.raises(RecipeError, match=r"^training\.bucket: needs Keras on TensorFlow, for JAX compiles"):
        check_backend(recipe_of())


@pytest.mark.slow
def test_shards_are_refused(tmp_path):
    recipe = recipe_of(series=None)
    mm.prepare(table_of().drop(columns="beat"), recipe, tmp_path / "shards")
    with pytest.raises(DataError, match=r"shards the lengths are not known.*training\.bucket to false"):
        mm.fit(recipe, mm.load(tmp_path / "shards", recipe), tmp_path / "run")


CHILD = Path(__file__).parent / "bucketed_child.py"


def train_elsewhere(backend, devices, out):
    """Trains the program's model in a process of its own."""
    done = subprocess.run(
        [sys.executable, CHILD, str(devices), str(out)],
        env={**os.environ, "KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_backend_optimization_level=0"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.long
def test_two_devices_train_the_same_weights_in_buckets(tmp_path):
    """The last batch is not whole, and is filled."""
    for devices in (1, 2):
        train_elsewhere("tensorflow", devices, tmp_path / str(devices))
    one, two = (mm.load_run(tmp_path / name).model.get_weights() for name in "12")
    for weight, other in zip(one, two, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-5)


@pytest.mark.long
def test_jax_trains_in_buckets_too(tmp_path):
    pytest.importorskip("jax")
    train_elsewhere("jax", 1, tmp_path / "there")
    history = pd.read_csv(tmp_path / "there/history.csv")
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
