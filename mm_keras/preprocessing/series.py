"""Sequences of features computed elsewhere -> standardised steps, each with a mark; NaN means missing."""

import numpy as np
import tensorflow as tf

from mm_keras.errors import DataError
from mm_keras.preprocessing.augmentation import cells, stream
from mm_keras.preprocessing.statistics import as_float32, mean_and_deviation
from mm_keras.recipe import TensorInfo


class SeriesPreprocessor:
    """Standardises each feature with the training rows' mean and deviation over real steps.

    A step of the model tensor is `[(x - mean) / deviation .., 1]`; the mark tells a step whose features are all average
    from padding. A step whose features are all NaN is missing and becomes zeros, a sequence without any other step is
    missing, and a step with some NaN makes its row bad. Only the first `spec.steps` steps are looked at.

    Args:
        name: The input's name, which is also its served field.
        spec: A `recipe.Vector` with `steps`.
        state: `{"columns": [...], "mean": [...], "deviation": [...]}`, as `adapt` leaves it.
    """

    reads_files = False
    row_wise = False

    def __init__(self, name, spec, state=None):
        self.name, self.spec, self.state = name, spec, state or {}

    @property
    def raw_specs(self):
        return {self.name: tf.TensorSpec([None, len(self.state["mean"])], tf.float32)}

    @property
    def blank(self):
        return {self.name: np.full((1, len(self.state["mean"])), np.nan, np.float32)}

    @property
    def tensor(self):
        return TensorInfo(shape=(self.spec.steps, len(self.state["mean"]) + 1))

    def adapt(self, cells):
        """Learns mean and deviation from a float array `(rows, steps, features)`, NaN where there is no step.

        Raises:
            DataError: When every row is missing.
        """
        values = np.asarray(cells, np.float32)
        values = values[np.isfinite(values).all(axis=2)]
        if not len(values):
            raise DataError(f"input {self.name!r}: every training row is missing.")
        mean, deviation = mean_and_deviation(as_float32(values))
        self.state |= {"mean": mean.tolist(), "deviation": deviation.tolist()}

    def read(self, cell):
        return {self.name: cell}

    def decode(self, raw):
        return raw[self.name]

    def finish(self, batch):
        """Batch: float32 `(batch, any number of steps, features)` -> `(batch, steps, features + 1)`."""
        scaled = self._scaled(batch)
        whole = tf.reduce_all(tf.math.is_finite(scaled), axis=2, keepdims=True)
        marked = tf.concat([tf.where(whole, scaled, 0.0), tf.cast(whole, tf.float32)], axis=2)
        marked = tf.pad(marked, [[0, 0], [0, self.spec.steps - tf.shape(marked)[1]], [0, 0]])
        return tf.ensure_shape(marked, [None, *self.tensor.shape])

    def augment_finished(self, batch, seed):
        """Batch in training: the features of real steps get noise, as the recipe says; marks stay."""
        if not self.spec.noise:
            return batch
        noisy = cells.noise(batch, stream(seed, "noise"), self.spec.noise)
        return tf.concat([noisy[..., :-1], batch[..., -1:]], axis=2)

    def check(self, raw):
        """False for a row with a step of both numbers and NaN, or a number infinite before or once standardised."""
        values = raw[self.name][:, : self.spec.steps]
        whole = tf.reduce_all(tf.math.is_finite(self._scaled(values)), axis=2)
        return tf.reduce_all(whole | tf.reduce_all(tf.math.is_nan(values), axis=2), axis=1)

    def why(self, raw):
        """Returns string `(batch,)`: what is wrong with a row that `check` refuses."""
        return tf.fill(tf.shape(raw[self.name])[:1], "some numbers of a step are NaN, infinite or too large")

    def _scaled(self, batch):
        mean, deviation = (tf.constant(self.state[k], tf.float32) for k in ("mean", "deviation"))
        return (batch[:, : self.spec.steps] - mean) / deviation

    def draw(self, tensor):
        """Returns the steps up to the last real one, `(steps, features)` in the features' units; NaN is missing."""
        tensor = np.asarray(tensor)
        count = int(np.flatnonzero(tensor[:, -1]).max(initial=-1)) + 1
        values, marks = tensor[: max(count, 1), :-1], tensor[: max(count, 1), -1:]
        values = values * np.asarray(self.state["deviation"]) + np.asarray(self.state["mean"])
        return np.where(marks != 0, values, np.nan)
