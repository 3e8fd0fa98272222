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
