"""One number."""

import keras
import numpy as np
from keras import layers

from mm_keras.errors import DataError
from mm_keras.preprocessing.statistics import Moments, as_float32, parts_of


class RegressionTask:
    """A number in the unit of its column; the network works on the standardised one.

    Args:
        name: The task's name.
        spec: A `recipe.Regression`.
        state: `{"mean": x, "deviation": x}`, as `adapt` leaves it; once calibrated also `"interval": {"level": chance,
            "half_width": in the column's unit}`.
    """

    is_categorical = False

    def __init__(self, name, spec, state=None):
        self.name, self.spec, self.state = name, spec, state or {}

    @property
    def columns(self):
        """Names of the columns that predictions may have."""
        return [self.name, f"{self.name}_low", f"{self.name}_high"]

    def adapt(self, cells, classes=None):
        """Learns mean and deviation; NaN cells are unlabelled rows, a constant column keeps a deviation of 1.

        Raises:
            DataError: When no cell is a number.
        """
        moments = Moments()
        for part in parts_of(cells):
            values = as_float32(part)
            moments.add(values[np.isfinite(values)])
        if not moments.count:
            raise DataError(f"tasks.{self.name}: no training row has a number.")
        mean, deviation = moments.result()
        self.state = {"mean": float(mean), "deviation": float(deviation)}

    def encode(self, cells):
        """Returns float32 numbers in the column's unit; NaN without a label."""
        return np.asarray(cells, np.float32)

    def weights(self, targets):
        """Returns float32 loss weights of rows: 0 without a label, else 1."""
        return np.isfinite(targets).astype(np.float32)

    def head(self, name):
        return layers.Dense(1, dtype="float32", name=name)

    def output(self):
        return layers.Rescaling(self.state["deviation"], self.state["mean"], dtype="float32", name=self.name)

    def loss(self):
        return keras.losses.MeanSquaredError()

    def loss_scale(self):
        """1: the squared error of the mean is 1 in standardised units."""
        return 1.0

    def metrics(self):
        return []

    def target(self, encoded):
        """Returns what the loss takes: standardised float32 `(rows, 1)`; zeros without a label."""
        scaled = (encoded - self.state["mean"]) / self.state["deviation"]
        return np.nan_to_num(scaled, nan=0.0).astype(np.float32)[:, None]

    def decode(self, outputs):
        """Returns `{column: values}`, those of `bounds` too."""
        values = np.asarray(outputs)[:, 0]
        return {self.name: values} | self.bounds(values)

    def bounds(self, values):
        """Returns `{<task>_low: values, <task>_high: values}`, arrays or tensors; empty without an interval."""
        if "interval" not in self.state:
            return {}
        half_width = self.state["interval"]["half_width"]
        _, low, high = self.columns
        return {low: values - half_width, high: values + half_width}
