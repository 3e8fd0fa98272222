"""The parts of an input that can be taken away one by one, and the model's outputs without some of them.

Taking a part away sets its numbers to zero where the input enters the model, the blank value from which integrated
gradients start (or to the baseline, when one is given), while presences, masks and token ids stay those of the example:

- picture, views, video: a pixel becomes black;
- text: the embedding of a WordPiece or byte becomes zero; its place stays;
- sound: a band of one frame becomes the band's mean over the training clips;
- table: a cell becomes missing; vector: a feature becomes its mean; sequence: so does a feature of one step;
- entity: the vectors of a node, itself or a neighbour, become zero.
"""

import numpy as np

from mm_keras.explanation.engine import CHUNK_ROWS


def _whole(preprocessor, shape):
    return np.arange(np.prod(shape)).reshape(shape)


def _without_channels(preprocessor, shape):
    return np.broadcast_to(np.arange(np.prod(shape[:-1])).reshape(*shape[:-1], 1), shape)


def _places(preprocessor, shape):
    return np.broadcast_to(np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1)), shape)


def _columns(preprocessor, shape):
    groups = preprocessor.tensor.groups
    return np.repeat(np.arange(len(groups)), groups)


# {layout: function(preprocessor, shape of the entry) -> int array of that shape, the number of the unit}
UNITS = {
    "image": _without_channels,
    "views": _without_channels,
    "video": _without_channels,
    "text": _places,
    "audio": _whole,
    "tabular": _columns,
    "vector": _whole,
    "series": _whole,
    "entity": _places,
}


class Units:
    """The units of one input.

    Args:
        preprocessor: The input's.
        shape: Of its entry, without the batch axis.
    """

    def __init__(self, preprocessor, shape):
        self.numbers = UNITS[preprocessor.spec.layout](preprocessor, tuple(shape))
        self.count = int(self.numbers.max()) + 1

    def sums(self, values):
        """Returns float64 `(rows, units)`: what `(rows, *shape)` adds up to in each unit."""
        flat = self.numbers.ravel()
        return np.stack([np.bincount(flat, weights=row.ravel(), minlength=self.count) for row in values])

    def filled(self, entry, ids=None):
        """Returns bool `(rows, units)`: which units hold anything, so that taking them away can matter.

        Args:
            entry: `(rows, *shape)`, less what stands for nothing.
            ids: `(rows, places)` where the units are places of ids; 0 is padding.
        """
        there = self.sums(np.asarray(entry) != 0) > 0
        return there if ids is None or ids.shape != there.shape else there & (ids != 0)


def values_without(engine, seen, column, name, units, gone):
    """Returns the outputs of rows without some units of one input, the other inputs as they are.

    Args:
        engine: An `Engine`.
        seen: `Observation` of the rows.
        column: Int32 `(rows,)`, the output looked at.
        name: The input.
        units: Its `Units`.
        gone: Bool `(rows, variants, units)`, what is taken away.

    Returns:
        Float64 `(rows, variants)`.
    """
    rows, variants, _ = gone.shape
    found, blank = np.zeros(rows * variants), engine.blank(seen.entries)[name]
    for start in range(0, len(found), CHUNK_ROWS):
        at = np.arange(start, min(start + CHUNK_ROWS, len(found)))
        row, variant = at // variants, at % variants
        entries = {n: v[row] for n, v in seen.entries.items()}
        entries[name] = np.where(gone[row, variant][:, units.numbers], blank[row], entries[name])
        found[at] = engine.evaluate(entries, {p: v[row] for p, v in seen.held.items()}, column[row])
    return found.reshape(rows, variants)
