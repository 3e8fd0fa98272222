"""What standardisation learns from the training rows."""

import numpy as np


def as_float32(cells):
    """Returns the cells as the graph gets them, in float32 precision, but float64 for sums; overflow is infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(cells).astype(np.float32).astype(np.float64)


def mean_and_deviation(values):
    """Returns the float64 mean and standard deviation over the first axis.

    A deviation below a millionth of the mean is rounding, which float32 cannot tell from a constant. Such a feature,
    and one without any value, gets a deviation of 1.

    Args:
        values: Finite float64 `(rows, ...)`.
    """
    if not len(values):
        return np.zeros(values.shape[1:]), np.ones(values.shape[1:])
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    return mean, np.where(deviation > np.maximum(1e-6 * np.abs(mean), 1e-30), deviation, 1.0)
