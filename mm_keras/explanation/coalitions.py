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
        Float32 `(rows, coalitions)`, the coalitions `coalitions_of(number of inputs)`: up to 8 inputs all
        `2 ** inputs`, counted in binary, the engine's first input in the highest place.
    """
    return picked(engine.coalition_scores(tensors, coalitions_of(len(engine.entries))), column)


def contributions(engine, tensors, column):
    """Shares one output of each row out among the inputs.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`, the output looked at.

    Returns:
        `Contributions`.
    """
    column = np.asarray(column)
    return share_values(engine, tensors, [lambda scores, at: picked(scores, column[at])])[0]


def share_values(engine, tensors, functions):
    """Shares several values out, of one pass over the coalitions.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        functions: Each takes the outputs, float32 `(some rows, coalitions, columns)`, and the numbers of those rows,
            and gives a value of each coalition, `(some rows, coalitions)`.

    Returns:
        A list of `Contributions`, one for each function.
    """
    names, rows = tuple(engine.entries), len(next(iter(tensors.values())))
    tensors = {n: np.asarray(tensors[n]) for n in names}
    present = np.stack([t.reshape(rows, -1).any(axis=1) for t in tensors.values()], axis=1)
    found = [_nothing(names, rows) for _ in functions]
    # A missing input is no player: rows that lack the same ones are a game of fewer.
    for pattern in np.unique(present, axis=0):
        at, players = np.flatnonzero((present == pattern).all(axis=1)), np.flatnonzero(pattern)
        among = coalitions_of(len(players))
        coalitions = np.zeros((len(among), len(names)), bool)
        coalitions[:, players] = among
        scores = engine.coalition_scores({n: t[at] for n, t in tensors.items()}, coalitions)
        one, two = np.ix_(at, players), np.ix_(at, players, players)
        for into, function in zip(found, functions, strict=True):
            shared = share_out(function(scores, at), len(players))
            into.scores[one], into.errors[one] = shared.shares, shared.errors
            into.interactions[two], into.interaction_errors[two] = shared.interactions, shared.interaction_errors
            into.values[at], into.base_values[at] = shared.full, shared.empty
    return found


def picked(scores, column):
    """Returns one column of `(rows, coalitions, columns)` for each row: `(rows, coalitions)`."""
    return np.take_along_axis(scores, np.asarray(column)[:, None, None], axis=2)[..., 0]


def _nothing(names, rows):
    one, two = ((rows, *[len(names)] * axes) for axes in (1, 2))
    return Contributions(names, *map(np.zeros, (one, one, two, two, rows, rows)))


def pairs_of(names, matrix):
    """Returns `{(a, b): value}` of a symmetric matrix, each pair once, its names sorted."""
    at = {n: i for i, n in enumerate(names)}
    return {pair: float(matrix[at[pair[0]], at[pair[1]]]) for pair in itertools.combinations(sorted(names), 2)}
