"""Rows cut into folds: each is held out once, classes in proportion and groups whole."""

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from mm_keras.errors import DataError


def cut_folds(folds, count, classes, groups, seed, wanted="`folds` must be"):
    """Cuts rows into folds.

    Classes stay in proportion as far as there are rows enough.

    Args:
        folds: How many.
        count: Number of rows.
        classes: Class of each row, or `None`.
        groups: Group of each row, or `None`; rows of one group share a fold. An empty one is a group of its own.
        seed: Of the draw.
        wanted: How the error begins that tells how many there may be.

    Returns:
        `[(numbers of the other rows, numbers of the fold's rows)]`, int arrays.

    Raises:
        DataError: When there are fewer rows or groups than folds.
    """
    groups = None if groups is None else whole_groups(groups)
    most = count if groups is None else len(np.unique(groups))
    if not 2 <= folds <= most:
        what = "rows" if groups is None else "groups"
        raise DataError(f"{wanted} between 2 and {most}, the number of {what}. Received: {folds}")
    return list(_splitter(folds, classes, groups, seed).split(np.zeros(count), classes, groups))


def whole_groups(groups):
    """Returns the groups, with one of its own for each row that has none."""
    return np.array([g or f"\0{i}" for i, g in enumerate(groups)], dtype=object)


def _splitter(folds, classes, groups, seed):
    rare = classes is not None and np.unique(classes, return_counts=True)[1].max() < folds
    if classes is None or rare:
        return KFold(folds, shuffle=True, random_state=seed) if groups is None else GroupKFold(folds)
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    return kind(folds, shuffle=True, random_state=seed)
