"""Numbers and categories of one row -> one float vector in which every missing cell is zero."""

from collections import Counter

import numpy as np
import tensorflow as tf

from mm_keras.preprocessing.augmentation import cells, stream
from mm_keras.preprocessing.preprocessor import Preprocessor
from mm_keras.preprocessing.statistics import Moments, as_float32, parts_of, quantile_edges
from mm_keras.recipe import TensorInfo

# Rows that the bins of a column that streams are learned from.
MOST_SAMPLED = 100_000


class TabularPreprocessor(Preprocessor):
    """Standardises numbers and one-hot encodes categories.

    A number becomes `[(x - mean) / deviation, 1]`, a missing one `[0, 0]`. A category becomes its one-hot vector,
    whose first place is "unknown"; a missing one is all zeros. All float, so that the input can be explained and
    quantised. A constant column keeps a deviation of 1.

    Args:
        name: The input's name. Its served fields are its columns, or their slugs (`recipe.Tabular.fields`).
        spec: A `recipe.Tabular`.
        state: `{"mean": {column: x}, "deviation": {...}, "categories": {column: [...]}}`, as `adapt` leaves it; and
            `"bins": {column: edges}`, standardised, where the encoder asks for numbers in pieces.
    """

    def __init__(self, name, spec, state=None):
        super().__init__(name, spec, state)
        fields = spec.fields()
        self.numeric = [fields[c] for c in spec.numeric]
        self.categorical = [fields[c] for c in spec.categorical]

    @property
    def raw_specs(self):
        numbers = {f: tf.TensorSpec([], tf.float32) for f in self.numeric}
        return numbers | {f: tf.TensorSpec([], tf.string) for f in self.categorical}

    @property
    def blank(self):
        return {f: np.float32("nan") for f in self.numeric} | {f: b"" for f in self.categorical}

    @property
    def tensor(self):
        groups = [2] * len(self.numeric) + [1 + len(self.state["categories"][f]) for f in self.categorical]
        bins = tuple(tuple(self.state["bins"][f]) for f in self.numeric) if "bins" in self.state else ()
        return TensorInfo(shape=(sum(groups),), groups=tuple(groups), numeric=len(self.numeric), bins=bins)

    def adapt(self, cells):
        """Learns means, deviations and categories from `{field: array}`; NaN and empty strings are left out.

        Args:
            cells: The arrays, or a column that streams such dicts; of more than a hundred thousand rows that stream,
                the bins are those of the first, whose order is random.
        """
        moments = {field: Moments() for field in self.numeric}
        counts = {field: Counter() for field in self.categorical}
        options, samples = self.spec.encoder_options, {field: [] for field in self.numeric}
        wants_bins, sampled = options.get("numbers") == "piecewise", 0
        for part in parts_of(cells):
            for field in self.numeric:
                values = as_float32(part[field])
                values = values[np.isfinite(values)]
                moments[field].add(values)
                if wants_bins and sampled < MOST_SAMPLED:
                    samples[field].append(values)
            for field in self.categorical:
                counts[field].update(str(v) for v in part[field] if v != "")
            sampled += len(next(iter(part.values())))
        self.state = {"mean": {}, "deviation": {}, "categories": {}} | ({"bins": {}} if wants_bins else {})
        for field in self.numeric:
            mean, deviation = moments[field].result()
            self.state["mean"][field], self.state["deviation"][field] = float(mean), float(deviation)
            if wants_bins:
                scaled = (np.concatenate(samples[field]) - mean) / deviation
                self.state["bins"][field] = quantile_edges(scaled, options["bins"])
        for field, own in counts.items():
            self.state["categories"][field] = sorted(own, key=lambda c: (-own[c], c))[: self.spec.max_categories]

    def read(self, cell):
        return cell

    def decode(self, raw):
        return raw

    def finish(self, batch):
        """Batch: `{field: (batch,)}` -> float32 `(batch, features)`."""
        parts = []
        for field in self.numeric:
            scaled = self._scaled(field, batch)
            present = tf.math.is_finite(scaled)
            parts.append(tf.stack([tf.where(present, scaled, 0.0), tf.cast(present, tf.float32)], axis=1))
        for field in self.categorical:
            known = tf.constant(self.state["categories"][field], tf.string)
            hits = tf.equal(batch[field][:, None], known[None, :])
            unknown = ~tf.reduce_any(hits, axis=1) & tf.not_equal(batch[field], "")
            parts.append(tf.cast(tf.concat([unknown[:, None], hits], axis=1), tf.float32))
        return tf.ensure_shape(tf.concat(parts, axis=1), [None, *self.tensor.shape])

    def augment_finished(self, batch, seed):
        """Batch in training: numbers get noise, and cells go missing, as the recipe says."""
        if self.spec.noise:
            batch = cells.noise_numbers(batch, stream(seed, "noise"), self.spec.noise, len(self.numeric))
        if self.spec.drop:
            batch = cells.drop(batch, stream(seed, "drop"), self.spec.drop, self.tensor.groups)
        return batch

    def check(self, raw):
        """False for a row with a number that is infinite, or is once it is standardised."""
        fine = tf.ones(tf.shape(next(iter(raw.values()))), tf.bool)
        for field in self.numeric:
            fine &= tf.math.is_nan(raw[field]) | tf.math.is_finite(self._scaled(field, raw))
        return fine

    def why(self, raw):
        """Returns string `(batch,)`: what is wrong with a row that `check` refuses."""
        return tf.fill(tf.shape(next(iter(raw.values()))), "a number is infinite, or too large")

    @property
    def most_bytes(self):
        """Of all categories of a row together; `None` without any."""
        return 2**16 if self.categorical else None

    def _scaled(self, field, batch):
        return (batch[field] - self.state["mean"][field]) / self.state["deviation"][field]

    def draw(self, tensor):
        """Returns `{field: value in its own unit, None when missing}`."""
        values, at, tensor = {}, 0, np.asarray(tensor)
        for field in self.numeric:
            raw = tensor[at] * self.state["deviation"][field] + self.state["mean"][field]
            values[field], at = (float(raw) if tensor[at + 1] else None), at + 2
        for field in self.categorical:
            names = ["(unknown)", *self.state["categories"][field]]
            hot = tensor[at : at + len(names)]
            values[field], at = (names[int(hot.argmax())] if hot.any() else None), at + len(names)
        return values
