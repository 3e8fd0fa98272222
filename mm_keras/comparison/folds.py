"""The folds of a comparison: every row is tested once, by a model that did not see it."""

from dataclasses import replace

import numpy as np

from mm_keras.data.folds import cut_folds
from mm_keras.data.splits import draw_splits
from mm_keras.errors import DataError

VALIDATION = 0.1


def fold_data(data, folds, task, seed):
    """Returns the data of each fold, a list of `Data`.

    Each fold in turn is the test rows, a tenth of the others validates, and the rest trains. Classes stay in proportion
    and groups whole, as far as there are rows enough.

    Args:
        data: A `Data`.
        folds: How many; 0 keeps the splits that the data have.
        task: Name of the task whose classes stay in proportion; numbers do not.
        seed: Of the folds and of the validation rows.

    Raises:
        DataError: When there are fewer rows or groups than folds, or no test rows to keep.
    """
    if not folds:
        if not len(data.test):
            raise DataError(f"{data.name}: no test rows; give a number of folds.")
        return [data]
    rows = data.rows
    classes = rows.targets(task) if task in data.classes else None
    groups = rows.groups
    parted = cut_folds(folds, len(rows), classes, groups, seed, wanted="`folds` must be 0 or")
    made = []
    for number, (rest, _) in enumerate(parted):
        splits = np.full(len(rows), "test", dtype=object)
        own = None if classes is None else classes[rest]
        shares = (1 - VALIDATION, VALIDATION, 0.0)
        splits[rest] = draw_splits(len(rest), shares, seed + number, own, None if groups is None else groups[rest])
        made.append(replace(data, rows=rows.resplit(splits)))
    return made
