"""Methods that ask the model for its slopes."""

import numpy as np

from mm_keras.explanation.engine import CHUNK_ROWS
from mm_keras.explanation.methods.occlusion import occlude

# Standard deviation of SmoothGrad's noise, over the range of an input's numbers: the paper finds 0.1 to 0.2 best.
NOISE = 0.15


def integrated_gradients(engine, tensors, column, steps):
    """Averages the gradient on the straight way from the blank value to the example, times the distance.

    All inputs move together. The start is zero in every input, the blank value; for a text the zero embedding, to which
    weight decay draws the untrained row of the padding. Along the way presences, masks and token ids are the example's:
    they are steps, whose jump no gradient sees. The start is therefore not the all-blank example of the Shapley values.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`.
        steps: Points on the way, at the middles of equal parts: the midpoint rule has a quarter to a half of the
            trapezoid's error here.

    Returns:
        `(attributions, start)`.
    Reference:
        Sundararajan et al. 2017, arXiv:1703.01365, section 3. Differs: the midpoint rule, and held masks.
    """
    seen = engine.observe(tensors)
    entries, held, blank = seen.entries, seen.held, engine.blank(seen.entries)
    ways = {n: v - blank[n] for n, v in entries.items()}
    totals = {n: np.zeros(v.shape) for n, v in entries.items()}
    start = np.zeros(len(column), np.float32)
    # The start of each row rides along, of no weight: a call of its own costs more than a point.
    shares = np.array([0.0, *((np.arange(steps) + 0.5) / steps)], np.float32)
    for points in _chunks(len(column) * len(shares)):
        rows, at = points // len(shares), points % len(shares)
        moved = {n: blank[n][rows] + ways[n][rows] * _along(shares[at], v) for n, v in entries.items()}
        values, gradients = engine.differentiate(moved, {p: v[rows] for p, v in held.items()}, column[rows])
        start[rows[at == 0]] = values[at == 0]
        _add_up(totals, rows[at > 0], {n: g[at > 0] for n, g in gradients.items()}, steps)
    found = {n: totals[n] * ways[n] for n in entries}
    return found | occlude(engine, tensors, column, engine.closed), start


def gradient(engine, tensors, column, steps):
    """How strongly the output answers to a small change of each number, without its sign.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`.
        steps: Left be.

    Returns:
        `(attributions, None)`.
    Reference:
        Simonyan et al. 2013, arXiv:1312.6034, section 3. Differs: channels are added up, where the paper takes the
        largest, so that vectors of words and pixels are read alike.
    """
    seen = engine.observe(tensors)
    _, gradients = engine.differentiate(seen.entries, seen.held, column)
    found = {n: np.abs(g).astype(np.float64) for n, g in gradients.items()}
    return found | occlude(engine, tensors, column, engine.closed), None


def gradient_x_input(engine, tensors, column, steps):
    """The gradient times the distance from the blank value: integrated gradients of one step, at the example.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`.
        steps: Left be.

    Returns:
        `(attributions, None)`.
    Reference:
        Shrikumar et al. 2016, arXiv:1605.01713, section 3.3.
    """
    seen = engine.observe(tensors)
    blank = engine.blank(seen.entries)
    _, gradients = engine.differentiate(seen.entries, seen.held, column)
    found = {n: g.astype(np.float64) * (seen.entries[n] - blank[n]) for n, g in gradients.items()}
    return found | occlude(engine, tensors, column, engine.closed), None


def smoothgrad(engine, tensors, column, steps, seed=0):
    """The size of the mean gradient over examples with noise: kinks that stand side by side cancel out.

    All inputs get noise together, where they enter; masks, presences and ids stay the example's. An input of equal
    numbers, such as a missing one, gets none.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`.
        steps: How many noisy examples.
        seed: Of the noise; row `i` of any batch gets the same.

    Returns:
        `(attributions, None)`.
    Reference:
        Smilkov et al. 2017, arXiv:1706.03825, section 3.
    """
    seen = engine.observe(tensors)
    rng = np.random.default_rng(seed)
    spreads = {n: NOISE * np.ptp(v.reshape(len(v), -1), axis=1) for n, v in seen.entries.items()}
    noise = {n: rng.standard_normal((steps, *v.shape[1:]), np.float32) for n, v in seen.entries.items()}
    totals = {n: np.zeros(v.shape) for n, v in seen.entries.items()}
    for points in _chunks(len(column) * steps):
        rows, sample = points // steps, points % steps
        noisy = {n: v[rows] + _along(spreads[n][rows], v) * noise[n][sample] for n, v in seen.entries.items()}
        _, gradients = engine.differentiate(noisy, {p: v[rows] for p, v in seen.held.items()}, column[rows])
        _add_up(totals, rows, gradients, steps)
    found = {n: np.abs(t) for n, t in totals.items()}
    return found | occlude(engine, tensors, column, engine.closed), None


def _chunks(count):
    return np.array_split(np.arange(count), -(-count // CHUNK_ROWS))


def _add_up(totals, rows, gradients, steps):
    """Adds to the mean of each row, in place; `rows` are sorted, of which `np.add.at` would know nothing."""
    present, first = np.unique(rows, return_index=True)
    for n, gradient in gradients.items():
        totals[n][present] += np.add.reduceat(gradient, first, axis=0, dtype=np.float64) / steps


def _along(factors, values):
    """Returns factors `(rows,)` in the rank of `values (rows, ...)`."""
    return factors.reshape(-1, *[1] * (values.ndim - 1))
