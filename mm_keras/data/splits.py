"""Which rows train, which choose the best weights, which test."""

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split

from mm_keras.errors import DataError

SPLITS = ("train", "validation", "test")
NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
         "dev": "validation", "test": "test", "testing": "test"}  # fmt: skip


def draw_splits(count, shares, seed, labels=None, groups=None):
    """Draws splits that keep classes in proportion and groups whole.

    Args:
        count: Number of rows.
        shares: Three shares of train, validation and test, summing to 1.
        seed: Of the draw.
        labels: Class of each row, or `None`.
        groups: Group of each row, or `None`; rows of one group share a split.

    Returns:
        String array `(count,)`.

    Raises:
        DataError: When the shares are no shares or there are too few groups.
    """
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or shares[0] == 0:
        raise DataError(f"`split` needs three shares that sum to 1, the first above 0. Received: {shares}")
    splits, rest = np.full(count, "train", dtype=object), np.arange(count)
    left = 1.0
    for name, share in (("test", shares[2]), ("validation", shares[1])):
        if share:
            taken = _take(rest, share / left, seed, labels, groups)
            splits[taken] = name
            rest, left = np.setdiff1d(rest, taken), left - share
    return splits


def _take(rows, share, seed, labels, groups):
    own = None if labels is None else labels[rows]
    if groups is None:
        size = max(round(share * len(rows)), 1)
        if own is not None and (np.unique(own, return_counts=True)[1].min() < 2 or size < len(np.unique(own))):
            own = None  # too few rows of a class to keep it in proportion
        return train_test_split(rows, test_size=size, random_state=seed, stratify=own)[1]
    units = groups[rows]
    if len(np.unique(units)) < 2:
        raise DataError(f"cannot split: all {len(rows)} rows are of one group, {units[0]!r}.")
    folds = min(round(1 / share), len(np.unique(units)))
    if own is not None and folds >= 2:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        try:
            return rows[next(splitter.split(rows, own, units))[1]]
        except ValueError:
            pass  # fewer rows of some class than folds: groups still stay whole
    return rows[next(GroupShuffleSplit(1, test_size=share, random_state=seed).split(rows, groups=units))[1]]
