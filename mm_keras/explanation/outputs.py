"""The outputs of a model that mm_keras did not build, with the face of a task, as far as explanations use it."""

import keras
import numpy as np
from keras import layers, ops

CHANCES = ("softmax", "sigmoid")


class Output:
    """One output of a Keras model.

    Args:
        name: Its name.
        shape: Of a row.
        classes: Names of its units. Defaults to their numbers.
        path: Of the layer that turns logits into it, or `None`.
        activation: `"softmax"`, `"sigmoid"` or `None`.
    """

    def __init__(self, name, shape, classes=None, path=None, activation=None):
        self.name, self.shape, self.path, self.activation = name, tuple(shape), path, activation
        width = int(np.prod(self.shape)) if self.shape else 1
        self.classes = tuple(classes or (str(i) for i in range(width)))

    is_categorical = False  # its logits are no layer's of their own; `read` finds them

    @property
    def has_units(self):
        """Whether it has several numbers to choose one of."""
        return int(np.prod(self.shape)) > 1

    def read(self, layer, x):
        """Returns the logits that its last layer makes of what it takes: float32, whatever the layer computes in."""
        if not isinstance(layer, layers.Dense):
            return x
        logits = ops.matmul(ops.cast(x, "float32"), ops.cast(layer.kernel, "float32"))
        return logits + ops.cast(layer.bias, "float32") if layer.use_bias else logits

    def decode(self, outputs):
        """Returns `{column: values}` of the model's own outputs `(rows, ...)`: what it says, and every unit's number.

        An output of more than one axis, such as a sequence, is left out.
        """
        outputs = np.asarray(outputs, np.float32).reshape(len(outputs), *self.shape)
        if len(self.shape) > 1:
            return {}
        if not self.has_units:
            return {self.name: outputs.reshape(len(outputs))}
        columns = {f"{self.name}_{c}": outputs[:, i] for i, c in enumerate(self.classes)}
        if self.activation != "softmax":
            return columns
        labels = np.array(self.classes, dtype=object)[outputs.argmax(-1)]
        return {self.name: labels, f"{self.name}_probability": outputs.max(-1)} | columns


def outputs_of(layout, classes):
    """Returns `{output: Output}` of a model, with the logits of those that end in a softmax or a sigmoid.

    A `Dense` with that activation gives its product before it; a layer or operation that is nothing but the activation
    gives what it takes. Nothing of the model is changed. Of any other end the output itself is explained.

    Args:
        layout: A `Layout` or `ClosedLayout`.
        classes: `{output: names of its units}`, of some.
    """
    made = {}
    for name, value in layout.outputs.items():
        activation = _activation(value.operation) if hasattr(value, "operation") else None
        path = value.path if activation else None
        made[name] = Output(name, value.shape[1:], classes.get(name), path, activation)
    return made


def _activation(operation):
    """Returns which activation a layer ends in, of those whose logits can be read."""
    if isinstance(operation, layers.Softmax):
        return "softmax" if operation.axis == -1 else None
    if isinstance(operation, layers.Dense | layers.Activation):
        found = keras.activations.serialize(operation.activation)
        return found if found in CHANCES else None
    return {"Softmax": "softmax", "Sigmoid": "sigmoid"}.get(type(operation).__name__)
