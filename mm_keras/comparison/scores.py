"""From the answers of a comparison's models to scores, and to differences on the same rows."""

import numpy as np

from mm_keras.evaluation.metrics import with_intervals


def gains_of(cell, split, rows, task, answers=None):
    """Returns `{row id: gain}` of the labelled rows of a split: 1 or 0 as the answer is right, or `-|error|`.

    Args:
        cell: A `Cell`.
        split: `"validation"` or `"test"`.
        rows: All `Rows`, whose labels count.
        task: Name of the task.
        answers: In place of the cell's own: probabilities or values.
    """
    if split not in cell.outputs:
        return {}
    answers, ids = cell.outputs[split][task] if answers is None else answers, cell.ids[split]
    place = {i: n for n, i in enumerate(rows.ids)}
    labels = rows.labels[task][[place[i] for i in ids]]
    if task in cell.facts["classes"]:
        classes = np.array(cell.facts["classes"][task], object)
        gains = (classes[answers.argmax(axis=1)] == labels).astype(float)
        known = labels != ""
    else:
        gains = -np.abs(answers[:, 0] - labels)
        known = np.isfinite(gains)
    return dict(zip(ids[known].tolist(), gains[known].tolist(), strict=True))


def pooled(cells, split, task, product):
    """Returns the answers of an ensemble of models of one input each, which counts those whose input is there.

    Args:
        cells: `{input: Cell}` of one fold, trained apart.
        split: The rows.
        task: Name of the task.
        product: Whether probabilities are multiplied, which is a mean of their logarithms, in place of their mean.
    """
    answers = np.stack([c.outputs[split][task] for c in cells.values()])
    there = np.stack([c.present[split][n] for n, c in cells.items()])[..., None].astype(float)
    there = np.where(there.sum(axis=0) == 0, 1.0, there)  # of a row without any, all say what they say of nothing
    answers = np.log(np.maximum(answers, 1e-12)) if product else answers
    return (answers * there).sum(axis=0) / there.sum(axis=0)


def compare_gains(gains, pairs, groups=None, seed=0):
    """Returns intervals of the means and of differences between them, all over the same draws of rows.

    Args:
        gains: `{name: float array (rows,)}`, of the same rows in the same order.
        pairs: `(name, other)`: whose difference is wanted.
        groups: Of each row, `(rows,)`; whole groups are drawn. `None`: rows are.
        seed: Of the bootstrap.

    Returns:
        `{name or pair: {"value", "low", "high"}}`, 95 %.
    """
    if groups is None:
        owner = np.arange(len(next(iter(gains.values()))))
    else:
        owner = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(owner).astype(float)
    sums = {n: np.bincount(owner, weights=g) for n, g in gains.items()}

    def values(weights):
        total = weights @ sizes
        means = {n: weights @ s / total for n, s in sums.items()}
        return means | {(a, b): means[a] - means[b] for a, b in pairs}

    return with_intervals(values, len(sizes), seed)
