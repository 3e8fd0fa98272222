"""Features computed elsewhere -> a standardised vector; NaN means missing."""

import numpy as np
import tensorflow as tf

from mm_keras.errors import DataError
from mm_keras.preprocessing.augmentation import cells, stream
from mm_keras.preprocessing.preprocessor import Preprocessor
from mm_keras.preprocessing.statistics import Moments, finite_rows, parts_of
from mm_keras.recipe import TensorInfo


class VectorPreprocessor(Preprocessor):
    """Standardises each feature with the training rows' mean and deviation.

    A row whose features are all NaN is missing and becomes zeros; a row with some NaN is bad. A constant feature
    keeps a deviation of 1.

    Args:
        name: The input's name, which is also its served field.
        spec: A `recipe.Vector`.
        state: `{"columns": [...], "mean": [...], "deviation": [...]}`, as `adapt` leaves it.
    """

    @property
    def raw_specs(self):
        return {self.name: tf.TensorSpec([len(self.state["mean"])], tf.float32)}

    @property
    def blank(self):
        return {self.name: np.full(len(self.state["mean"]), np.nan, np.float32)}

    @property
    def tensor(self):
        return TensorInfo(shape=(len(self.state["mean"]),))

    def adapt(self, cells):
        """Learns mean and deviation from a float array `(rows, features)`, or `(rows, steps, features)` of sequences.

        Args:
            cells: The array, or a column that streams.

        Raises:
            DataError: When every row is missing.
        """
        moments = Moments()
        for part in parts_of(cells):
            moments.add(finite_rows(part))
        if not moments.count:
            raise DataError(f"input {self.name!r}: every training row is missing.")
        mean, deviation = moments.result()
        self.state |= {"mean": mean.tolist(), "deviation": deviation.tolist()}

    def finish(self, batch):
        """Batch: float32 `(batch, features)` -> the same shape, standardised."""
        return self._standardised(batch)[0]

    def augment_finished(self, batch, seed):
        """Batch in training: features get noise, as the recipe says."""
        return cells.noise(batch, stream(seed, "noise"), self.spec.noise) if self.spec.noise else batch

    def check(self, raw):
        """False for a row that holds both numbers and NaN, or a number that is infinite or is once standardised."""
        return self._is_whole_or_missing(raw[self.name])

    def _is_whole_or_missing(self, batch):
        finite = tf.math.is_finite(self._scaled(batch))
        return tf.reduce_all(finite, axis=-1) | tf.reduce_all(tf.math.is_nan(batch), axis=-1)

    def _standardised(self, batch):
        """Returns `(batch standardised, bool (.., 1): are all features there)`, zeros where they are not."""
        scaled = self._scaled(batch)
        whole = tf.reduce_all(tf.math.is_finite(scaled), axis=-1, keepdims=True)
        return tf.where(whole, scaled, 0.0), whole

    def why(self, raw):
        """Returns string `(batch,)`: what is wrong with a row that `check` refuses."""
        return tf.fill(tf.shape(raw[self.name])[:1], "some of its numbers are NaN, infinite or too large")

    def _scaled(self, batch):
        mean, deviation = (tf.constant(self.state[k], tf.float32) for k in ("mean", "deviation"))
        return (batch - mean) / deviation

    def draw(self, tensor):
        """Returns the features in their own units."""
        return np.asarray(tensor) * np.asarray(self.state["deviation"]) + np.asarray(self.state["mean"])
