"""Pooled, shared, modulated and expert fusions against their formulas in NumPy, and what absent inputs do to them."""

import numpy as np
import pytest
from test_fusions import EMBEDDINGS, PRESENT, as_numpy, built, softmax

from mm_keras.fusion import build_fusion
from mm_keras.fusion.experts import ExpertsFusion
from mm_keras.fusion.film import FilmFusion
from mm_keras.fusion.pooled import MaxFusion, MeanFusion, ProductFusion, SumFusion
from mm_keras.fusion.shared import SharedFusion
from mm_keras.recipe import Fusion
from mm_keras.registry import FUSION_OPTIONS

POOLED = {SumFusion: sum, MeanFusion: lambda x: sum(x) / len(x), MaxFusion: lambda x: np.max(x, 0)}
MASKED = [SumFusion, MeanFusion, MaxFusion, ProductFusion, SharedFusion]
ALL = [*MASKED, FilmFusion, ExpertsFusion]


def dense(x, layer):
    return x @ as_numpy(layer.kernel).astype(float) + as_numpy(layer.bias)


def rows_of(embeddings, present):
    """Yields each row as `({name: embedding}, names present)`, all of them where none is."""
    for row in range(3):
        names = [n for n in sorted(embeddings) if present[n][row, 0]] or sorted(embeddings)
        yield {n: embeddings[n][row].astype(float) for n in embeddings}, names


NOTHING = {n: np.zeros((3, 1), np.float32) for n in PRESENT}


@pytest.mark.parametrize("present", [PRESENT, NOTHING], ids=["some", "none"])
@pytest.mark.parametrize("kind", POOLED)
def test_pooled_is_the_pool_of_what_is_present(kind, present):
    fusion = built(kind(units=6), EMBEDDINGS, present)
    for got, (x, names) in zip(as_numpy(fusion(EMBEDDINGS, present)), rows_of(EMBEDDINGS, present), strict=True):
        expected = POOLED[kind]([np.maximum(dense(x[n], fusion.projections[n]), 0) for n in names])
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("present", [PRESENT, NOTHING], ids=["some", "none"])
def test_product_multiplies_what_is_present(present):
    fusion = built(ProductFusion(units=6), EMBEDDINGS, present)
    for got, (x, names) in zip(as_numpy(fusion(EMBEDDINGS, present)), rows_of(EMBEDDINGS, present), strict=True):
        factors = [1 + np.tanh(dense(x[n], fusion.projections[n])) for n in names]
        np.testing.assert_allclose(got, np.prod(factors, 0), atol=1e-5)


@pytest.mark.parametrize("present", [PRESENT, NOTHING], ids=["some", "none"])
def test_shared_is_its_formula(present):
    fusion = built(SharedFusion(units=6), EMBEDDINGS, present)
    for got, (x, names) in zip(as_numpy(fusion(EMBEDDINGS, present)), rows_of(EMBEDDINGS, present), strict=True):
        wide = [np.pad(x[n], (0, 7 - len(x[n]))) for n in names]
        mean = np.mean([np.maximum(dense(w, fusion.project), 0) for w in wide], 0)
        np.testing.assert_allclose(got, np.maximum(dense(mean, fusion.join), 0), atol=1e-5)


def test_shared_has_one_set_of_weights_however_many_inputs():
    counts = [
        built(SharedFusion(units=6), {f"i{i}": np.ones((2, 7)) for i in range(n)}).count_params() for n in (1, 2, 5)
    ]
    assert counts == [7 * 6 + 6 + 6 * 6 + 6] * 3
    # And so cannot tell one input from another.
    one, two = (np.random.default_rng(s).normal(size=(3, 7)).astype(np.float32) for s in (1, 2))
    fusion = built(SharedFusion(units=6), {"a": one, "b": two})
    swapped = as_numpy(fusion({"a": two, "b": one}))
    np.testing.assert_allclose(as_numpy(fusion({"a": one, "b": two})), swapped, atol=1e-6)


@pytest.mark.parametrize("present", [PRESENT, NOTHING], ids=["some", "none"])
def test_film_is_its_formula(present):
    three = EMBEDDINGS | {"c": np.random.default_rng(4).normal(size=(3, 6)).astype(np.float32)}
    present = present | {"c": np.array([[1], [0], [1]], np.float32)}
    fusion = built(FilmFusion(units=6), three, present)
    for got, (x, names) in zip(as_numpy(fusion(three, present)), rows_of(three, present), strict=True):
        expected = []
        for n in names:
            others = np.concatenate([x[o] for o in sorted(three) if o != n])
            scale, shift = 1 + dense(others, fusion.scales[n]), dense(others, fusion.shifts[n])
            expected.append(np.maximum(scale * dense(x[n], fusion.projections[n]) + shift, 0))
        np.testing.assert_allclose(got, np.mean(expected, 0), atol=1e-5)


@pytest.mark.parametrize("present", [PRESENT, None], ids=["some", "all"])
def test_experts_are_their_formula(present):
    fusion = built(ExpertsFusion(units=6, num_experts=3), EMBEDDINGS, present)
    x = np.concatenate([EMBEDDINGS["a"], EMBEDDINGS["b"]], 1)
    here = np.ones((3, 2)) if present is None else np.concatenate([present["a"], present["b"]], 1)
    gate = softmax(dense(np.concatenate([x, here], 1), fusion.gate))
    experts = np.maximum(dense(x, fusion.experts), 0).reshape(3, 3, 6)
    expected = (gate[..., None] * experts).sum(1)
    np.testing.assert_allclose(as_numpy(fusion(EMBEDDINGS, present)), expected, atol=1e-5)
    assert np.abs(gate - 1 / 3).max() > 0.1


@pytest.mark.parametrize("kind", MASKED)
def test_what_an_absent_input_holds_changes_nothing(kind):
    fusion = built(kind(units=8), EMBEDDINGS, PRESENT)
    # In row 1 `b` is absent, in row 2 `a`.
    other = {"a": EMBEDDINGS["a"] + [[0], [0], [50]], "b": EMBEDDINGS["b"] - [[0], [50], [0]]}
    got, moved = as_numpy(fusion(EMBEDDINGS, PRESENT)), as_numpy(fusion(other, PRESENT))
    np.testing.assert_allclose(got, moved, atol=1e-6)
    assert np.abs(as_numpy(fusion(other)) - as_numpy(fusion(EMBEDDINGS)))[1:].max() > 0.1


OWN = ["sum", "mean", "max", "product", "shared", "film", "tensor", "low_rank", "bilinear", "experts"]


@pytest.mark.parametrize("name", OWN)
def test_one_input_alone_and_dropout(name):
    one = {"a": EMBEDDINGS["a"]}
    fusion = built(build_fusion(Fusion(name, units=64, dropout=0.5)), one, {"a": PRESENT["a"]})
    rest = as_numpy(fusion(one, {"a": PRESENT["a"]}))
    assert rest.shape == (3, 64)
    assert np.ptp(rest, axis=0).max() > 0.05
    if name != "experts":  # whose gate sees what is absent
        np.testing.assert_array_equal(rest, as_numpy(fusion(one)))  # alone, it counts present or not
    assert (as_numpy(fusion(one, training=True)) != rest).any()
    assert build_fusion(Fusion(name)).get_config().items() >= FUSION_OPTIONS[name].items()
