"""Shapley values against games whose answer is known, and the axioms."""

import numpy as np
import pytest

from mm_keras.explanation.shapley import shapley


def glove_game(coalitions):
    """The first holds a left glove, the others a right one; a pair is worth 1."""
    return (coalitions[:, 0] & coalitions[:, 1:].any(axis=1)).astype(float)


def test_glove_game_by_hand():
    shares, errors, _, _, full, empty = shapley(glove_game, 3)
    # Of the six orders the first player completes a pair in four, each other in one.
    np.testing.assert_allclose(shares, [4 / 6, 1 / 6, 1 / 6], atol=1e-12)
    assert errors.tolist() == [0, 0, 0]
    assert (full, empty) == (1, 0)


def random_game(count, seed=0):
    table = np.random.default_rng(seed).normal(size=2**count)
    return lambda coalitions: table[coalitions @ (1 << np.arange(count))]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 8])
def test_efficiency(count):
    shares, _, _, _, full, empty = shapley(random_game(count), count)
    assert shares.sum() == pytest.approx(full - empty, abs=1e-12)


def test_symmetric_players_get_the_same_and_a_null_player_nothing():
    def game(coalitions):
        pair = coalitions[:, 0].astype(float) + coalitions[:, 1]
        return pair**2 * (1 + coalitions[:, 3])

    shares, *_ = shapley(game, 4)
    assert shares[0] == pytest.approx(shares[1])
    assert shares[2] == pytest.approx(0, abs=1e-12)


def test_additive_game_gives_each_its_worth():
    worth = np.array([3.0, -1.0, 0.5, 2.0])
    shares, _, _, _, full, empty = shapley(lambda c: 7 + c @ worth, 4)
    np.testing.assert_allclose(shares, worth, atol=1e-12)
    assert (full, empty) == (pytest.approx(11.5), 7)


def test_the_value_is_asked_once():
    asked = []
    shapley(lambda c: asked.append(c) or np.zeros(len(c)), 5)
    assert [a.shape for a in asked] == [(32, 5)]


def test_many_players_are_sampled():
    count = 10
    rng = np.random.default_rng(1)
    worth, bonus = rng.normal(size=count), rng.normal(size=(count, count)) / 4
    bonus = np.triu(bonus, 1)

    def game(coalitions):
        present = coalitions.astype(float)
        return present @ worth + np.einsum("ri,ij,rj->r", present, bonus, present)

    shares, errors, _, _, full, empty = shapley(game, count, orders=200)
    exact = worth + (bonus + bonus.T).sum(axis=1) / 2
    assert shares.sum() == pytest.approx(full - empty)
    # An order and its reverse meet each pair once each way round, so that pairwise games come out exact.
    np.testing.assert_allclose(shares, exact, atol=1e-9)
    assert errors.max() < 1e-9


def test_standard_error_covers_the_truth():
    count, game = 9, random_game(9, seed=2)
    import mm_keras.explanation.shapley as room

    exact, *_ = room._exact(game(room.every_coalition(count)), count)
    shares, errors, _, _, full, empty = shapley(game, count, orders=400)
    assert shares.sum() == pytest.approx(full - empty)
    assert (errors > 0).all()
    assert (np.abs(shares - exact) < 4 * errors).all()


def test_interaction_by_hand():
    found = shapley(glove_game, 3)
    # Alone together the left and a right glove add 1 beside nobody, and nothing beside the other right one: 1/2 each.
    np.testing.assert_allclose(found.interactions, [[0, 0.5, 0.5], [0.5, 0, -0.5], [0.5, -0.5, 0]], atol=1e-12)


@pytest.mark.parametrize("count", [3, 9, 10])
def test_interactions_of_a_pairwise_game_are_its_terms(count):
    rng = np.random.default_rng(count)
    worth, bonus = rng.normal(size=count), np.triu(rng.normal(size=(count, count)), 1)

    def game(coalitions):
        present = coalitions.astype(float)
        return present @ worth + np.einsum("ri,ij,rj->r", present, bonus, present)

    found = shapley(game, count)
    np.testing.assert_allclose(found.interactions, bonus + bonus.T, atol=1e-9)
    assert found.interaction_errors.max() < 1e-9


def test_sampled_interactions_cover_the_truth():
    import mm_keras.explanation.shapley as room

    count, game = 9, random_game(9, seed=3)
    exact = room._exact(game(room.every_coalition(count)), count).interactions
    found = shapley(game, count, orders=800)
    upper = np.triu_indices(count, 1)
    assert (found.interaction_errors[upper] > 0).all()
    assert (np.abs(found.interactions - exact)[upper] < 4.5 * found.interaction_errors[upper]).all()


@pytest.mark.parametrize("count", [9, 12])
def test_no_pair_is_left_without_a_sample(count):
    import mm_keras.explanation.shapley as room

    drawn, _, is_pair = room._orders(count, 64, 0)
    for block, kept in zip(drawn, is_pair, strict=True):
        together = np.zeros((count, count), int)
        for order, pairs in zip(block, kept, strict=True):
            assert sorted(order) == list(range(count))
            np.add.at(together, (order[:-1][pairs], order[1:][pairs]), 1)
        assert (together == 1 - np.eye(count, dtype=int)).all()


def test_tables_of_several_rows_are_shared_out_at_once():
    import mm_keras.explanation.shapley as room

    for count in (4, 9):
        coalitions = room.coalitions_of(count)
        tables = np.random.default_rng(0).normal(size=(3, len(coalitions)))
        tables = tables[:, np.unique(coalitions, axis=0, return_inverse=True)[1].ravel()]
        together = room.share_out(tables, count)
        for row in range(3):
            alone = room.share_out(tables[row], count)
            for one, other in zip(alone, together, strict=True):
                np.testing.assert_allclose(other[row], one, atol=1e-12)
