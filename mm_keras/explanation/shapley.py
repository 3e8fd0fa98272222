"""Shapley values: a fair share of a value among players that can be present or absent."""

import itertools
import math

import numpy as np

# Up to this many players every coalition is evaluated, 2 ** 8 rows; above, random orders of the players are.
MOST_EXACT = 8


def shapley(value, count, orders=64, seed=0):
    """Shares `value(all) - value(none)` out among players.

    Args:
        value: Function of coalitions, bool `(rows, count)`, `True` present, to values `(rows,)`; called once.
        count: Number of players.
        orders: Orders drawn above `MOST_EXACT` players, half of them the reverses of the others, which narrows the
            error; at least 4.
        seed: Of the draws.

    Returns:
        `(shares (count,), standard errors (count,), value of all, value of none)`; the errors are 0 when exact. The
        shares sum to the difference of the last two either way.
    Reference:
        Shapley 1953, A value for n-person games; Castro et al. 2009, doi:10.1016/j.cor.2008.04.004 (random orders).
        Differs: each order comes with its reverse (Mitchell et al. 2022, arXiv:2104.12199, section 4).
    """
    if count <= MOST_EXACT:
        return _exact(value, count)
    return _sampled(value, count, orders // 2, np.random.default_rng(seed))


def _exact(value, count):
    coalitions = np.array(list(itertools.product([False, True], repeat=count)), bool).reshape(2**count, count)
    values = np.asarray(value(coalitions), np.float64)
    sizes = coalitions.sum(axis=1)
    shares = np.zeros(count)
    for i in range(count):
        without = np.flatnonzero(~coalitions[:, i])
        weights = np.array([1 / (count * math.comb(count - 1, s)) for s in sizes[without]])
        # Rows count in binary, the first player in the highest place.
        shares[i] = weights @ (values[without + 2 ** (count - 1 - i)] - values[without])
    return shares, np.zeros(count), values[-1], values[0]


def _sampled(value, count, pairs, rng):
    orders = np.stack([rng.permutation(count) for _ in range(pairs)])
    orders = np.concatenate([orders, orders[:, ::-1]])
    ranks = np.argsort(orders, axis=1)
    coalitions = ranks[:, None, :] < np.arange(count + 1)[:, None]  # (orders, players present, count)
    values = np.asarray(value(coalitions.reshape(-1, count)), np.float64).reshape(-1, count + 1)
    gains = np.take_along_axis(np.diff(values, axis=1), ranks, axis=1)
    gains = (gains[:pairs] + gains[pairs:]) / 2
    return gains.mean(axis=0), gains.std(axis=0, ddof=1) / math.sqrt(pairs), values[0, -1], values[0, 0]
