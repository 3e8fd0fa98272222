"""From answers to scores, their differences, and what a curve says as one number; all over the same draws of rows."""

import numpy as np

from mm_keras.corrupting.answers import CLEAN, GONE
from mm_keras.evaluation.metrics import with_intervals

STEPS = 5


def gains_of(task, answers, labels):
    """Returns float64 `(rows,)`: 1 or 0 as the answer is right, or the absolute error of a number.

    Args:
        task: Of a run.
        answers: `(rows, classes)` or `(rows, 1)`.
        labels: Of the rows, as `Rows.labels` has them, none empty.
    """
    targets = task.encode(labels)
    if task.is_categorical:
        return (answers.argmax(axis=1) == targets).astype(float)
    return np.abs(answers[:, 0].astype(float) - targets)


def measure_curves(scores, curves, is_error, seed, baseline=None):
    """Scores every point, and what they come to, with intervals by one bootstrap over rows.

    Args:
        scores: `{key: (rows,)}` of one model, from `gains_of`; keys as `collect_answers` has them.
        curves: `[(input, corruption name), ..]`.
        is_error: Whether less is better.
        seed: Of the bootstrap.
        baseline: `scores` of another model, on the same rows; it may lack inputs.

    Returns:
        `{key or (what, ..): interval}`: of each key its value; of each point `("change", *key)`, the gain over clean
        rows, and `("over_missing", *key)`, that over rows without the input, more is better; of each curve
        `("relative", *curve)`, `("effective", *curve)` and `("error", *curve)`, and `("error",)` of all, as
        `Robustness` says. What cannot be said, such as a share of nothing, is NaN or left out.
    """
    keys, own = list(scores), np.stack(list(scores.values()))
    others = {} if baseline is None else baseline
    other = np.stack(list(others.values())) if others else None
    sign = -1.0 if is_error else 1.0

    def values(weights):
        total = weights.sum(axis=1)
        means = dict(zip(keys, (own @ weights.T) / total, strict=True))
        beside = dict(zip(others, (other @ weights.T) / total, strict=True)) if others else None
        found, errors = dict(means), []
        for name, *_ in [k for k in keys if k[-1] == GONE]:
            found["change", name, GONE] = sign * (means[name, GONE] - means[CLEAN,])
        for curve in curves:
            points = [(*curve, step) for step in range(STEPS)]
            for p in points:
                found[("change", *p)] = sign * (means[p] - means[CLEAN,])
                found[("over_missing", *p)] = sign * (means[p] - means[curve[0], GONE])
            found[("relative", *curve)] = _relative([means[CLEAN,], *(means[p] for p in points)], is_error)
            if beside is None:
                found[("effective", *curve)] = sum(found[("over_missing", *p)] for p in points) / STEPS
            elif points[0] in beside:
                falls = [found[("change", *p)] - sign * (beside[p] - beside[CLEAN,]) for p in points]
                found[("effective", *curve)] = sum(falls) / STEPS
            if beside is None or points[0] in beside:
                error = sum(_error(means[p], is_error) for p in points) / STEPS
                if beside is not None:
                    error = _ratio(error, sum(_error(beside[p], is_error) for p in points) / STEPS)
                found[("error", *curve)] = error
                errors.append(error)
        if errors:
            found["error",] = sum(errors) / len(errors)
        return found

    return with_intervals(values, own.shape[1], seed)


def _relative(curve, is_error):
    """Mean height of a curve by the trapezoid rule, beside its first point; 1 is nothing lost."""
    area = (curve[0] / 2 + sum(curve[1:-1]) + curve[-1] / 2) / (len(curve) - 1)
    return _ratio(curve[0], area) if is_error else _ratio(area, curve[0])


def _error(value, is_error):
    return value if is_error else 1.0 - value


def _ratio(top, bottom):
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom != 0)
