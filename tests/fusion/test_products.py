"""Fusions by products against the explicit outer product, and their limits."""

import itertools

import keras
import numpy as np
import pytest
from test_fusions import EMBEDDINGS, PRESENT, as_numpy, built

import mm_keras.recipe as parts
from mm_keras.errors import RecipeError
from mm_keras.fusion.tensor import BilinearFusion, LowRankFusion, TensorFusion
from mm_keras.recipe.outer import LIMIT, factor_size

THREE = EMBEDDINGS | {"c": np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)}
SUBSETS = [{n: THREE[n] for n in names} for names in (("a",), ("a", "b"), ("a", "b", "c"))]


def projected(fusion, embeddings):
    """What each input is brought to, float64, in the order of names."""
    return [
        np.tanh(embeddings[n] @ as_numpy(p.kernel).astype(float) + as_numpy(p.bias))
        for n, p in sorted(fusion.projections.items())
    ]


@pytest.mark.parametrize("embeddings", SUBSETS, ids=len)
def test_tensor_is_the_explicit_outer_product(embeddings):
    fusion = built(TensorFusion(units=5, size=3), embeddings)
    factors = [np.concatenate([t, np.ones((3, 1))], 1) for t in projected(fusion, embeddings)]
    letters = "xyz"[: len(factors)]
    outer = np.einsum(",".join(f"n{x}" for x in letters) + f"->n{letters}", *factors).reshape(3, -1)
    assert outer.shape == (3, 4 ** len(factors))
    expected = np.maximum(outer @ as_numpy(fusion.join.kernel) + as_numpy(fusion.join.bias), 0)
    np.testing.assert_allclose(as_numpy(fusion(embeddings)), expected, atol=1e-5)
    assert expected.max() > 0.1


@pytest.mark.parametrize("embeddings", SUBSETS, ids=len)
def test_low_rank_at_full_rank_is_tensor(embeddings):
    """Any tensor is a sum of products of unit vectors and its own fibres: one for each index but the first input's."""
    units = 4
    tensor = built(TensorFusion(units=units, size=units), embeddings)
    width, count = units + 1, len(embeddings)
    rank = width ** (count - 1)
    low = built(LowRankFusion(units=units, rank=rank), embeddings)
    for n in embeddings:
        low.projections[n].set_weights(tensor.projections[n].get_weights())
    weights = as_numpy(tensor.join.kernel).reshape(*[width] * count, units)
    for at, name in enumerate(sorted(embeddings)):
        factor = np.zeros((width, rank, units), np.float32)
        for r, index in enumerate(itertools.product(range(width), repeat=count - 1)):
            if at == 0:
                factor[:, r] = weights[(slice(None), *index)]
            else:
                factor[index[at - 1], r] = 1.0
        low.factors[name].kernel.assign(factor[:-1].reshape(units, -1))
        low.factors[name].bias.assign(factor[-1].reshape(-1))
    low.bias.assign(tensor.join.bias)
    np.testing.assert_allclose(as_numpy(low(embeddings)), as_numpy(tensor(embeddings)), atol=1e-5)
    assert as_numpy(tensor(embeddings)).max() > 0.1


