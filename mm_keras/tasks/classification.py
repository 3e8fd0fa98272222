"""One of several classes."""

import math

import keras
import numpy as np
from keras import layers


class ClassificationTask:
    """Softmax over class names.

    Args:
        name: The task's name.
        spec: A `recipe.Classification`.
        state: `{"classes": [...], "counts": [...]}`, as `adapt` leaves it; calibrated for a wished accuracy also
            `"abstention": {"accuracy": wished, "threshold": confidence, "coverage": share of rows answered}`.
    """

    is_categorical = True

    def __init__(self, name, spec, state=None):
        self.name, self.spec, self.state = name, spec, state or {}

    @property
    def classes(self):
        return self.state["classes"]

    @property
    def columns(self):
        """Names of the columns that predictions may have."""
        return [self.name, *(f"{self.name}_{c}" for c in ("probability", "abstained", *self.classes))]

    def adapt(self, cells, classes):
        """Stores the class names and counts the training rows of each; empty cells are unlabelled rows."""
        counts = {c: 0 for c in classes}
        for cell in cells:
            if cell != "":
                counts[cell] += 1
        self.state = {"classes": list(classes), "counts": list(counts.values())}

    def encode(self, cells):
        """Returns int32 class numbers; -1 where the label is empty."""
        number = {c: i for i, c in enumerate(self.classes)} | {"": -1}
        return np.array([number[c] for c in cells], np.int32)

    def weights(self, targets):
        """Returns float32 loss weights of rows: 0 without a label, else 1 or the balanced class weight."""
        weights = np.ones(len(self.classes) + 1, np.float32)
        weights[-1] = 0.0
        if self.spec.class_weight == "balanced":
            counts = np.asarray(self.state["counts"], float)
            weights[:-1] = counts.sum() / (len(counts) * np.maximum(counts, 1))
        return weights[targets]

    def head(self, name):
        return layers.Dense(len(self.classes), dtype="float32", name=name)

    def output(self):
        return layers.Activation("softmax", dtype="float32", name=self.name)

    def loss(self):
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=self.spec.label_smoothing)

    def loss_scale(self):
        """One over the loss of a uniform guess, so that several tasks weigh alike at the start."""
        return 1.0 / math.log(len(self.classes))

    def metrics(self):
        return [keras.metrics.CategoricalAccuracy(name="accuracy")]

    def target(self, encoded):
        """Returns what the loss takes: one-hot float32 `(rows, classes)`; zeros without a label."""
        return np.eye(len(self.classes) + 1, len(self.classes), dtype=np.float32)[encoded]

    def decode(self, outputs):
        """Returns `{column: values}`: the label, its probability, every class's, and whether the answer is too unsure.

        The last, `<task>_abstained`, is there when a threshold was fitted.
        """
        outputs = np.asarray(outputs)
        labels = np.array(self.classes, dtype=object)[outputs.argmax(-1)]
        confidence = outputs.max(-1)
        name, probability, abstained, *each = self.columns
        columns = {name: labels, probability: confidence}
        if "abstention" in self.state:
            columns[abstained] = confidence < self.state["abstention"]["threshold"]
        return columns | dict(zip(each, outputs.T, strict=True))
