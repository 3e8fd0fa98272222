"""What members say together: the mean of their probabilities, and a second model on top of them."""

import numpy as np

from mm_keras.data.folds import cut_folds, whole_groups
from mm_keras.registry import FUSIONS, resolve

# Kinds of ensemble whose members are all kept, and the fusion of decisions that joins them.
JOINS = {"mean": "decision_mean", "stacking": "decision_stacking"}
# The score of stacking is that of second models fitted on the other parts of the validation rows.
PARTS = 5


def mean_of(said, tasks):
    """Returns `{task: logits}` of the mean over members.

    Args:
        said: `{member: {task: logits (rows, ...)}}`.
        tasks: `{task: task}`.
    """
    join = resolve(FUSIONS[JOINS["mean"]])
    return {t: np.asarray(join(task.is_categorical)(_of_task(said, t))) for t, task in tasks.items()}


def fit_stacking(said, judge, tasks, at=slice(None)):
    """Returns `{task: layer}`: second models fitted on rows that no member was trained on.

    Args:
        said: `{member: {task: logits (rows, ...)}}`.
        judge: The `Judge` of these rows. A task that it has no labels of keeps the plain mean of logarithms.
        tasks: `{task: task}`.
        at: Which of the rows.

    Reference:
        Wolpert 1992, Stacked generalization; see `DecisionStacking`. Differs: the second model is fitted on rows that
        are held out from all members. Members differ by the rows that they saw, so that a row of their folds has an
        answer out of fold from one of them only.
    """
    layers = {}
    for name, task in tasks.items():
        own = {member: logits[at] for member, logits in _of_task(said, name).items()}
        layers[name] = resolve(FUSIONS[JOINS["stacking"]])(task.is_categorical)
        layers[name].build({member: logits.shape for member, logits in own.items()})
        if name in judge.tasks:
            asked = np.all([np.isfinite(logits).all(axis=1) for logits in own.values()], axis=0)
            weights = np.where(asked, judge.weights[name][at], 0.0)
            layers[name].fit_on(own, None, judge.targets[name][at], weights)
    return layers


def stacked(said, layers):
    """Returns `{task: logits}` of fitted second models; see `fit_stacking`."""
    return {t: np.asarray(layer(_of_task(said, t))) for t, layer in layers.items()}


def why_not_stacked(rows):
    """Returns why these `Rows` cannot fit and judge a second model, or `None`."""
    groups = range(len(rows)) if rows.groups is None else whole_groups(rows.groups)
    count = len(set(groups))
    what = "rows" if rows.groups is None else "groups"
    return f"it needs {PARTS} {what} of validation, and there are {count}" if count < PARTS else None


def cross_fitted(said, judge, tasks, classes, groups, seed):
    """Returns `{task: logits (rows, ...)}` of stacking: each part of the rows by models fitted on the others.

    Args:
        said: As of `fit_stacking`.
        judge: As of `fit_stacking`.
        tasks: `{task: task}`.
        classes: Class of each row, or `None`; they stay in proportion.
        groups: Group of each row, or `None`; they stay whole.
        seed: Of the parts.

    Raises:
        DataError: When there are fewer rows, or groups, than parts.
    """
    one = next(iter(said.values()))
    found = {t: np.full(logits.shape, np.nan, np.float32) for t, logits in one.items()}
    rows = len(next(iter(one.values())))
    for rest, held in cut_folds(PARTS, rows, classes, groups, seed):
        layers = fit_stacking(said, judge, tasks, rest)
        own = {member: {t: logits[held] for t, logits in by_task.items()} for member, by_task in said.items()}
        for task, logits in stacked(own, layers).items():
            found[task][held] = logits
    return found


def _of_task(said, task):
    return {member: by_task[task] for member, by_task in said.items()}
