"""The layers over a knowledge graph, against NumPy on small graphs made by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from mm_keras.encoders.graph import (
    NeighbourAttention,
    Neighbourhood,
    NodeVectors,
    RelationalConvolution,
    relation_shares,
)
from mm_keras.recipe import Graph

# 1 -a-> 2, 1 -a-> 3, 1 -b-> 4, 2 -b-> 3, 4 -a-> 1; relation ids 1, 2 forwards and 3, 4 backwards.
EDGES = {
    1: [(1, 2), (1, 3), (2, 4), (3, 4)],
    2: [(3, 1), (2, 3)],
    3: [(3, 1), (4, 2)],
    4: [(4, 1), (1, 1)],
}
WIDTH, CHANNELS, UNITS = 4, 3, 8


def tables():
    neighbours, relations = np.zeros((5, WIDTH), np.int32), np.zeros((5, WIDTH), np.int32)
    for node, edges in EDGES.items():
        for i, (relation, other) in enumerate(edges):
            neighbours[node, i], relations[node, i] = other, relation
    return neighbours, relations


def graph(**more):
    neighbours, relations = tables()
    empty = {"numbers": np.zeros((5, 0), np.float32), "tokens": np.zeros((5, 0), np.int32)}
    return Graph(neighbours, relations, 5, **{**empty, **more})


def as_numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def tree(ids, hops=1):
    return [as_numpy(t) for t in Neighbourhood((5, WIDTH), hops, graph())(np.array(ids, np.int32)[:, None])]


def randomised(layer, seed=0):
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def test_the_tree_of_two_hops_by_hand():
    ids, relations, shares = tree([2, 0], hops=2)
    none = [0] * WIDTH
    assert ids[0].tolist() == [2, 1, 3, 0, 0, 2, 3, 4, 4, 1, 2, 0, 0, *none, *none]
    assert relations[0].tolist() == [0, 3, 2, 0, 0, 1, 1, 2, 3, 3, 4, 0, 0, *none, *none]
    # Of the neighbours of 1, two come by relation 1.
    assert shares[0].tolist() == [1, 1, 1, 0, 0, 0.5, 0.5, 1, 1, 1, 1, 0, 0, *none, *none]
    assert not ids[1].any()
    assert not relations[1].any()
    assert not shares[1].any()


def test_shares_of_relations_by_hand():
    neighbours, relations = np.array([[5, 6, 7, 0, 0]]), np.array([[1, 1, 2, 0, 0]])
    assert relation_shares(neighbours, relations).tolist() == [[0.5, 0.5, 1, 0, 0]]


def features():
    return np.random.default_rng(7).normal(size=(5, CHANNELS)).astype(np.float32) * (np.arange(5) > 0)[:, None]


def dense_rgcn(x, mix, basis, own, bias):
    """Equation 2 of the paper with adjacency matrices, one for each relation."""
    total = x @ own + bias
    for relation in range(1, 5):
        adjacency = np.zeros((5, 5))
        for node, edges in EDGES.items():
            for kind, other in edges:
                adjacency[node, other] += kind == relation
        count = np.maximum(adjacency.sum(axis=1, keepdims=True), 1)
        matrix = sum(mix[relation, b] * basis[b] for b in range(len(basis)))
        total = total + (adjacency / count) @ x @ matrix
    return np.maximum(total, 0)


def test_relational_convolution_is_the_dense_one():
    layer = RelationalConvolution(UNITS, WIDTH, 5, bases=2)
    x, (ids, relations, shares) = features(), tree([1, 2, 3, 4])
    layer.build([(None, *x[ids].shape[1:]), (None, 5), (None, 5)])
    randomised(layer)
    got = as_numpy(layer([x[ids], relations, shares]))
    mix, kernel, own, bias = (as_numpy(w) for w in (layer.mix, layer.kernel, layer.own, layer.bias))
    expected = dense_rgcn(x, mix, kernel.reshape(2, CHANNELS, UNITS), own, bias)
    assert got.shape == (4, 1, UNITS)
    np.testing.assert_allclose(got[:, 0], expected[1:], rtol=1e-5, atol=1e-5)
    # Two layers of a tree of two hops are two dense layers.
    ids, relations, shares = tree([1, 2, 3, 4], hops=2)
    other = RelationalConvolution(UNITS, WIDTH, 5, bases=3)
    other.build([(None, 5, UNITS), (None, 5), (None, 5)])
    randomised(other, seed=1)
    got = as_numpy(other([layer([x[ids], relations, shares]), relations[:, :5], shares[:, :5]]))
    weights = (as_numpy(w) for w in (other.own, other.bias))
    hidden = expected * (np.arange(5) > 0)[:, None]
    expected = dense_rgcn(hidden, as_numpy(other.mix), as_numpy(other.kernel).reshape(3, UNITS, UNITS), *weights)
    np.testing.assert_allclose(got[:, 0], expected[1:], rtol=1e-4, atol=1e-4)


def test_graph_attention_is_the_dense_one():
    layer, heads = NeighbourAttention(UNITS, WIDTH, 5, num_heads=2), 2
    x, (ids, relations, _) = features(), tree([1, 2, 3, 4])
    mask = (ids > 0).astype(np.float32)
    layer.build([(None, *x[ids].shape[1:]), (None, 5), (None, 5)])
    randomised(layer)
    got = as_numpy(layer([x[ids], relations, mask]))
    kinds, kernel, asking, asked, bias = (
        as_numpy(w).astype(np.float64) for w in (layer.kinds, layer.kernel, layer.asking, layer.asked, layer.bias)
    )
    for row, node in enumerate(EDGES):
        places = [x[node] + kinds[0], *(x[other] + kinds[kind] for kind, other in EDGES[node])]
        z = (np.stack(places) @ kernel).reshape(len(places), heads, -1)
        joined = []
        for h in range(heads):
            e = z[0, h] @ asking[h] + z[:, h] @ asked[h]
            e = np.where(e > 0, e, 0.2 * e)
            a = np.exp(e) / np.exp(e).sum()
            joined.append(a @ z[:, h])
        y = np.concatenate(joined) + bias
        np.testing.assert_allclose(got[row, 0], np.where(y > 0, y, np.expm1(y)), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="multiple of `num_heads`"):
        NeighbourAttention(7, WIDTH, 5, num_heads=2)


@pytest.mark.parametrize("kind", [RelationalConvolution, NeighbourAttention])
def test_what_stands_at_a_place_without_an_entity_changes_nothing(kind):
    layer = kind(UNITS, WIDTH, 5)
    x, (ids, relations, shares) = features()[tree([2])[0]], tree([2])
    weights = shares if kind is RelationalConvolution else (ids > 0).astype(np.float32)
    layer.build([(None, *x.shape[1:]), (None, 5), (None, 5)])
    randomised(layer)
    before = as_numpy(layer([x, relations, weights]))
    x[:, 3:], relations[:, 3:] = 1000, 4
    np.testing.assert_allclose(as_numpy(layer([x, relations, weights])), before, rtol=1e-6)
    x[:, 1] += 1
    assert np.abs(as_numpy(layer([x, relations, weights])) - before).max() > 1e-3


def test_node_vectors_by_hand():
    numbers = np.array([[0, 0], [2, 1], [-1, 1], [0, 0], [3, 1]], np.float32)
    tokens = np.array([[0, 0, 0], [4, 5, 0], [1, 1, 2], [0, 0, 0], [3, 0, 0]], np.int32)
    layer = NodeVectors((5, 4), numbers=2, tokens=3, token_count=6, graph=graph(numbers=numbers, tokens=tokens))
    layer.build((None, 1))
    randomised(layer)
    got = as_numpy(layer(np.array([[1, 2], [3, 4]])))
    table, slopes, words = (as_numpy(w) for w in (layer.table, layer.slopes, layer.words))
    expected = [
        [table[1] + 2 * slopes[0] + slopes[1] + (words[4] + words[5]) / 2,
         table[2] - slopes[0] + slopes[1] + (2 * words[1] + words[2]) / 3],
        [table[3], table[4] + 3 * slopes[0] + slopes[1] + words[3]],
    ]  # fmt: skip
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_vectors_start_from_what_was_learned_before():
    start = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    layer = NodeVectors((5, 4), graph=graph(vectors=start))
    np.testing.assert_array_equal(as_numpy(layer(np.array([[0, 3]]))), start[[0, 3]][None])


def test_own_vectors_are_forgotten_at_the_stated_rate_and_the_others_stay_as_they_are():
    keras.utils.set_random_seed(0)
    layer = NodeVectors((5, 2), forget=0.3, graph=graph())
    layer.build((None, 1))
    layer.table.assign(np.full((5, 2), 7.0))
    got = as_numpy(layer(np.ones((200, 50), np.int32), training=True))
    assert set(np.unique(got)) == {0.0, 7.0}
    np.testing.assert_array_equal(got[..., 0], got[..., 1])
    assert (got[..., 0] == 0).mean() == pytest.approx(0.3, abs=0.02)  # four standard errors of 10000 draws
    assert (as_numpy(layer(np.ones((20, 5), np.int32))) == 7).all()
