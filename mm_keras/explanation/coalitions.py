"""How much each input counts for each of many examples: all of them in one pass over the coalitions of inputs."""

import itertools
import re
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mm_keras.explanation.engine import CHUNK_ROWS
from mm_keras.explanation.shapley import coalitions_of, share_out
from mm_keras.preprocessing.chain import compiled

# Behind the encoders a row is small: as many coalitions run at once.
COALITION_ROWS = 512


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


def coalition_values(engine, tensors, column, blanks=None):
    """Returns the value of every coalition of inputs: what is not in it is missing.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`, the output looked at.
        blanks: `{input: array (1, ...)}`, what stands for a missing input. Defaults to zeros.

    Returns:
        Float32 `(rows, coalitions)`, the coalitions `coalitions_of(number of inputs)`: up to 8 inputs all
        `2 ** inputs`, counted in binary, the first of `tensors` in the highest place.
    """
    return picked(coalition_scores(engine, tensors, coalitions_of(len(tensors)), blanks), column)


def coalition_scores(engine, tensors, coalitions, blanks=None):
    """Returns the outputs of every task with every coalition of the inputs, the others missing.

    Each row of a model of this house is encoded once, and what follows the encoders runs once for each coalition,
    unless a fusion reaches into the encoders. In memory are some rows at a time, whatever their number and that of the
    coalitions.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        coalitions: Bool `(coalitions, inputs)`, the inputs in the order of `tensors`.
        blanks: As `coalition_values` takes it.

    Returns:
        Float32 `(rows, coalitions, columns)`.
    """
    names, rows = tuple(tensors), len(next(iter(tensors.values())))
    function, at_once = _compiled(engine, tensors, blanks is None)
    step = max(at_once // len(coalitions), 1)
    blanks = {n: np.zeros_like(t[:1]) for n, t in tensors.items()} if blanks is None else {n: blanks[n] for n in names}
    parts = [
        [
            function({n: t[r : r + step] for n, t in tensors.items()}, blanks, coalitions[c : c + at_once])
            for c in range(0, len(coalitions), at_once)
        ]
        for r in range(0, rows, step)
    ]
    return np.concatenate([np.concatenate([np.asarray(p) for p in line], axis=1) for line in parts])


def _compiled(engine, tensors, is_zero):
    """Returns `(function of tensors, blanks and coalitions, coalitions to run at once)`, kept by the engine."""
    key = (tuple(tensors), is_zero)
    if key not in engine.coalition_functions:
        cut = is_zero and _is_cut(engine, tensors)
        specs = {n: tf.TensorSpec([None, *np.shape(t)[1:]], np.asarray(t).dtype) for n, t in tensors.items()}
        function = partial(_scored, engine, cut, tuple(tensors))
        signature = [specs, specs, tf.TensorSpec([None, len(tensors)], tf.bool)]
        engine.coalition_functions[key] = compiled(function, *signature), COALITION_ROWS if cut else CHUNK_ROWS
    return engine.coalition_functions[key]


def _is_cut(engine, names):
    """Whether all that an input tells the rest of the model is what its encoder gives, and whether it is there."""
    layers = {path for path in engine.paths if "/" not in path}
    if any(re.search(r"_encoder_\d+$", path) for path in layers):  # a fusion reads between the parts of an encoder
        return False
    return all({f"{n}_encoder", f"{n}_present"} <= layers for n in names)


def _scored(engine, cut, names, tensors, blanks, coalitions):
    count, rows = tf.shape(coalitions)[0], tf.shape(tensors[names[0]])[0]
    kept = {n: tf.tile(coalitions[:, i], [rows]) for i, n in enumerate(names)}

    def repeated(tensor, keep=None, blank=0):
        tensor = tf.repeat(tensor, count, axis=0)
        if keep is None:
            return tensor
        return tf.where(tf.reshape(keep, [-1] + [1] * (len(tensor.shape) - 1)), tensor, tf.cast(blank, tensor.dtype))

    if cut:
        # What an absent input's encoder gives is not looked at: presence alone decides.
        _, _, taps = engine.run(tensors, {})
        replace = {f"{n}_encoder": tf.nest.map_structure(repeated, taps[f"{n}_encoder"]) for n in kept}
        replace |= {f"{n}_present": repeated(taps[f"{n}_present"], keep) for n, keep in kept.items()}
        scores = engine.run(tensors, replace)[0]
    else:
        scores = engine.run({n: repeated(tensors[n], keep, blanks[n]) for n, keep in kept.items()}, {})[0]
    return tf.reshape(scores, [rows, count, -1])


def contributions(engine, tensors, column, blanks=None):
    """Shares one output of each row out among the inputs.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`, the output looked at.
        blanks: As `coalition_values` takes it.

    Returns:
        `Contributions`.
    """
    column = np.asarray(column)
    return share_values(engine, tensors, [lambda scores, at: picked(scores, column[at])], blanks)[0]


def share_values(engine, tensors, functions, blanks=None):
    """Shares several values out, of one pass over the coalitions.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        functions: Each takes the outputs, float32 `(some rows, coalitions, columns)`, and the numbers of those rows,
            and gives a value of each coalition, `(some rows, coalitions)`.
        blanks: As `coalition_values` takes it.

    Returns:
        A list of `Contributions`, one for each function.
    """
    names, tensors = tuple(tensors), {n: np.asarray(t) for n, t in tensors.items()}
    rows = len(tensors[names[0]])
    blank = {n: 0 if blanks is None else blanks[n] for n in names}
    present = np.stack([(t != blank[n]).reshape(rows, -1).any(axis=1) for n, t in tensors.items()], axis=1)
    found = [_nothing(names, rows) for _ in functions]
    # A missing input is no player: rows that lack the same ones are a game of fewer.
    for pattern in np.unique(present, axis=0):
        at, players = np.flatnonzero((present == pattern).all(axis=1)), np.flatnonzero(pattern)
        among = coalitions_of(len(players))
        coalitions = np.zeros((len(among), len(names)), bool)
        coalitions[:, players] = among
        scores = coalition_scores(engine, {n: t[at] for n, t in tensors.items()}, coalitions, blanks)
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
