"""The folds of a comparison: every row is tested once, by a model that did not see it."""

from dataclasses import replace

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

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
    labels = rows.labels[task]
    classes = labels if task in data.classes else None
    groups = None if rows.groups is None else _groups(rows.groups)
    count = len(rows) if groups is None else len(np.unique(groups))
    if not 2 <= folds <= count:
        what = "rows" if groups is None else "groups"
        raise DataError(f"`folds` must be 0 or between 2 and {count}, the number of {what}. Received: {folds}")
    made = []
    for number, (rest, _) in enumerate(_splitter(folds, classes, groups, seed).split(labels, classes, groups)):
        splits = np.full(len(rows), "test", dtype=object)
        own = None if classes is None else classes[rest]
        shares = (1 - VALIDATION, VALIDATION, 0.0)
        splits[rest] = draw_splits(len(rest), shares, seed + number, own, None if groups is None else groups[rest])
        made.append(replace(data, rows=replace(rows, splits=splits)))
    return made


def _groups(groups):
    """Returns the groups, with one of its own for each row that has none."""
    return np.array([g or f"\0{i}" for i, g in enumerate(groups)], dtype=object)


def _splitter(folds, classes, groups, seed):
    rare = classes is not None and np.unique(classes, return_counts=True)[1].max() < folds
    if classes is None or rare:
        return KFold(folds, shuffle=True, random_state=seed) if groups is None else GroupKFold(folds)
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    return kind(folds, shuffle=True, random_state=seed)