def test_low_rank_is_its_formula():
    fusion = built(LowRankFusion(units=4, rank=3), THREE)
    product = 1.0
    for t, (_, factor) in zip(projected(fusion, THREE), sorted(fusion.factors.items()), strict=True):
        kernel, bias = as_numpy(factor.kernel).reshape(4, 3, 4), as_numpy(factor.bias).reshape(3, 4)
        product = product * (np.einsum("ni,iru->nru", t, kernel) + bias)
    expected = np.maximum(product.sum(1) + as_numpy(fusion.bias), 0)
    np.testing.assert_allclose(as_numpy(fusion(THREE)), expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_low_rank_begins_where_the_product_is_one(count):
    embeddings = {f"i{i}": np.zeros((1, 3), np.float32) for i in range(count)}
    np.testing.assert_allclose(as_numpy(LowRankFusion(units=4, rank=3)(embeddings)), 1.0, atol=1e-6)


@pytest.mark.parametrize("embeddings", SUBSETS, ids=len)
def test_bilinear_is_all_pairs_and_the_inputs(embeddings):
    fusion = built(BilinearFusion(units=5, size=3), embeddings)
    factors = projected(fusion, embeddings)
    outer = [np.einsum("ni,nj->nij", x, y).reshape(3, -1) for x, y in itertools.combinations(factors, 2)]
    z = np.concatenate([*factors, *outer], 1)
    expected = np.maximum(z @ as_numpy(fusion.join.kernel) + as_numpy(fusion.join.bias), 0)
    np.testing.assert_allclose(as_numpy(fusion(embeddings)), expected, atol=1e-5)


def test_bilinear_is_tensor_without_the_triples():
    tensor, pairs = (built(kind(units=4, size=2), THREE) for kind in (TensorFusion, BilinearFusion))
    for n in THREE:
        pairs.projections[n].set_weights(tensor.projections[n].get_weights())
    weights = as_numpy(tensor.join.kernel).reshape(3, 3, 3, 4)
    weights[:2, :2, :2] = 0
    tensor.join.kernel.assign(weights.reshape(27, 4))
    singles = [weights[:2, 2, 2], weights[2, :2, 2], weights[2, 2, :2]]
    products = [weights[:2, :2, 2], weights[:2, 2, :2], weights[2, :2, :2]]
    pairs.join.kernel.assign(np.concatenate([w.reshape(-1, 4) for w in (*singles, *products)]))
    pairs.join.bias.assign(as_numpy(tensor.join.bias) + weights[2, 2, 2])
    np.testing.assert_allclose(as_numpy(pairs(THREE)), as_numpy(tensor(THREE)), atol=1e-5)


def test_products_do_not_ask_what_is_present():
    """Their embedding of an absent input is the learned one already."""
    for kind in (TensorFusion, BilinearFusion, LowRankFusion):
        fusion = built(kind(units=4), EMBEDDINGS, PRESENT)
        np.testing.assert_array_equal(as_numpy(fusion(EMBEDDINGS, PRESENT)), as_numpy(fusion(EMBEDDINGS)))


@pytest.mark.parametrize(
    ("kind", "inputs", "size"),
    # (size + 1) ** inputs, and 1 + inputs * size + pairs * size ** 2, at most 4096.
    [
        *(("tensor", inputs, size) for inputs, size in ((1, 32), (2, 32), (3, 15), (4, 7), (5, 4), (16, 1))),
        *(("bilinear", inputs, size) for inputs, size in ((2, 32), (3, 32), (5, 19), (24, 3))),
    ],
)
def test_the_size_is_chosen_by_the_number_of_inputs(kind, inputs, size):
    assert factor_size(kind, inputs, 0) == size


def recipe(kind, inputs, **options):
    return parts.Recipe(
        inputs={f"i{i}": parts.Vector() for i in range(inputs)},
        fusion=parts.Fusion(kind, options=options),
        tasks={"y": parts.Regression()},
    )


def test_too_many_products_are_refused_in_the_recipe():
    assert 9**5 <= LIMIT < 10**5
    recipe("tensor", 5, size=8)
    with pytest.raises(RecipeError, match=r"'tensor': 5 inputs of size 9 .+ 100000 numbers, over the limit of 65536\. "
                       r"Set `size` to at most 8, or take 'low_rank'.+Received: size=9"):  # fmt: skip
        recipe("tensor", 5, size=9)
    with pytest.raises(RecipeError, match=r"17 inputs of size 1 .+ 131072 numbers.+ Leave some inputs out, or"):
        recipe("tensor", 17)
    with pytest.raises(RecipeError, match=r"'bilinear': 5 inputs of size 100 .+Set `size` to at most 80"):
        recipe("bilinear", 5, size=100)
    with pytest.raises(RecipeError, match=r"'tensor': option 'size' must be at least 0.+Received: -1"):
        recipe("tensor", 2, size=-1)
    with pytest.raises(RecipeError, match=r"fusion 'low_rank' has no option 'size'\..+\['rank'\]"):
        recipe("low_rank", 2, size=3)
    with pytest.raises(RecipeError, match="17 inputs"):  # a layer that no recipe made
        TensorFusion(units=2).build({f"i{i}": (None, 3) for i in range(17)})


def test_options_reach_the_layers():
    for kind, layer in ((TensorFusion, "size"), (BilinearFusion, "size"), (LowRankFusion, "rank")):
        fusion = kind(units=4, **{layer: 2})
        again = kind.from_config(fusion.get_config())
        assert getattr(again, layer) == 2
        fusion(EMBEDDINGS)
        assert keras.ops.shape(fusion(EMBEDDINGS)) == (3, 4)
