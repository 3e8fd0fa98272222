"""Several models as one: what it answers, and whether everything that reads a run reads it too."""

import itertools
import json

import keras
import numpy as np
import pytest
from conftest import build_run, five_input_examples, five_input_recipe

import mm_keras as mm
from mm_keras.explanation.methods import METHODS
from mm_keras.explanation.quality.randomised import randomised
from mm_keras.explanation.subjects import run_engine
from mm_keras.exporting.served.saved_model import float32_model, joined_model
from mm_keras.model import build_model, join_models

pytestmark = pytest.mark.slow


def small_recipe(fusion="gated", title="cnn"):
    """A text, a table and a vector: ids, masks and batch normalisation."""
    return five_input_recipe(fusion, title=title).without("photo", "voice")


def examples(count, seed=0):
    return [{k: v for k, v in e.items() if k not in ("photo", "voice")} for e in five_input_examples(count, seed)]


def join_runs(folder, recipe, kind, count=2):
    """Returns `(run, models)`: untrained models of one recipe, each drawn anew, stored as one run."""
    run = build_run(folder, recipe)
    keras.config.set_dtype_policy(recipe.training.precision)
    try:
        models = [run.model, *(build_model(recipe, run.tensors, run.tasks) for _ in range(count - 1))]
    finally:
        keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(4)
    for model in models:
        for weight in model.trainable_weights:
            weight.assign(weight + rng.normal(0, 0.1, weight.shape))
    joined = join_models(recipe, models, run.tasks, kind)
    for task in run.tasks if kind == "decision_stacking" else ():
        layer = joined.get_layer(f"{task}_logits")
        layer.kernel.assign(rng.normal(0, 1, layer.kernel.shape))
        layer.bias.assign(rng.normal(0, 1, layer.bias.shape))
    joined.save(folder / "model.keras")
    (folder / "run.json").write_text(json.dumps({"ensemble": {"join": kind, "nested": count}}))
    return mm.load_run(folder), models, joined


@pytest.fixture(scope="module")
def mean(tmp_path_factory):
    return join_runs(tmp_path_factory.mktemp("mean"), small_recipe(), "decision_mean")


def test_the_mean_is_the_mean_of_what_the_members_say(mean):
    run, models, _ = mean
    tensors, _ = run.encode(examples(4, seed=3))
    subsets = [names for count in range(4) for names in itertools.combinations(tensors, count)]
    given = {n: np.concatenate([t * (n in names) for names in subsets]).astype(t.dtype) for n, t in tensors.items()}
    said = [model(given, training=False) for model in models]
    found = run.model(given, training=False)
    for task in run.tasks:
        np.testing.assert_allclose(found[task], np.mean([s[task] for s in said], axis=0), rtol=1e-5, atol=1e-6)


def test_a_joined_model_is_stored_bit_for_bit(mean):
    run, _, joined = mean
    tensors, _ = run.encode(examples(4, seed=3))
    before, after = joined(tensors, training=False), run.model(tensors, training=False)
    for task in run.tasks:
        np.testing.assert_array_equal(before[task], after[task])


def test_it_has_the_stations_of_any_model(mean, tmp_path):
    run, models, _ = mean
    tensors, _ = run.encode(examples(3))
    names = ["fusion", *(f"{n}_missing" for n in run.recipe.inputs)]
    whole = keras.Model(run.model.input, {n: run.model.get_layer(n).output for n in names})(tensors)
    for name in names:
        parts = [keras.Model(m.input, m.get_layer(name).output)(tensors) for m in models]
        np.testing.assert_allclose(whole[name], np.concatenate(parts, axis=1), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(joined_model(run, run.model)(tensors)["embedding"], whole["fusion"])


def test_what_the_inputs_did_adds_up(mean):
    run, _, _ = mean
    found = mm.explain(run, examples(1, seed=8)[0], task="category", steps=64)
    assert sum(found.scores.values()) == pytest.approx(found.value - found.base_value, abs=1e-5)
    total = sum(float(np.sum(m)) for m in found.maps.values())
    assert total == pytest.approx(found.value - found.start_value, rel=0.01, abs=1e-3)


def test_the_gradients_of_a_mean_are_the_mean_of_gradients(mean):
    """Integrated gradients are linear; a text enters every member by vectors of its own."""
    run, models, _ = mean
    tensors, _ = run.encode(examples(3, seed=8))
    found = []
    for model in (run.model, *models):
        engine = run_engine(run, model)
        column = np.full(3, engine.columns["rating"].start, np.int32)
        maps, _ = METHODS["integrated_gradients"](engine, tensors, column, 8)
        found.append({n: values.sum(axis=-1) for n, values in maps.items()})
    for name in tensors:
        assert np.abs(found[0][name]).max() > 0
        np.testing.assert_allclose(found[0][name], (found[1][name] + found[2][name]) / 2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("stage", "changed", "kept"),
    [("heads", "category_logits", "fusion"), ("heads and fusion", "fusion", "title_encoder")],
)
def test_the_heads_of_members_are_drawn_anew_apart(mean, stage, changed, kept):
    run, _, _ = mean
    drawn = randomised(run.model, stage)

    def is_same(number, name):
        members = [model.get_layer(f"member_{number}").get_layer(name) for model in (run.model, drawn)]
        return all(np.array_equal(a, b) for a, b in zip(*(m.get_weights() for m in members), strict=True))

    for number in (1, 2):
        assert is_same(number, kept)
        assert not is_same(number, changed)


def test_stacking_and_a_mean_of_decisions_are_stored_too(tmp_path):
    for fusion, kind in (("decision_mean", "decision_mean"), ("gated", "decision_stacking")):
        run, _, joined = join_runs(tmp_path / fusion, small_recipe(fusion).without("title"), kind)
        tensors, _ = run.encode([{k: v for k, v in e.items() if k != "title"} for e in examples(2)])
        for task, values in run.model(tensors, training=False).items():
            np.testing.assert_array_equal(values, joined(tensors, training=False)[task])


def test_it_is_built_again_in_float32_and_without_loops(tmp_path):
    recipe = small_recipe(title="gru")
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"precision": "mixed_bfloat16"})})
    run, *_ = join_runs(tmp_path, recipe, "decision_mean")
    tensors, _ = run.encode(examples(8, seed=2))
    whole, unrolled = (float32_model(run, **o)(tensors, training=False) for o in ({}, {"unroll": True}))
    assert {w.dtype for w in float32_model(run).weights} == {"float32"}
    rough = run.model(tensors, training=False)
    for task in run.tasks:
        np.testing.assert_allclose(unrolled[task], whole[task], atol=1e-5)
        np.testing.assert_allclose(rough[task], whole[task], atol=0.1)
