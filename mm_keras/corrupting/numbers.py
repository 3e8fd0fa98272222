"""Numbers and cells that get worse: noise in the unit of the training rows' deviation, and values gone missing."""

import numpy as np


def cell_noise(preprocessor, cells, size, rng):
    """Adds normal noise to the numbers of a table's row, `size` deviations of their column in the training rows."""
    found, deviations = dict(cells), preprocessor.state["deviation"]
    for field, draw in zip(preprocessor.numeric, rng.standard_normal(len(preprocessor.numeric)), strict=True):
        found[field] = np.float32(cells[field] + size * deviations[field] * draw)
    return found


def cell_drop(preprocessor, cells, share, rng):
    """Empties each cell of a table's row by chance `share`; a row without any left is missing."""
    draws = dict(zip(cells, rng.random(len(cells)), strict=True))
    return {f: preprocessor.blank[f] if draws[f] < share else v for f, v in cells.items()}


def vector_noise(preprocessor, values, size, rng):
    """Adds normal noise to each feature, `size` of its deviations in the training rows; NaN stays."""
    draws = rng.standard_normal(values.shape) * np.asarray(preprocessor.state["deviation"])
    return {preprocessor.name: (values + size * draws).astype(np.float32)}


def step_drop(preprocessor, values, share, rng):
    """Empties each step of a sequence by chance `share`; one without any left is missing."""
    gone = rng.random(len(values)) < share
    return {preprocessor.name: np.where(gone[:, None], np.float32("nan"), values)}
