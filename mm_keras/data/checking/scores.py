"""How well one column alone tells a label, in cross-validation."""

import numpy as np
import pandas as pd

FOLDS = 5
# Below this in the first fold, a column is no leak, and the other folds are not looked at.
HOPELESS = 0.8


class Answers:
    """The labels of one task in folds, against which columns are scored.

    Args:
        labels: `(rows,)`: class names, empty where unlabelled, or float64, NaN where unlabelled.
        groups: Int array `(rows,)`: rows of one group share a fold, so that copies do not answer each other.
        most: Most rows, drawn at random.
        seed: Of folds and draw.

    Attributes:
        rows: Int array: the positions of the rows that count: those with a label, of a class with at least two rows.
        targets: Class numbers or numbers, of these rows.
        classes: The class names; empty for numbers.
    """

    def __init__(self, labels, groups, most=10_000, seed=0):
        self.is_number = labels.dtype != object
        rng = np.random.default_rng(seed)
        if self.is_number:
            rows, self.classes = np.flatnonzero(np.isfinite(labels)), []
        else:
            counts = pd.Series(labels).map(pd.Series(labels).value_counts()).to_numpy()
            rows = np.flatnonzero((labels != "") & (counts > 1))
        self.rows = np.sort(rng.permutation(rows)[:most])
        if self.is_number:
            self.targets = labels[self.rows].astype(float)
        else:
            self.targets, self.classes = pd.factorize(labels[self.rows], sort=True)
        own = np.unique(groups[self.rows], return_inverse=True)[1]
        self.folds = rng.permutation(own.max(initial=0) + 1)[own] % FOLDS

    @property
    def measure(self):
        """What the score is called."""
        return "R2" if self.is_number else "balanced accuracy"

    @property
    def can_be_scored(self):
        """Whether there are labels to tell apart, in every fold."""
        varied = len(self.targets) > 1 and np.ptp(self.targets) > 0
        return varied and len(np.unique(self.folds)) == FOLDS and len(self.targets) >= 4 * FOLDS

    def score(self, values):
        """Returns the score of one column `(rows,)`: 1 tells all, 0 or the inverse of the classes' number nothing."""
        values = values[self.rows]
        if values.dtype == object:
            values = pd.factorize(values)[0].astype(float)
            nearest = False
        else:
            nearest = True
        found = np.full(len(values), np.nan)
        for fold in range(FOLDS):
            held = self.folds == fold
            found[held] = self._answer(values[~held], self.targets[~held], values[held], nearest)
            if not fold and (score := self._measure(found[held], self.targets[held])) < HOPELESS:
                return score
        return self._measure(found, self.targets)

    def _answer(self, values, targets, asked, nearest):
        """Predicts from the value that is the nearest, or the same; else the most frequent class, or the mean.

        Being missing is a value too.
        """
        known = np.isfinite(values)
        none = targets if known.all() else targets[~known]
        answers = np.full(len(asked), self._told(np.zeros(len(none), int), none, 1)[0])
        if not known.any():
            return answers
        kinds, place = np.unique(values[known], return_inverse=True)
        told = self._told(place, targets[known], len(kinds))
        at = np.clip(np.searchsorted(kinds, asked), 0, len(kinds) - 1)
        if nearest:
            before = np.maximum(at - 1, 0)
            at = np.where(np.abs(asked - kinds[before]) < np.abs(asked - kinds[at]), before, at)
            fine = np.isfinite(asked)
        else:
            fine = kinds[at] == asked  # an unknown one has the answer of all
        answers[fine] = told[at[fine]]
        return answers

    def _told(self, place, targets, count):
        """What the rows of each value say: their most frequent class, or their mean."""
        if self.is_number:
            return np.bincount(place, targets, count) / np.bincount(place, minlength=count)
        pairs, often = np.unique(place * len(self.classes) + targets, return_counts=True)
        order = np.argsort(often, kind="stable")  # the most frequent is written last
        told = np.zeros(count)
        told[pairs[order] // len(self.classes)] = pairs[order] % len(self.classes)
        return told

    def _measure(self, found, targets):
        if self.is_number:
            spread = ((targets - targets.mean()) ** 2).sum()
            return 1.0 - ((found - targets) ** 2).sum() / spread if spread else 0.0
        hits = np.bincount(targets, found == targets, len(self.classes))
        counts = np.bincount(targets, minlength=len(self.classes))
        return float((hits[counts > 0] / counts[counts > 0]).mean())
