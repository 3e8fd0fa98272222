"""The traced graph is the model, and tracing leaves no mark on it."""

import re

import keras
import numpy as np
import pytest
from conftest import build_run, five_input_examples, five_input_recipe

from mm_keras.explanation.engine import Engine, engine_for
from mm_keras.explanation.graph import trace, walk

# Fusions of every level, each text encoder; the first is a run of all five modalities, the others leave two out for
# speed.
CASES = [("gated", "transformer"), ("concat", "gru"), ("mmtm", "transformer")]
MORE = {("self_attention", "transformer"): pytest.mark.slow, ("decision_weighted", "gru"): pytest.mark.slow}
MORE |= {("token_transformer", "transformer"): pytest.mark.long, ("decision_mean", "gru"): pytest.mark.long}
CASES += [pytest.param(case, marks=mark, id="-".join(case)) for case, mark in MORE.items()]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def run(request, tmp_path_factory):
    fusion, text = request.param
    if fusion == "gated":
        return request.getfixturevalue("five_input_run")
    recipe = five_input_recipe(fusion, title=text).without("photo", "features")
    return build_run(tmp_path_factory.mktemp("run"), recipe)


def examples_of(run, gaps):
    """Five examples; with `gaps`, all but the first lack something and the last lacks everything."""
    fields = [f for p in run.preprocessors.values() for f in p.raw_specs]
    absent = ([], ["voice"], ["title", "colour"], ["price", "weight", "photo"], fields) if gaps else [[]] * 5
    return [{f: e[f] for f in fields if f not in a} for e, a in zip(five_input_examples(5), absent, strict=True)]


def test_trace_equals_model(run):
    tensors = run.encode(examples_of(run, gaps=True))[0]
    wanted = run.model(tensors, training=False)
    outputs, taps = trace(run.model, {n: keras.ops.convert_to_tensor(t) for n, t in tensors.items()}, {})
    for task in run.tasks:
        np.testing.assert_array_equal(outputs[task], wanted[task])
    # A fusion inside the encoders cuts them; the first part holds the embedding.
    assert [p for p in taps if re.fullmatch(r"title_encoder(_1)?/embedding(_\d+)?", p)]

    # Compiled, the same sums are taken in another order.
    seen = engine_for(run.model, run.tasks).observe(tensors)
    np.testing.assert_allclose(seen.outputs["category"], wanted["category"], atol=1e-6)
    np.testing.assert_allclose(seen.scores[:, 3:], wanted["rating"], atol=1e-5)


def test_differentiate_at_the_example_is_the_model(run):
    tensors = run.encode(examples_of(run, gaps=True))[0]
    engine = engine_for(run.model, run.tasks)
    seen = engine.observe(tensors)
    column = np.array([0, 1, 2, 3, 0], np.int32)
    values, gradients = engine.differentiate(seen.entries, seen.held, column)
    np.testing.assert_allclose(values, seen.scores[np.arange(5), column], atol=1e-5)
    for name, gradient in gradients.items():
        present = np.array([t.any() for t in tensors[name]])
        assert (np.abs(gradient).reshape(5, -1).max(axis=1) > 0).tolist() == present.tolist(), name


def test_gradient_equals_finite_difference(run):
    tensors = run.encode(examples_of(run, gaps=False)[:1])[0]
    engine = engine_for(run.model, run.tasks)
    seen = engine.observe(tensors)
    column, rng = np.zeros(1, np.int32), np.random.default_rng(0)
    ways = {n: rng.standard_normal(v.shape).astype(np.float32) for n, v in seen.entries.items()}

    def value(step):
        moved = {n: v + step * ways[n] for n, v in seen.entries.items()}
        return float(engine.differentiate(moved, seen.held, column)[0][0])

    _, gradients = engine.differentiate(seen.entries, seen.held, column)
    slope = sum(float((gradients[n] * ways[n]).sum()) for n in ways)
    # Rounding in float32 moves the quotient by some 1e-2; a longer step would cross kinks of many a ReLU.
    assert (value(1e-4) - value(-1e-4)) / 2e-4 == pytest.approx(slope, rel=0.03, abs=0.03)


def test_trace_opens_nested_models_and_replaces():
    inner_input = keras.Input((2,), name="given")
    inner = keras.Model(inner_input, keras.layers.Rescaling(3.0, name="triple")(inner_input), name="inner")
    x = keras.Input((2,), name="x")
    model = keras.Model({"x": x}, {"y": keras.layers.Rescaling(1.0, 1.0, name="plus")(inner(x))})
    ones = keras.ops.ones((1, 2))
    outputs, taps = trace(model, {"x": ones}, {})
    assert outputs["y"].numpy().tolist() == [[4.0, 4.0]]
    assert sorted(taps) == ["inner", "inner/triple", "plus"]
    outputs, _ = trace(model, {"x": ones}, {"inner/triple": 5 * ones})
    assert outputs["y"].numpy().tolist() == [[6.0, 6.0]]
    assert list(walk(model)[2]) == ["inner/triple", "inner", "plus"]


def test_a_model_without_a_graph_is_refused():
    class Mine(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match=r"only a functional keras\.Model has a graph"):
        walk(Mine(name="mine"))


def test_an_integer_input_that_is_never_float_alone_is_refused():
    x, z = keras.Input((3,), dtype="int32", name="x"), keras.Input((3,), name="z")
    model = keras.Model({"x": x, "z": z}, {"y": keras.ops.multiply(x, z)})
    with pytest.raises(ValueError, match="'x' is no float tensor"):
        Engine(model, {"y": None})
