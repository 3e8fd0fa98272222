"""Encoders that start from files, from other runs, from Keras's download; what is frozen stays as it is."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

import mm_keras.recipe as parts
from mm_keras import fit, load, load_run
from mm_keras.encoders.backbones import make_network
from mm_keras.encoders.blocks import split_blocks
from mm_keras.errors import RecipeError
from mm_keras.model import build_model, encoder_parts
from mm_keras.recipe import TensorInfo
from mm_keras.tasks import build_task
from mm_keras.training.fit import Trainer
from mm_keras.training.layer_rates import learning_rates
from mm_keras.training.learn import learn
from mm_keras.training.optimizer import RatedAdamW
from mm_keras.training.run import save_assets
from mm_keras.training.transfer import freeze, source_input, start_encoders

SMALL = {"name": "MobileNetV2", "alpha": 0.35}
TENSOR = TensorInfo(shape=(32, 32, 3))


def photo_recipe(**encoder):
    spec = {"kind": "backbone", "size": "tiny", "options": SMALL, "dropout": 0.0, **encoder}
    return parts.Recipe(
        inputs={"photo": parts.Image(size=(32, 32), encoder=spec)},
        tasks={"breed": parts.Classification()},
        fusion=parts.Fusion("concat", dropout=0.0),
        training=parts.Training(modality_dropout=0.0),
    )


def new_model(recipe):
    tasks = {n: build_task(n, spec) for n, spec in recipe.tasks.items()}
    for task in tasks.values():
        task.adapt(["x", "y"], ["x", "y"])
    return build_model(recipe, dict.fromkeys(recipe.inputs, TENSOR), tasks)


def started(**encoder):
    """Returns a model with the weights that its recipe names, and its backbone."""
    recipe = photo_recipe(**encoder)
    model = new_model(recipe)
    start_encoders(recipe, model, {"photo": None})
    return recipe, model, model.get_layer("photo_encoder").get_layer("backbone")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A network with weights of its own, whole and as files."""
    folder = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(5)
    network = make_network(SMALL, (64, 64, 3))
    rng = np.random.default_rng(5)
    network.set_weights([np.abs(w + rng.normal(0, 0.1, w.shape)) + 0.1 for w in network.get_weights()])
    network.save_weights(folder / "net.weights.h5")
    network.save(folder / "net.keras")
    with_top = keras.applications.MobileNetV2(alpha=0.35, input_shape=(32, 32, 3), weights=None, classes=3)
    with_top.set_weights([*network.get_weights(), *with_top.get_weights()[-2:]])
    with_top.save(folder / "top.keras")
    return folder, network.get_weights()


def batch(rows=8):
    return {"photo": np.random.default_rng(rows).uniform(0, 1, (rows, 32, 32, 3)).astype(np.float32)}


