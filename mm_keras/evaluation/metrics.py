"""Scores of one task with 95 % bootstrap intervals."""

import numpy as np
from scipy import sparse

RESAMPLES = 1000


def score_classification(labels, probabilities, seed=0):
    """Scores class probabilities.

    Args:
        labels: Int array `(rows,)` of class numbers.
        probabilities: Float array `(rows, classes)`.
        seed: Of the bootstrap.

    Returns:
        `{metric: {"value": v, "low": l, "high": h}}` of `accuracy`, `balanced_accuracy` (mean recall of the classes
        that occur), `macro_f1` (over classes that occur or are predicted) and `log_loss` (natural; probabilities
        clipped at 1e-7). The values are scikit-learn's; the intervals are percentiles over rows drawn with replacement.
    """
    rows, classes = probabilities.shape
    predicted = probabilities.argmax(axis=1)
    loss = -np.log(np.clip(probabilities[np.arange(rows), labels], 1e-7, 1.0))
    # One column of counts for each cell of the confusion matrix: any resample's matrix is then one product.
    pairs = sparse.csr_matrix((np.ones(rows), (np.arange(rows), labels * classes + predicted)), (rows, classes**2))

    def values(weights):
        confusion = (pairs.T @ weights.T).T.reshape(-1, classes, classes)
        hits = np.diagonal(confusion, axis1=1, axis2=2)
        actual, guessed = confusion.sum(axis=2), confusion.sum(axis=1)
        return {
            "accuracy": hits.sum(axis=1) / actual.sum(axis=1),
            "balanced_accuracy": _mean_where(hits, actual, actual > 0),
            "macro_f1": _mean_where(2 * hits, actual + guessed, actual + guessed > 0),
            "log_loss": weights @ loss / weights.sum(axis=1),
        }

    return with_intervals(values, rows, seed)


def score_regression(targets, values, seed=0):
    """Scores numbers.

    Args:
        targets: Float array `(rows,)` in the task's unit.
        values: The same, predicted.
        seed: Of the bootstrap.

    Returns:
        As `score_classification`, of `mae`, `rmse` (both in the task's unit) and `r2`. A target without spread has an
        `r2` of 0, or of 1 when every value is exact.
    """
    error = np.asarray(values, np.float64) - targets

    def scores(weights):
        total = weights.sum(axis=1)
        squared = weights @ error**2
        mean = weights @ targets / total
        spread = np.maximum(weights @ targets**2 - total * mean**2, 0.0)
        flat = spread <= 1e-12 * np.maximum(weights @ targets**2, 1e-300)
        r2 = np.where(flat, (squared == 0).astype(float), 1.0 - squared / np.where(flat, 1.0, spread))
        return {"mae": weights @ np.abs(error) / total, "rmse": np.sqrt(squared / total), "r2": r2}

    return with_intervals(scores, len(error), seed)


def with_intervals(values, rows, seed):
    """Evaluates `values(weights (draws, rows)) -> {metric: (draws,)}` on the rows and on bootstrap resamples."""
    point = values(np.ones((1, rows)))
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(rows, np.full(rows, 1.0 / rows), size=RESAMPLES).astype(np.float64)
    spread = values(draws)
    return {
        name: {
            "value": float(point[name][0]),
            "low": float(np.percentile(spread[name], 2.5)),
            "high": float(np.percentile(spread[name], 97.5)),
        }
        for name in point
    }


def _mean_where(top, bottom, where):
    share = np.divide(top, bottom, out=np.zeros_like(top, dtype=float), where=where)
    return share.sum(axis=1) / np.maximum(where.sum(axis=1), 1)
