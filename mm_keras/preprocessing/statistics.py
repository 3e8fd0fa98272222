"""What standardisation learns from the training rows."""

import numpy as np


def as_float32(cells):
    """Returns the cells as the graph gets them, in float32 precision, but float64 for sums; overflow is infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(cells).astype(np.float32).astype(np.float64)


def finite_rows(cells):
    """Returns float64 `(n, features)` of `(.., features)`: what holds no NaN and, in float32 precision, no infinity."""
    with np.errstate(over="ignore"):
        cells = np.asarray(cells, np.float32)
    return cells[np.isfinite(cells).all(axis=-1)].astype(np.float64)  # the padding of sequences needs no float64


def parts_of(cells):
    """Returns what iterates over cells in parts: one part for what is in memory, many for a column that streams."""
    return cells.parts() if hasattr(cells, "parts") else (cells,)


class Moments:
    """Mean and deviation of values that come in parts; of one part exactly those of `mean_and_deviation`.

    Attributes:
        count: How many rows came.

    Reference:
        Chan, Golub and LeVeque 1983, The American Statistician 37(3), equation 2.1.
    """

    def __init__(self):
        self.count, self._mean, self._deviation, self._square = 0, None, None, 0.0

    def add(self, values):
        """Takes finite float64 `(rows, ...)`."""
        rows = len(values)
        if not rows and self._mean is not None:
            return
        mean, deviation = (values.mean(axis=0), values.std(axis=0)) if rows else mean_and_deviation(values)
        if not self.count:
            self.count, self._mean, self._deviation, self._square = rows, mean, deviation, rows * deviation**2
            return
        step, every = mean - self._mean, self.count + rows
        self._square = self._square + rows * deviation**2 + step**2 * (self.count * rows / every)
        self._mean, self.count = self._mean + step * (rows / every), every
        self._deviation = np.sqrt(self._square / every)

    def result(self):
        """Returns float64 `(mean, deviation)`, as `mean_and_deviation`; 0 and 1 when nothing came."""
        if self._mean is None or not self.count:
            return mean_and_deviation(np.zeros((0, *np.shape(self._mean)))) if self._mean is not None else (0.0, 1.0)
        return self._mean, _usable(self._mean, self._deviation)


def _usable(mean, deviation):
    return np.where(deviation > np.maximum(1e-6 * np.abs(mean), 1e-30), deviation, 1.0)


def mean_and_deviation(values):
    """Returns the float64 mean and standard deviation over the first axis.

    A deviation below a millionth of the mean is rounding, which float32 cannot tell from a constant. Such a feature,
    and one without any value, gets a deviation of 1.

    Args:
        values: Finite float64 `(rows, ...)`.
    """
    if not len(values):
        return np.zeros(values.shape[1:]), np.ones(values.shape[1:])
    mean = values.mean(axis=0)
    return mean, _usable(mean, values.std(axis=0))


def quantile_edges(values, bins):
    """Returns ascending edges, `bins + 1` at most, between which about equally many values lie.

    Repeated values join bins. A constant gets one bin of the width 1 around it, as does a column without any value.

    Args:
        values: Finite `(rows,)`.
        bins: Number of bins to aim at.

    Reference:
        Gorishniy et al. 2022, arXiv:2203.05556, section 3.2.1.
    """
    # Rounded to what float32 keeps, so that edges that differ by less than it become one.
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)).astype(np.float32)) if len(values) else []
    if len(edges) < 2:
        middle = float(edges[0]) if len(edges) else 0.0
        edges = (middle - 0.5, middle + 0.5)
    return [float(e) for e in edges]
