"""Which rows train, which choose the best weights, which test."""

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from mm_keras.data.folds import whole_groups
from mm_keras.data.tables import as_text
from mm_keras.errors import DataError

WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
NAMES = {word: split for split, words in WORDS.items() for word in words}


def read_splits(manifest, tasks, labels, shares, seed):
    """Returns string array `(rows,)`: the column `split`, or a draw in its place; empty of bad rows.

    Args:
        manifest: A `Manifest`.
        tasks: `{name: task}` of a recipe; the classes of the first classification stay in proportion.
        labels: As `read_labels` returns them. Without any, all rows are test rows.
        shares: As `draw_splits` takes them; `None` makes all of them test rows when there is no column.
        seed: Of the draw.
    """
    table, bad = manifest.table, manifest.quarantine.bad
    if not labels or (shares is None and "split" not in table):
        return np.full(len(table), "test", dtype=object)
    if "split" in table:
        given = as_text(table["split"])
        unknown = np.flatnonzero([s.lower() not in NAMES for s in given] & ((given != "") | ~bad))
        manifest.quarantine.add(unknown, "split", given[unknown], f"split must be one of {sorted(NAMES)}")
        return np.array([NAMES.get(s.lower(), "") for s in given], dtype=object)
    good = ~bad
    splits = np.full(len(table), "", dtype=object)
    classes = next((labels[t][good] for t, s in tasks.items() if s.kind == "classification"), None)
    groups = as_text(table["group"])[good] if "group" in table else None
    if good.any():
        splits[good] = draw_splits(int(good.sum()), shares, seed, classes, groups)
    return splits


def draw_splits(count, shares, seed, labels=None, groups=None):
    """Draws splits that keep classes in proportion and groups whole.

    Args:
        count: Number of rows.
        shares: Three shares of train, validation and test, summing to 1.
        seed: Of the draw.
        labels: Class of each row, or `None`.
        groups: Group of each row, or `None`; rows of one group share a split. An empty one is a group of its own.

    Returns:
        String array `(count,)`.

    Raises:
        DataError: When the shares are no shares, or there are too few rows or groups.
    """
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or shares[0] == 0:
        raise DataError(f"`split` needs three shares that sum to 1, the first above 0. Received: {shares}")
    # In small numbers: of a million rows, texts and whole integers would take a hundred megabytes.
    names, splits = np.array(["train", "validation", "test"], dtype=object), np.zeros(count, np.int8)
    classes = np.zeros(count, np.int8) if labels is None else _codes(labels)
    if groups is not None:
        groups = whole_groups(groups)
    left = 1.0
    for number, share in ((2, shares[2]), (1, shares[1])):
        if share:
            rest = np.flatnonzero(splits == 0)
            splits[_take(rest, share / left, seed, _codes(classes[rest]), groups)] = number
            left -= share
    return names[splits]


def _codes(labels):
    """Returns the classes as numbers from 0 up, in their order and of the smallest type."""
    codes, classes = pd.factorize(labels, sort=True)
    return codes.astype(np.min_scalar_type(len(classes)))


def _take(rows, share, seed, own, groups):
    if groups is not None:
        return rows[_whole_groups(groups[rows], own, share, seed)]
    size = max(round(share * len(rows)), 1)
    if size >= len(rows):
        raise DataError(f"cannot split: {len(rows)} rows are too few for a share of {share:.3g}.")
    counts = np.bincount(own)
    own[(counts < 2)[own]] = counts.argmax()  # a single row cannot be divided
    if len(pd.unique(own)) > min(size, len(rows) - size):
        own = None  # too few rows for one of each class
    return train_test_split(rows, test_size=size, random_state=seed, stratify=own)[1]


def _whole_groups(groups, classes, share, seed):
    """Returns a bool mask of groups whose classes together come close to the share of each class.

    The groups are tried in random order, the largest first, and one is taken where it brings the counts closer.
    """
    names, number = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise DataError(f"cannot split: all {len(groups)} rows are of one group, {names[0]!r}.")
    counts = np.zeros((len(names), classes.max() + 1), np.float32)
    np.add.at(counts, (number, classes), 1)
    wanted, held, taken = share * counts.sum(axis=0), 0.0, np.zeros(len(names), bool)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    for group in order[: len(names) - 1]:
        if _distance(held + counts[group], wanted) < _distance(held, wanted):
            held, taken[group] = held + counts[group], True
    if not taken.any():
        taken[order[-1]] = True
    return taken[number]


def _distance(counts, wanted):
    """Chi-squared; every class has a row, so none is divided by zero."""
    return ((counts - wanted) ** 2 / wanted).sum()
