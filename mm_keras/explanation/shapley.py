"""Shapley values: a fair share of a value among players that can be present or absent, and what pairs add."""

import itertools
import math
from typing import NamedTuple

import numpy as np

# Up to this many players every coalition is evaluated, 2 ** 8 rows; above, random orders of the players are.
MOST_EXACT = 8


class Shares(NamedTuple):
    """What `share_out` finds. A table of values with leading axes gives all but the errors' meaning the same axes.

    Args:
        shares: Float64 `(..., count)`; they sum to `full - empty`.
        errors: Standard errors of the shares, 0 when exact.
        interactions: Float64 `(..., count, count)`, symmetric, zeros on the diagonal: what two players are worth
            together beyond what each adds alone, averaged over who else is present. Positive: each makes the other
            worth more; negative: they say the same.
        interaction_errors: Standard errors of the interactions, 0 when exact.
        full: Value of all, `(...)`.
        empty: Value of none.
    """

    shares: np.ndarray
    errors: np.ndarray
    interactions: np.ndarray
    interaction_errors: np.ndarray
    full: np.ndarray
    empty: np.ndarray


def shapley(value, count, orders=64, seed=0):
    """Shares `value(all) - value(none)` out among players.

    Args:
        value: Function of coalitions, bool `(rows, count)`, `True` present, to values `(..., rows)`; called once.
        count: Number of players.
        orders: As `coalitions_of` takes it.
        seed: Of the draws.

    Returns:
        `Shares`.
    """
    return share_out(value(coalitions_of(count, orders, seed)), count, orders, seed)


def coalitions_of(count, orders=64, seed=0):
    """Returns bool `(rows, count)`: the coalitions whose values `share_out` needs.

    Args:
        count: Number of players.
        orders: About how many orders are drawn above `MOST_EXACT` players. They come in blocks of as many orders as
            players, each player next to each other one once, and each order with its reverse; four blocks at least.
        seed: Of the draws.
    """
    if count <= MOST_EXACT:
        return every_coalition(count)
    _, ranks, *_ = _orders(count, orders, seed)
    prefixes = ranks[..., None, :] < np.arange(count + 1)[:, None]  # (blocks, orders, players present, count)
    # Without the last but one of the first 2, 3 .. players: what the last is worth where that one is absent.
    skips = prefixes[..., 2:, :] & (ranks[..., None, :] != np.arange(count - 1)[:, None])
    return np.concatenate([prefixes, skips], axis=-2).reshape(-1, count)


def every_coalition(count):
    """Returns bool `(2 ** count, count)`, counted in binary, the first player in the highest place."""
    return np.array(list(itertools.product([False, True], repeat=count)), bool).reshape(2**count, count)


def share_out(values, count, orders=64, seed=0):
    """Returns the `Shares` of values `(..., rows)`, one for each of `coalitions_of(count, orders, seed)`.

    Reference:
        Shapley 1953, A value for n-person games; Grabisch and Roubens 1999, doi:10.1007/s001820050125 (the interaction
        index, definition 3); Castro et al. 2009, doi:10.1016/j.cor.2008.04.004 (random orders).
        Differs: each order comes with its reverse (Mitchell et al. 2022, arXiv:2104.12199, section 4), and the orders
        of a block are the paths in which each pair of players is neighbours once (Lucas, Recreations mathematiques
        2, 1883, the round dance), so that no pair is left without a sample.
    """
    values = np.asarray(values, np.float64)
    if count <= MOST_EXACT:
        return _exact(values, count)
    return _sampled(values, count, orders, seed)


def _exact(values, count):
    numbers = np.arange(2**count)
    places = 1 << np.arange(count)[::-1]  # rows count in binary, the first player in the highest place
    sizes = (numbers[:, None] & places > 0).sum(axis=1)
    shares, pairs = np.zeros((*values.shape[:-1], count)), np.zeros((*values.shape[:-1], count, count))
    for i, bit in enumerate(places):
        without = numbers[numbers & bit == 0]
        weights = np.array([1 / (count * math.comb(count - 1, s)) for s in sizes[without]])
        shares[..., i] = (values[..., without + bit] - values[..., without]) @ weights
        for j, other in enumerate(places[:i]):
            neither = without[without & other == 0]
            weights = np.array([1 / ((count - 1) * math.comb(count - 2, s)) for s in sizes[neither]])
            gain = values[..., neither + bit + other] - values[..., neither + other]
            pairs[..., i, j] = pairs[..., j, i] = (gain - values[..., neither + bit] + values[..., neither]) @ weights
    return Shares(shares, np.zeros_like(shares), pairs, np.zeros_like(pairs), values[..., -1], values[..., 0])


def _orders(count, orders, seed):
    """Returns `(orders, ranks)`, int `(blocks, orders, count)`, and which neighbours in them count as pairs."""
    rng, even = np.random.default_rng(seed), count + count % 2
    # Zigzags around a circle: 0, 1, -1, 2, -2 .., and turned by 1, 2 ..: all pairs are neighbours once.
    zigzag = np.array([(k + 1) // 2 * (1 if k % 2 else -1) for k in range(even)])
    paths = (zigzag + np.arange(even // 2)[:, None]) % even
    paths = np.concatenate([paths, paths[:, ::-1]])
    names = np.stack([rng.permutation(even) for _ in range(max(4, round(orders / even)))])
    drawn = names[:, paths]  # (blocks, orders, even)
    if even > count:
        # One player too many, who is taken out: those beside him are not a pair.
        kept = drawn < count
        at = np.argsort(~kept, axis=-1, kind="stable")[..., :count]
        drawn, is_pair = np.take_along_axis(drawn, at, axis=-1), np.diff(at, axis=-1) == 1
    else:
        is_pair = np.ones((*drawn.shape[:-1], count - 1), bool)
    return drawn, np.argsort(drawn, axis=-1), is_pair


def _sampled(values, count, orders, seed):
    drawn, ranks, is_pair = _orders(count, orders, seed)
    blocks, size, _ = drawn.shape
    values = values.reshape(*values.shape[:-1], blocks, size, 2 * count)
    prefixes, skips = values[..., : count + 1], values[..., count + 1 :]
    gains = np.diff(prefixes, axis=-1)
    shares = np.take_along_axis(gains, np.broadcast_to(ranks, gains.shape), axis=-1).mean(axis=-2)
    # The last player's worth with the one before him, less that without: of neighbours k and k + 1 of an order.
    extra = (gains[..., 1:] - (skips - prefixes[..., :-2])) * is_pair
    pairs = np.zeros((*values.shape[:-2], count, count))  # (..., blocks, count, count)
    for block, order, k in zip(*np.nonzero(is_pair), strict=True):
        i, j = drawn[block, order, k : k + 2]
        pairs[..., block, i, j] += extra[..., block, order, k] / 2  # an order and its reverse
        pairs[..., block, j, i] += extra[..., block, order, k] / 2

    def mean_and_error(found, axis):
        return found.mean(axis=axis), found.std(axis=axis, ddof=1) / math.sqrt(blocks)

    (shares, errors), (pairs, pair_errors) = mean_and_error(shares, -2), mean_and_error(pairs, -3)
    return Shares(shares, errors, pairs, pair_errors, prefixes[..., 0, 0, -1], prefixes[..., 0, 0, 0])