@pytest.mark.parametrize("file", ["net.weights.h5", "net.keras", "top.keras"])
def test_weights_of_a_file_are_taken(elsewhere, file):
    folder, weights = elsewhere
    _, _, backbone = started(weights=str(folder / file))
    for got, expected in zip(backbone.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(got, expected)


def train(recipe, model, count=3):
    model.compile(
        RatedAdamW(0.01, rates=learning_rates(recipe, model, model.trainable_variables)),
        {"breed": "sparse_categorical_crossentropy"},
        run_eagerly=True,  # three steps are done before they would be compiled
    )
    for rows in range(8, 8 + count):
        model.train_on_batch(batch(rows), {"breed": np.arange(rows) % 2})


def test_a_frozen_backbone_does_not_move_and_runs_as_in_inference(elsewhere, tmp_path):
    recipe, model, backbone = started(weights=str(elsewhere[0] / "net.keras"), train="none")
    assert backbone.trainable_weights == []
    pixels = batch()["photo"]
    np.testing.assert_array_equal(backbone(pixels, training=True), backbone(pixels, training=False))
    head = model.get_layer("breed_logits").get_weights()[0]
    train(recipe, model)
    for got, expected in zip(backbone.get_weights(), elsewhere[1], strict=True):
        np.testing.assert_array_equal(got, expected)
    assert np.abs(model.get_layer("breed_logits").get_weights()[0] - head).max() > 1e-3
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.get_layer("photo_encoder").get_layer("backbone").trainable_weights == []
    assert len(again.trainable_weights) == len(model.trainable_weights)
    assert again.optimizer.rates == model.optimizer.rates


def test_dropout_inside_a_frozen_network_is_off_too():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = layers.Dropout(0.5)(layers.BatchNormalization()(layers.Dense(8)(inputs)))
    backbone = keras.Model(inputs, layers.Dropout(0.3)(layers.Dense(4)(x)), name="backbone")
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    still = np.asarray(backbone(x, training=False))
    kept = backbone.get_weights()
    assert np.abs(np.asarray(backbone(x, training=True)) - still).max() > 0.1
    backbone.set_weights(kept)
    freeze("photo", parts.Encoder(weights="runs/a", train="none"), [backbone])
    np.testing.assert_array_equal(backbone(x, training=True), still)
    again = keras.Model.from_config(backbone.get_config())
    again.set_weights(kept)
    np.testing.assert_array_equal(again(x, training=True), still)


def weights_of(block):
    return [w for layer in block for w in layer.weights]


def test_only_the_last_blocks_move(elsewhere):
    recipe, model, backbone = started(weights=str(elsewhere[0] / "net.keras"), train="last", blocks=2)
    blocks = split_blocks(backbone)
    before = [[w.numpy() for w in weights_of(block)] for block in blocks]
    train(recipe, model)
    moved = [
        [not np.array_equal(w.numpy(), old) for w, old in zip(weights_of(block), olds, strict=True)]
        for block, olds in zip(blocks, before, strict=True)
    ]
    assert not any(m for block in moved[:-2] for m in block)
    # Moving statistics of the last blocks too: they are in training.
    assert all(m for block in moved[-2:] for m in block)


@pytest.mark.slow
def test_the_rate_of_the_backbone_is_smaller_by_its_factor(elsewhere):
    moves = {}
    for rate in (1.0, 0.25):
        recipe, model, backbone = started(weights=str(elsewhere[0] / "net.keras"), rate=rate)
        keras.utils.set_random_seed(0)
        model.get_layer("breed_logits").set_weights([np.ones((64, 2)) * [1, -1], np.zeros(2)])
        for layer in (model.get_layer("photo_encoder").layers[-2], model.get_layer("fusion")):
            layer.set_weights([np.full(w.shape, 0.02) for w in layer.get_weights()])
        old = [w.numpy() for w in backbone.trainable_weights]
        head = model.get_layer("breed_logits").get_weights()[0]
        train(recipe, model, count=1)
        new = [w.numpy() for w in backbone.trainable_weights]
        moves[rate] = [n - o for n, o in zip(new, old, strict=True)]
        moves[rate, "head"] = model.get_layer("breed_logits").get_weights()[0] - head
    for whole, quarter in zip(moves[1.0], moves[0.25], strict=True):
        # AdamW's first step is the rate itself, 0.01; a weight near 1 rounds it to 1e-7.
        np.testing.assert_allclose(quarter, whole / 4, rtol=0, atol=3e-7)
    assert max(np.abs(m).max() for m in moves[1.0]) > 9e-3
    np.testing.assert_array_equal(moves[0.25, "head"], moves[1.0, "head"])


def test_the_download_says_what_to_do_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # a machine that has a network shall fail as well
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(RecipeError, match="the weights of MobileNetV2 could not be down"):
        started(weights="imagenet")


def test_unpublished_widths_are_refused_as_such():
    with pytest.raises(RecipeError, match="MobileNetV2 has no such published weights"):
        started(weights="imagenet", options={"name": "MobileNetV2", "alpha": 0.6})


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("nowhere.weights.h5", "no such file"),
        ("nowhere", "expected a run folder, a .h5 or .keras file, or 'imagenet'"),
        ("wide.weights.h5", "does not fit MobileNetV2, whose file is made with `include_top=False`"),
        ("wide.keras", r"has the shape \(3, 3, 3, 16\). Received: \(3, 3, 3, 32\)"),
        ("torn.keras", "does not fit MobileNetV2"),
    ],
)
def test_weights_that_are_absent_or_do_not_fit(tmp_path, monkeypatch, weights, says):
    monkeypatch.chdir(tmp_path)
    if weights.startswith("wide"):
        wide = make_network({**SMALL, "alpha": 1.0}, (32, 32, 3))
        (wide.save if weights.endswith(".keras") else wide.save_weights)(weights)
    if weights.startswith("torn"):
        Path(weights).write_bytes(b"no zip")
    with pytest.raises(RecipeError, match=says):
        started(weights=weights)


def test_fewer_blocks_than_there_are(elsewhere):
    with pytest.raises(RecipeError, match="`blocks` must be less than the 19 that it has"):
        started(weights=str(elsewhere[0] / "net.keras"), train="last", blocks=19)


# Transfer between runs, of every modality.


def four_recipe(fusion="concat", names=("scan", "tone", "word", "card"), **encoder):
    kinds = {
        "scan": parts.Image(size=(16, 16), channels=1, encoder={"size": "tiny", **encoder}),
        "tone": parts.Audio(
            seconds=0.4,
            sampling_rate=8000,
            num_mel_bins=32,
            hop_ms=32,
            encoder={"size": "tiny", "kind": "cnn", **encoder},
        ),
        "word": parts.Text(length=12, vocabulary_size=60, encoder={"size": "tiny", "kind": "cnn", **encoder}),
        "card": parts.Tabular(
            numeric=("seconds", "holes"), categorical=("key_row",), encoder={"size": "tiny", **encoder}
        ),
    }
    return parts.Recipe(
        inputs={n: kinds[n] for n in names},
        tasks={"digit": parts.Classification()},
        fusion=parts.Fusion(fusion),
        training=parts.Training(epochs=1, seed=1),
    )


