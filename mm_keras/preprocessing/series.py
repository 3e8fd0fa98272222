"""Sequences of features computed elsewhere -> standardised steps, each with a mark; NaN means missing."""

import numpy as np
import tensorflow as tf

from mm_keras.preprocessing.augmentation import cells, stream
from mm_keras.preprocessing.vector import VectorPreprocessor
from mm_keras.recipe import TensorInfo


class SeriesPreprocessor(VectorPreprocessor):
    """Standardises each feature with the training rows' mean and deviation over real steps.

    A step of the model tensor is `[(x - mean) / deviation .., 1]`; the mark tells a step whose features are all average
    from padding. A step whose features are all NaN is missing and becomes zeros, a sequence without any other step is
    missing, and a step with some NaN makes its row bad. Only the first `spec.steps` steps are looked at.

    Args:
        name: The input's name, which is also its served field.
        spec: A `recipe.Vector` with `steps`.
        state: `{"columns": [...], "mean": [...], "deviation": [...]}`, as `adapt` leaves it.
    """

    @property
    def raw_specs(self):
        return {self.name: tf.TensorSpec([None, len(self.state["mean"])], tf.float32)}

    @property
    def blank(self):
        return {self.name: np.full((1, len(self.state["mean"])), np.nan, np.float32)}

    @property
    def tensor(self):
        return TensorInfo(shape=(self.spec.steps, len(self.state["mean"]) + 1))

    def finish(self, batch):
        """Batch: float32 `(batch, any number of steps, features)` -> `(batch, steps, features + 1)`."""
        values, whole = self._standardised(batch[:, : self.spec.steps])
        marked = tf.concat([values, tf.cast(whole, tf.float32)], axis=2)
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
        return tf.reduce_all(self._is_whole_or_missing(raw[self.name][:, : self.spec.steps]), axis=1)

    def why(self, raw):
        """Returns string `(batch,)`: what is wrong with a row that `check` refuses."""
        return tf.fill(tf.shape(raw[self.name])[:1], "some numbers of a step are NaN, infinite or too large")

    def draw(self, tensor):
        """Returns the steps up to the last real one, `(steps, features)` in the features' units; NaN is missing."""
        tensor = np.asarray(tensor)
        count = int(np.flatnonzero(tensor[:, -1]).max(initial=-1)) + 1
        values, marks = tensor[: max(count, 1), :-1], tensor[: max(count, 1), -1:]
        return np.where(marks != 0, super().draw(values), np.nan)
