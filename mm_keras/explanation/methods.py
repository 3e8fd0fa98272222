"""How a prediction is shared out among the numbers that went in. One function a method, all with one face.

`method(engine, tensors, column, steps) -> (attributions, start)`: `tensors` is a batch `{input: array (rows, ...)}`,
`column` int32 `(rows,)` the outputs explained. `attributions` is `{input: signed float64 array}`, shaped as the input
where it enters (`Engine.entries`), zero where the input is missing; `start` `(rows,)` is the output that they are
measured from, so that they sum to the output less `start`, or `None` for a method that keeps no such sum.
"""

import numpy as np

from mm_keras.explanation.engine import CHUNK_ROWS


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
    entries, held = seen.entries, seen.held
    totals = {n: np.zeros(v.shape) for n, v in entries.items()}
    for points in np.array_split(np.arange(len(column) * steps), -(-len(column) * steps // CHUNK_ROWS)):
        rows, share = points // steps, ((points % steps + 0.5) / steps).astype(np.float32)
        moved = {n: v[rows] * share.reshape(-1, *[1] * (v.ndim - 1)) for n, v in entries.items()}
        _, gradients = engine.differentiate(moved, {p: v[rows] for p, v in held.items()}, column[rows])
        for n, gradient in gradients.items():
            np.add.at(totals[n], rows, gradient / steps)
    blank = {n: np.zeros_like(v) for n, v in entries.items()}
    start, _ = engine.differentiate(blank, held, column)
    return {n: totals[n] * v for n, v in entries.items()}, start


METHODS = {"integrated_gradients": integrated_gradients}
