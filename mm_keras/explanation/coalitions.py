"""How much each input counts for each of many examples: all of them in one pass over the coalitions of inputs."""

import itertools
from typing import NamedTuple

import numpy as np

from mm_keras.explanation.shapley import coalitions_of, share_out


class Contributions(NamedTuple):
    """What the inputs add to one output of each row.

    Args:
        names: Of the inputs, in the order of the arrays' last axes.
        scores: Float64 `(rows, inputs)`, Shapley values, 0 for a missing input.
        errors: Their standard errors; 0 when exact, up to 8 inputs present.
        interactions: Float64 `(rows, inputs, inputs)`, pairs' interaction indices, symmetric.
        interaction_errors: Their standard errors.
        values: Float64 `(rows,)`, the output with all inputs.
        base_values: The same with none.
    """

    names: tuple
    scores: np.ndarray
    errors: np.ndarray
    interactions: np.ndarray
    interaction_errors: np.ndarray
    values: np.ndarray
    base_values: np.ndarray


def coalition_values(engine, tensors, column):
    """Returns the value of every coalition of inputs: what is not in it is missing.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`, the output looked at.

    Returns:
        Float32 `(rows, coalitions)`, the coalitions `coalitions_of(number of inputs)`: up to 8 inputs all `2 ** inputs`,
        counted in binary, the engine's first input in the highest place.
    """
    scores = engine.coalition_scores(tensors, coalitions_of(len(engine.entries)))
    return np.take_along_axis(scores, np.asarray(column)[:, None, None], axis=2)[..., 0]


def contributions(engine, tensors, value):
    """Shares outputs out among the inputs.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        value: Int32 `(rows,)`, the output looked at of each row; or a function of float32 `(rows, coalitions, columns)`
            and of the rows' numbers, to a value of each coalition, `(rows, coalitions)`.

    Returns:
        `Contributions`.
    """
    names, rows = tuple(engine.entries), len(next(iter(tensors.values())))
    if not callable(value):
        column = np.asarray(value)

        def value(scores, at):
            return np.take_along_axis(scores, column[at, None, None], axis=2)[..., 0]

    present = np.stack([t.reshape(rows, -1).any(axis=1) for t in (np.asarray(tensors[n]) for n in names)], axis=1)
    size = len(names)
    one, two = np.zeros((rows, size)), np.zeros((rows, size, size))
    found = Contributions(names, one, one.copy(), two, two.copy(), np.zeros(rows), np.zeros(rows))
    # A missing input is no player: rows that lack the same ones are a game of fewer.
    for pattern in np.unique(present, axis=0):
        at, players = np.flatnonzero((present == pattern).all(axis=1)), np.flatnonzero(pattern)
        among = coalitions_of(len(players))
        coalitions = np.zeros((len(among), size), bool)
        coalitions[:, players] = among
        values = value(engine.coalition_scores({n: tensors[n][at] for n in names}, coalitions), at)
        shares = share_out(values, len(players))
        found.scores[np.ix_(at, players)], found.errors[np.ix_(at, players)] = shares.shares, shares.errors
        found.interactions[np.ix_(at, players, players)] = shares.interactions
        found.interaction_errors[np.ix_(at, players, players)] = shares.interaction_errors
        found.values[at], found.base_values[at] = shares.full, shares.empty
    return found


def pairs_of(names, matrix):
    """Returns `{(a, b): value}` of a symmetric matrix, each pair once, its names sorted."""
    at = {n: i for i, n in enumerate(names)}
    return {pair: float(matrix[at[pair[0]], at[pair[1]]]) for pair in itertools.combinations(sorted(names), 2)}
