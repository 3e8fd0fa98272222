"""Scores of one task with 95 % bootstrap intervals."""

import numpy as np
from scipy import sparse

from mm_keras.training.calibration import calibration_error, inner_edges

RESAMPLES = 1000
MOST_WEIGHTS = 4_000_000  # in memory at a time, whatever the number of rows


def score_classification(labels, probabilities, seed=0):
    """Scores class probabilities.

    Args:
        labels: Int array `(rows,)` of class numbers.
        probabilities: Float array `(rows, classes)`.
        seed: Of the bootstrap.

    Returns:
        `{metric: {"value": v, "low": l, "high": h}}` of `accuracy`, `balanced_accuracy` (mean recall of the classes
        that occur), `macro_f1` (over classes that occur or are predicted), `log_loss` (natural; probabilities clipped
        at 1e-7), `brier` (the squared distance to the label's one-hot, 0 to 2), `ece` (see `calibration_error`) and
        `adaptive_ece` (the same with bins of equal numbers of rows). The values are scikit-learn's; the intervals are
        percentiles over rows drawn with replacement. Of the last two, which noise makes larger, resamples are larger on
        the whole; that surplus is taken off their intervals.
    """
    rows, classes = probabilities.shape
    predicted = probabilities.argmax(axis=1)
    loss = -np.log(np.clip(probabilities[np.arange(rows), labels], 1e-7, 1.0))
    chances = np.asarray(probabilities, np.float64)
    distance = ((chances - np.eye(classes)[labels]) ** 2).sum(axis=1)
    confidence, right = chances.max(axis=1), predicted == labels
    edges = {"ece": inner_edges(confidence), "adaptive_ece": inner_edges(confidence, adaptive=True)}

    def one_hot(numbers, ones):
        return sparse.csr_matrix((np.asarray(ones, np.float64), (np.arange(rows), numbers)), (rows, classes))

    # What the counts of any resample are one product with.
    counters = [one_hot(labels, labels == predicted), *(one_hot(n, np.ones(rows)) for n in (labels, predicted))]

    def values(weights):
        hits, actual, guessed = ((counter.T @ weights.T).T for counter in counters)
        return {
            "accuracy": hits.sum(axis=1) / actual.sum(axis=1),
            "balanced_accuracy": _mean_where(hits, actual, actual > 0),
            "macro_f1": _mean_where(2 * hits, actual + guessed, actual + guessed > 0),
            "log_loss": weights @ loss / weights.sum(axis=1),
            "brier": weights @ distance / weights.sum(axis=1),
            **{k: calibration_error(confidence, right, inner, weights) for k, inner in edges.items()},
        }

    return with_intervals(values, rows, seed, centred=edges)


def score_regression(targets, values, seed=0, half_width=None):
    """Scores numbers.

    Args:
        targets: Float array `(rows,)` in the task's unit.
        values: The same, predicted.
        seed: Of the bootstrap.
        half_width: Of the interval around each value, or `None`.

    Returns:
        As `score_classification`, of `mae`, `rmse` (both in the task's unit) and `r2`; with `half_width` also of
        `coverage`, the share of rows whose target lies in the interval. A target without spread has an `r2` of 0, or
        of 1 when every value is exact.
    """
    targets = np.asarray(targets, np.float64)
    error, centred = np.asarray(values, np.float64) - targets, targets - targets.mean()

    def scores(weights):
        total = weights.sum(axis=1)
        squared = weights @ error**2
        # Of targets near zero, since the difference of two large squares holds nothing but rounding.
        spread = np.maximum(weights @ centred**2 - (weights @ centred) ** 2 / total, 0.0)
        flat = spread <= 1e-14 * (weights @ centred**2) + 1e-28 * (weights @ targets**2)
        r2 = np.where(flat, (squared == 0).astype(float), 1.0 - squared / np.where(flat, 1.0, spread))
        found = {"mae": weights @ np.abs(error) / total, "rmse": np.sqrt(squared / total), "r2": r2}
        return found if half_width is None else found | {"coverage": weights @ (np.abs(error) <= half_width) / total}

    return with_intervals(scores, len(error), seed)


def with_intervals(values, rows, seed, centred=()):
    """Evaluates `values(weights (draws, rows)) -> {metric: (draws,)}` on the rows and on bootstrap resamples.

    Args:
        values: The function.
        rows: How many rows there are.
        seed: Of the draws.
        centred: Metrics, not negative, whose resamples are moved so that their mean is the value.
    """
    point = values(np.ones((1, rows)))
    rng = np.random.default_rng(seed)
    block, found = max(MOST_WEIGHTS // rows, 1), []
    for start in range(0, RESAMPLES, block):
        count = min(block, RESAMPLES - start)
        found.append(values(rng.multinomial(rows, np.full(rows, 1.0 / rows), size=count).astype(np.float64)))
    spread = {name: np.concatenate([part[name] for part in found]) for name in point}
    found = {}
    for name in point:
        value, (low, high) = point[name][0], np.percentile(spread[name], (2.5, 97.5))
        if name in centred:
            surplus = spread[name].mean() - value
            low, high = min(max(low - surplus, 0.0), value), max(high - surplus, value)
        found[name] = {"value": float(value), "low": float(low), "high": float(high)}
    return found


def _mean_where(top, bottom, where):
    share = np.divide(top, bottom, out=np.zeros_like(top, dtype=float), where=where)
    return share.sum(axis=1) / np.maximum(where.sum(axis=1), 1)
