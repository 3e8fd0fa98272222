"""Vectors of entities: scores and losses by hand, and what the training makes of them."""

import numpy as np
import pytest

from mm_keras.errors import DataError
from mm_keras.recipe import Entity
from mm_keras.training.knowledge import (
    distmult_score,
    logistic_loss,
    margin_loss,
    numbered,
    pretrain_vectors,
    train_vectors,
    transe_score,
)

# Two chains of four by one relation, and a jump of two by the other.
CHAINS = [(f"{c}{i}", "next", f"{c}{i + 1}") for c in "ab" for i in range(3)]
CHAINS += [(f"{c}{i}", "after", f"{c}{i + 2}") for c in "ab" for i in range(2)]


def floats(*rows):
    return np.array(rows, np.float32)


def test_transe_scores_by_hand():
    head, relation = floats([1, 0], [1, 0]), floats([0, 1], [0, 1])
    got = transe_score(head, relation, floats([1, 1], [4, 5])).numpy()
    # |(1, 1) - (1, 1)| = 0, within the root's guard; |(1, 1) - (4, 5)| = 5
    np.testing.assert_allclose(got, [0, -5], atol=1e-5)


def test_distmult_scores_by_hand():
    got = distmult_score(floats([1, 2, 3]), floats([1, 0, 2]), floats([4, 5, 6])).numpy()
    np.testing.assert_allclose(got, [4 + 0 + 36])


def test_losses_by_hand():
    true, false = floats([2], [0]), floats([0.5, 1.5], [3, -4])
    # max(0, 1 - 2 + .5), max(0, 1 - 2 + 1.5), max(0, 1 - 0 + 3), max(0, 1 - 0 - 4)
    assert float(margin_loss(true, false)) == pytest.approx((0 + 0.5 + 4 + 0) / 4)
    assert float(logistic_loss(floats([0]), floats([0, 0]))) == pytest.approx(np.log(2))
    expected = 0.5 * (np.log1p(np.exp(-2)) + np.mean([np.log1p(np.exp(1)), np.log1p(np.exp(-3))]))
    assert float(logistic_loss(floats([2]), floats([1, -3]))) == pytest.approx(expected, rel=1e-6)


def test_numbers_of_names_are_in_order_of_appearance():
    rows, entities, relations = numbered([("x", "r", "y"), ("z", "s", "x")])
    assert rows.tolist() == [[0, 0, 1], [2, 1, 0]]
    assert (entities, relations) == (["x", "y", "z"], ["r", "s"])


@pytest.mark.parametrize("method", ["transe", "distmult"])
def test_a_seed_repeats_the_vectors_and_true_triples_come_to_score_high(method):
    rows, entities, relations = numbered(CHAINS)
    sizes = (len(entities), len(relations))
    found = [train_vectors(rows, *sizes, method=method, dim=16, epochs=150, seed=s) for s in (1, 1, 2)]
    for one, again, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, again)
        assert np.abs(one - other).max() > 1e-3
    vectors, moves = found[0]
    head, tail, move = vectors[:, None, None], vectors[None, None], moves[None, :, None]
    if method == "transe":
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
        scores = -np.linalg.norm(head + move - tail, axis=-1)
    else:
        scores = (head * move * tail).sum(axis=-1)
    is_true = np.zeros(scores.shape, bool)
    is_true[tuple(rows.T)] = True
    # DistMult cannot tell a triple from its reverse, which scores the same.
    is_false = ~(is_true | is_true.transpose(2, 1, 0)) if method == "distmult" else ~is_true
    ranked = (scores[is_true][:, None] > scores[is_false]).mean()
    assert ranked > 0.95


def test_distmult_is_blind_to_direction_and_transe_is_not():
    head, relation, tail = np.random.default_rng(0).normal(size=(3, 1, 8)).astype(np.float32)
    np.testing.assert_allclose(distmult_score(head, relation, tail), distmult_score(tail, relation, head), rtol=1e-5)
    assert abs(float(transe_score(head, relation, tail)[0] - transe_score(tail, relation, head)[0])) > 0.1


def test_vectors_of_an_input_stand_at_its_ids():
    state = {"triples": CHAINS, "vocabulary": ["", "b3", "lonely", *(f"a{i}" for i in range(4)), "b0", "b1", "b2"]}
    options = {"pretrain": "transe", "dim": 8, "pretrain_epochs": 3}
    spec = Entity(triples=CHAINS, encoder={"kind": "gat", "options": options})
    vectors = pretrain_vectors(spec, state, seed=4)
    rows, entities, relations = numbered(CHAINS)
    expected, _ = train_vectors(rows, len(entities), len(relations), dim=8, epochs=3, seed=4)
    assert (vectors.shape, vectors.dtype) == ((10, 8), np.float32)
    np.testing.assert_array_equal(vectors[1], expected[entities.index("b3")])
    np.testing.assert_array_equal(vectors[3], expected[entities.index("a0")])
    assert not vectors[[0, 2]].any()
    assert pretrain_vectors(Entity(triples=CHAINS), state, seed=4) is None


def test_an_unknown_method_is_named():
    with pytest.raises(DataError, match="Did you mean 'transe'"):
        train_vectors(np.zeros((1, 3)), 1, 1, method="trans")
