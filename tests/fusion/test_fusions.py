"""Fusions against their formulas in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from mm_keras import registry
from mm_keras.errors import RecipeError
from mm_keras.fusion import build_fusion, fusion_level
from mm_keras.fusion.concat import ConcatFusion
from mm_keras.fusion.decision import DecisionMean, DecisionProduct, DecisionWeighted
from mm_keras.fusion.gated import GatedFusion
from mm_keras.fusion.self_attention import SelfAttentionFusion
from mm_keras.recipe import Fusion
from mm_keras.registry import FUSIONS

RNG = np.random.default_rng(0)
EMBEDDINGS = {"b": RNG.normal(size=(3, 5)).astype(np.float32), "a": RNG.normal(size=(3, 7)).astype(np.float32)}
PRESENT = {"b": np.array([[1], [0], [1]], np.float32), "a": np.array([[1], [1], [0]], np.float32)}


def as_numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def built(layer, *inputs):
    """Builds a layer and gives every weight a random value, the same in whatever order tests run."""
    layer(*inputs)
    rng = np.random.default_rng(0)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return layer


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_concat_is_a_dense_layer_on_the_sorted_embeddings():
    fusion = built(ConcatFusion(units=4), EMBEDDINGS, PRESENT)
    kernel, bias = (as_numpy(w) for w in fusion.join.weights)
    expected = np.maximum(np.concatenate([EMBEDDINGS["a"], EMBEDDINGS["b"]], 1) @ kernel + bias, 0)
    np.testing.assert_allclose(as_numpy(fusion(EMBEDDINGS, PRESENT)), expected, atol=1e-5)


def test_gated_is_its_formula():
    fusion = built(GatedFusion(units=4), EMBEDDINGS, PRESENT)
    joined = np.concatenate([EMBEDDINGS["a"], EMBEDDINGS["b"]], 1)
    expected = 0
    for name in ("a", "b"):
        value, gate = fusion.values[name], fusion.gates[name]
        h = np.tanh(EMBEDDINGS[name] @ as_numpy(value.kernel) + as_numpy(value.bias))
        expected = expected + sigmoid(joined @ as_numpy(gate.kernel) + as_numpy(gate.bias)) * h
    np.testing.assert_allclose(as_numpy(fusion(EMBEDDINGS, PRESENT)), expected, atol=1e-5)


def attention_numpy(fusion, embeddings, present):
    """One pre-normalised transformer block over the present inputs of one row, in float64."""

    def normed(x, layer):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * as_numpy(layer.gamma) + (
            as_numpy(layer.beta)
        )

    def dense(x, layer):
        return x @ as_numpy(layer.kernel) + as_numpy(layer.bias)

    names = [n for n in sorted(embeddings) if present[n]]
    kinds = as_numpy(fusion.kinds)
    x = np.stack([dense(embeddings[n], fusion.projections[n]) + kinds[sorted(embeddings).index(n)] for n in names])
    block = fusion.block
    y, attention = normed(x, block.norms[0]), block.attention
    heads = fusion.num_heads
    query, key, value = (
        np.einsum("iu,uhd->hid", y, as_numpy(d.kernel)) + as_numpy(d.bias)[:, None]
        for d in (attention.query_dense, attention.key_dense, attention.value_dense)
    )
    weights = softmax(np.einsum("hid,hjd->hij", query, key) / np.sqrt(x.shape[1] / heads))
    mixed = np.einsum("hij,hjd->ihd", weights, value)
    output = attention.output_dense
    x = x + np.einsum("ihd,hdu->iu", mixed, as_numpy(output.kernel)) + as_numpy(output.bias)
    wide = dense(normed(x, block.norms[1]), block.widen)
    x = x + dense(as_numpy(keras.activations.gelu(wide)), block.narrow)
    return normed(x, fusion.norm).mean(0)


def test_self_attention_is_its_formula_over_the_present_inputs():
    fusion = built(SelfAttentionFusion(units=8, num_heads=2), EMBEDDINGS, PRESENT)
    got = as_numpy(fusion(EMBEDDINGS, PRESENT))
    for row in range(3):
        embeddings = {n: e[row] for n, e in EMBEDDINGS.items()}
        expected = attention_numpy(fusion, embeddings, {n: p[row, 0] for n, p in PRESENT.items()})
        np.testing.assert_allclose(got[row], expected, atol=1e-4)


def test_self_attention_is_not_moved_by_what_is_masked():
    fusion = built(SelfAttentionFusion(units=8), EMBEDDINGS, PRESENT)
    # In row 1 `b` is absent, in row 2 `a`.
    other = {"a": EMBEDDINGS["a"] + [[0], [0], [50]], "b": EMBEDDINGS["b"] - [[0], [50], [0]]}
    got, moved = as_numpy(fusion(EMBEDDINGS, PRESENT)), as_numpy(fusion(other, PRESENT))
    np.testing.assert_allclose(got, moved, atol=1e-6)
    everything = {n: np.ones((3, 1), np.float32) for n in PRESENT}
    assert np.abs(as_numpy(fusion(other, everything)) - as_numpy(fusion(EMBEDDINGS, everything)))[1:].max() > 0.1


def test_with_no_input_present_all_are_kept():
    nothing, everything = ({n: np.full((3, 1), v, np.float32) for n in EMBEDDINGS} for v in (0, 1))
    for fusion in (SelfAttentionFusion(units=8), DecisionMean(), DecisionWeighted(), DecisionProduct()):
        inputs = EMBEDDINGS if isinstance(fusion, SelfAttentionFusion) else {n: e[:, :4] for n, e in EMBEDDINGS.items()}
        built(fusion, inputs, nothing)
        np.testing.assert_allclose(as_numpy(fusion(inputs, nothing)), as_numpy(fusion(inputs, everything)), atol=1e-6)


LOGITS = {n: e[:, :4] for n, e in EMBEDDINGS.items()}


def test_decision_mean_of_probabilities_by_hand():
    got = softmax(as_numpy(DecisionMean()(LOGITS, PRESENT)))
    a, b = softmax(LOGITS["a"]), softmax(LOGITS["b"])
    # An absent input keeps a weight of 1e-9.
    np.testing.assert_allclose(got, [(a[0] + b[0]) / 2, a[1], b[2]], atol=1e-6)


def test_decision_mean_of_values_by_hand():
    values = {"a": np.array([[1.0], [2], [3]], np.float32), "b": np.array([[5.0], [6], [7]], np.float32)}
    got = as_numpy(DecisionMean(probabilities=False)(values, PRESENT))
    np.testing.assert_allclose(got, [[3], [2], [7]], atol=1e-6)


def test_decision_mean_of_certain_classes_is_finite():
    certain = {"a": np.array([[500.0, 0, -500]], np.float32), "b": np.array([[-500.0, 0, 500]], np.float32)}
    got = as_numpy(DecisionMean()(certain))
    assert np.isfinite(got).all()
    np.testing.assert_allclose(softmax(got), [[0.5, 0, 0.5]], atol=1e-6)


@pytest.mark.parametrize("probabilities", [True, False])
def test_decision_weighted_by_hand(probabilities):
    fusion = built(DecisionWeighted(probabilities=probabilities), LOGITS, PRESENT)
    fusion.scores.assign(np.log([[3.0, 1.0]]))  # three quarters to `a`
    got = as_numpy(fusion(LOGITS, PRESENT))
    a, b = LOGITS["a"], LOGITS["b"]
    if probabilities:
        a, b, got = softmax(a), softmax(b), softmax(got)
    np.testing.assert_allclose(got, [0.75 * a[0] + 0.25 * b[0], a[1], b[2]], atol=1e-6)


def test_decision_product_by_hand():
    got = softmax(as_numpy(DecisionProduct()(LOGITS, PRESENT)))
    a, b = softmax(LOGITS["a"]), softmax(LOGITS["b"])
    np.testing.assert_allclose(got, [a[0] * b[0] / (a[0] * b[0]).sum(), a[1], b[2]], atol=1e-6)
    values = {"a": np.array([[1.0], [2], [3]], np.float32), "b": np.array([[5.0], [6], [7]], np.float32)}
    np.testing.assert_allclose(as_numpy(DecisionProduct(probabilities=False)(values, PRESENT)), [[3], [2], [7]])


@pytest.mark.parametrize("kind", [ConcatFusion, GatedFusion, SelfAttentionFusion])
def test_dropout_acts_in_training_alone(kind):
    fusion = built(kind(units=64, dropout=0.5), EMBEDDINGS, PRESENT)
    rest = as_numpy(fusion(EMBEDDINGS, PRESENT))
    np.testing.assert_array_equal(rest, as_numpy(fusion(EMBEDDINGS, PRESENT)))
    assert (as_numpy(fusion(EMBEDDINGS, PRESENT, training=True)) != rest).any()


@pytest.mark.parametrize("kind", [k for k in FUSIONS if fusion_level(Fusion(k)) == "embeddings"])
def test_the_precision_of_a_fusion_is_that_of_all_its_parts(kind):
    """As in a stored model of mixed precision, loaded where new layers are of float32."""
    fusion = build_fusion(Fusion(kind, units=8), dtype="mixed_float16")
    assert fusion(EMBEDDINGS, PRESENT).dtype == "float16"
    assert {part.compute_dtype for part in fusion._flatten_layers()} == {"float16"}


def test_the_recipe_reaches_the_layer():
    layer = build_fusion(Fusion("self_attention", units=12, dropout=0.25), name="fusion")
    assert (layer.units, layer.dropout, layer.name) == (12, 0.25, "fusion")
    assert fusion_level(Fusion("decision_mean")) == "decisions"
    assert fusion_level(Fusion("gated")) == "embeddings"
    with pytest.raises(RecipeError, match=r"fusion 'self_attention': `units`.+multiple of `num_heads`, 4\..+units=30"):
        build_fusion(Fusion("self_attention", units=30))


def test_a_fusion_of_the_users_is_built_from_the_recipe(monkeypatch):
    class Mine(ConcatFusion):
        """A fusion that someone wrote."""

    monkeypatch.setitem(registry.FUSIONS, "mine", Mine)
    layer = build_fusion(Fusion("mine", units=3))
    assert isinstance(layer, Mine)
    assert as_numpy(layer(EMBEDDINGS)).shape == (3, 3)
