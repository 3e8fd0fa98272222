"""One number for all tasks, by which models of one recipe are chosen on rows that none has seen."""

import numpy as np

from mm_keras.data.folds import whole_groups
from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import HEADLINES
from mm_keras.evaluation.metrics import with_intervals
from mm_keras.training.learn import targets_and_weights


class Judge:
    """Scores logits on labelled rows; one number for all tasks, more is better.

    The score is the mean over tasks, by their weights in the recipe, of the accuracy of a classification and of 1 less
    the mean absolute error of a regression, in deviations of its training rows.

    Args:
        recipe: A `Recipe`.
        tasks: `{task: task}`, adapted.
        rows: A `Rows`.

    Attributes:
        targets, weights: `{task: array}`, as a loss takes them; a task without labels in these rows is left out.
        measures: `{task: "accuracy" or "mae"}`.

    Raises:
        DataError: When no row has a label.
    """

    def __init__(self, recipe, tasks, rows):
        targets, weights = targets_and_weights(tasks, rows)
        self.tasks = {n: task for n, task in tasks.items() if (weights[n] > 0).any()}
        if not self.tasks:
            raise DataError("no validation row has a label, so nothing can choose.")
        self.targets, self.weights = ({n: part[n] for n in self.tasks} for part in (targets, weights))
        self.measures = {n: HEADLINES[recipe.tasks[n].kind][0] for n in self.tasks}
        self._shares = {n: recipe.tasks[n].weight for n in self.tasks}
        self._groups = rows.groups

    def gains(self, logits):
        """Returns `{task: float (rows,)}`: 1 or 0 as the class is right, or 1 less the error; NaN where unknown."""
        found = {}
        for name, task in self.tasks.items():
            said, wanted = logits[name], self.targets[name]
            if task.is_categorical:
                own = (said.argmax(axis=1) == wanted.argmax(axis=1)).astype(float)
            else:
                own = 1.0 - np.abs(said[:, 0].astype(float) - wanted[:, 0])
            known = (self.weights[name] > 0) & np.isfinite(said).all(axis=1)
            found[name] = np.where(known, own, np.nan)
        return found

    def score(self, logits):
        """Returns the score of `{task: logits (rows, ...)}`, a float."""
        return self._mean({n: np.nanmean(own) for n, own in self.gains(logits).items()})

    def intervals(self, logits, single, seed):
        """Returns scores with 95 % intervals, by the bootstrap over rows or whole groups, the same draws for all.

        Args:
            logits: `{kind: {task: logits}}`.
            single: The kind that others are compared with.
            seed: Of the bootstrap.

        Returns:
            `{(kind, what): {"value", "low", "high"}}`; `what` is `"score"`, `"gain"` over `single`, or of a task
            `"<task> accuracy"` or `"<task> mae"`, in the task's unit.
        """
        gains = {kind: self.gains(own) for kind, own in logits.items()}
        owner = np.arange(len(next(iter(self.weights.values()))))
        if self._groups is not None:
            owner = np.unique(whole_groups(self._groups), return_inverse=True)[1]
        sums, counts = {}, {}
        for name in self.tasks:
            # Rows that each kind was asked about, so that differences are paired.
            known = np.all([np.isfinite(own[name]) for own in gains.values()], axis=0)
            counts[name] = np.bincount(owner, weights=known)
            for kind, own in gains.items():
                sums[kind, name] = np.bincount(owner, weights=np.where(known, own[name], 0.0))

        def values(weights):
            totals = {n: np.maximum(weights @ count, 1e-9) for n, count in counts.items()}
            means = {key: weights @ own / totals[key[1]] for key, own in sums.items()}
            scores = {kind: self._mean({n: means[kind, n] for n in self.tasks}) for kind in gains}
            found = {(kind, self._title(n)): self._measured(n, own) for (kind, n), own in means.items()}
            found |= {(kind, "score"): own for kind, own in scores.items()}
            return found | {(kind, "gain"): own - scores[single] for kind, own in scores.items()}

        return with_intervals(values, int(owner.max()) + 1, seed)

    def _title(self, name):
        return f"{name} {self.measures[name]}"

    def _measured(self, name, gain):
        """Returns the accuracy, or from 1 less the error in deviations back to the error."""
        task = self.tasks[name]
        return gain if task.is_categorical else task.state["deviation"] * (1.0 - gain)

    def _mean(self, by_task):
        return sum(self._shares[n] * own for n, own in by_task.items()) / sum(self._shares.values())