@pytest.fixture(scope="module")
def first_run(digits_folder, tmp_path_factory):
    """A run folder as `fit` leaves it, its weights still random."""
    recipe, folder = four_recipe(), tmp_path_factory.mktemp("first")
    preprocessors, tasks = learn(recipe, load(digits_folder / "manifest.csv", recipe))
    save_assets(folder, recipe, preprocessors, tasks)
    Trainer(recipe, preprocessors, tasks).model.save(folder / "model.keras")
    (folder / "run.json").write_text("{}")
    return load_run(folder)


def other_data(digits_folder, folder, recipe):
    """Few rows of other words and numbers, so that what is learned from them would differ."""
    table = pd.read_csv(digits_folder / "manifest.csv").head(60)
    table["word"] = [f"zz{w}" for w in table["word"]]
    table["seconds"] += 5.0
    for name in ("scan", "tone"):
        table[name] = [str(digits_folder / p) for p in table[name]]
    table.to_csv(folder / "other.csv", index=False)
    return load(folder / "other.csv", recipe)


@pytest.mark.slow
def test_every_modality_takes_its_encoder_from_another_run(first_run, digits_folder, tmp_path):
    recipe = four_recipe("gated", weights=str(first_run.folder), train="none")
    data = other_data(digits_folder, tmp_path, recipe)
    preprocessors, tasks = learn(recipe, data)
    trainer = Trainer(recipe, preprocessors, tasks)
    for name in recipe.inputs:
        assert preprocessors[name].state == first_run.preprocessors[name].state
        got, expected = (encoder_parts(m, name)[0].get_weights() for m in (trainer.model, first_run.model))
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        assert encoder_parts(trainer.model, name)[0].trainable_weights == []
    assert [line.split(":")[0] for line in trainer.starts] == list(recipe.inputs)


@pytest.mark.slow
def test_the_new_run_needs_nothing_of_the_first(first_run, digits_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(first_run.folder, copy)
    recipe = four_recipe(names=("scan", "word"), weights=str(copy), train="none")
    run = fit(recipe, other_data(digits_folder, tmp_path, recipe), tmp_path / "b", verbose=False)
    for name in recipe.inputs:
        got, expected = (encoder_parts(m, name)[0].get_weights() for m in (run.model, first_run.model))
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    shutil.rmtree(copy)
    again = load_run(run.folder)
    assert [encoder_parts(again.model, name)[0].trainable_weights for name in recipe.inputs] == [[], []]
    example = run.example(run.rows("test").ids[0])
    tensors, _ = again.encode([example])
    expected = run.model(tensors, training=False)["digit"]
    np.testing.assert_array_equal(again.model(tensors, training=False)["digit"], expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights_input": "tone"}, "'tone' of .* is audio with 'cnn'. Expected: image with 'cnn'"),
        ({"weights_input": "scann"}, "`weights_input` must be one of .* Did you mean 'scan'?"),
        ({"size": "small"}, "does not fit"),
    ],
)
def test_another_run_that_does_not_fit(first_run, digits_folder, tmp_path, change, says):
    recipe = four_recipe(names=("scan",), weights=str(first_run.folder), **change)
    data = load(digits_folder / "manifest.csv", recipe)
    with pytest.raises(RecipeError, match=says):
        fit(recipe, data, tmp_path / "x", verbose=False)


def test_an_input_of_another_name_and_another_meaning(first_run, digits_folder, tmp_path):
    own = {"size": "tiny", "weights": str(first_run.folder)}
    image = parts.Image(column="scan", size=(16, 16), channels=1, encoder=own)
    recipe = four_recipe(names=("scan",))
    data = {"inputs": {"picture": image}, "tasks": dict(recipe.tasks), "training": recipe.training}
    fitted = parts.Recipe(**data)
    trainer = Trainer(fitted, *learn(fitted, load(digits_folder / "manifest.csv", fitted)))
    got, expected = encoder_parts(trainer.model, "picture")[0], encoder_parts(first_run.model, "scan")[0]
    for one, other in zip(got.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    colour = parts.Recipe(**data | {"inputs": {"picture": parts.Image(column="scan", size=(16, 16), encoder=own)}})
    with pytest.raises(RecipeError, match=r"trained with \{'channels': 1\}"):
        learn(colour, load(digits_folder / "manifest.csv", colour))


def test_encoders_of_one_picture_and_of_several_are_not_the_same():
    one, several = (parts.Image(views=v, encoder={"kind": "cnn", "weights": "run"}) for v in (None, 2))
    assert source_input("photo", several, {"shots": several}) == "shots"
    with pytest.raises(RecipeError, match="run has no views input with the encoder 'cnn'"):
        source_input("photo", several, {"photo": one})
    with pytest.raises(RecipeError, match="run has no image input with the encoder 'cnn'"):
        source_input("photo", one, {"photo": several})
