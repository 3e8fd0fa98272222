"""Values and gradients of a model, compiled once and kept on the model."""

import re
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mm_keras.encoders.graph import NodeVectors
from mm_keras.encoders.masking import TokenMask
from mm_keras.encoders.missing import Presence
from mm_keras.explanation.graph import layers_by_path, trace

# Rows run at once: enough to fill two cores, and 64 pictures of 224 x 224 with their activations fit in memory.
CHUNK_ROWS = 64
# Where ids become vectors that can be moved.
ENTRIES = (keras.layers.Embedding, NodeVectors)


def engine_for(model, tasks):
    """Returns the model's `Engine`, built at the first call and kept on the model object."""
    # A weak dictionary would not do: the compiled functions hold the model, so an entry would never die.
    engine = vars(model).get("_explanation_engine")
    if engine is None:
        engine = model._explanation_engine = Engine(model, tasks)
    return engine


class Observation(NamedTuple):
    """A batch as the model sees it.

    Args:
        scores: Float32 `(rows, columns)`, the outputs of every task that explanations share out.
        outputs: `{task: (rows, ...)}`, the model's own.
        entries: `{input: float32 (rows, ...)}`, where each input enters.
        held: `{path: (rows, ...)}`, token ids and the outputs of steps.
    """

    scores: np.ndarray
    outputs: dict
    entries: dict
    held: dict


class Engine:
    """The model as explanations see it: float tensors in, one number for each class or task out.

    A float input is moved along a path as it is; a text enters at the output of its `Embedding`, an entity at that of
    its `NodeVectors`. What jumps is held: ids, and the outputs of `Presence` and `TokenMask`, which are steps and have
    no slope.

    Args:
        model: A functional `keras.Model`, as `build_model` returns it.
        tasks: `{task: task}`.

    Attributes:
        columns: `{task: slice}`: where a task's numbers stand among the outputs: logits of a classification, the value
            in the column's unit of a regression.
        entries: `{input: path or None}`: the layer whose output stands for the input, `None` the input itself.
        paths: Of all layers, nested ones too.
    """

    def __init__(self, model, tasks):
        self._model, self._tasks = model, dict(tasks)
        layers = layers_by_path(model)
        self.paths = tuple(layers)
        inputs = dict(model.input)
        self.columns, at = {}, 0
        for task in self._tasks:
            width = model.output[task].shape[-1]
            self.columns[task], at = slice(at, at + width), at + width
        self.entries = {n: None if _is_float(t) else _embedding_path(n, layers) for n, t in inputs.items()}
        steps = {p: layer.output for p, layer in layers.items() if isinstance(layer, Presence | TokenMask)}
        steps |= {n: inputs[n] for n, path in self.entries.items() if path}
        self._held = list(steps)
        moving = {n: layers[path].output if path else inputs[n] for n, path in self.entries.items()}

        def compiled(function, *specs):
            return tf.function(function, input_signature=specs, autograph=False)

        held, column = _specs(steps), tf.TensorSpec([None], tf.int32)
        self._observe = compiled(self._observed, _specs(inputs))
        self._differentiate = compiled(self._differentiated, _specs(moving, "float32"), held, column)
        self._evaluate = compiled(self._valued, _specs(moving, "float32"), held, column)
        self.coalition_functions = {}  # what `coalitions` compiles

    def scores(self, tensors):
        """Returns the outputs of every task, float32 `(rows, columns)`, of a batch `{input: array}`."""
        return self.observe(tensors).scores

    def observe(self, tensors):
        """Runs a batch as the model does.

        Args:
            tensors: `{input: array (rows, ...)}`, exactly the model's inputs.

        Returns:
            An `Observation`.
        """
        return _in_chunks(self._observe, len(next(iter(tensors.values()))), {n: tensors[n] for n in self.entries})

    def differentiate(self, entries, held, column):
        """Returns one output of each row, and its gradient.

        Args:
            entries: `{input: float32 array (rows, ...)}`, as `observe` returns them or on the way there.
            held: `{path: array (rows, ...)}`, as `observe` returns it.
            column: Int32 `(rows,)`, the output explained.

        Returns:
            `(values (rows,), {input: gradient (rows, ...)})`, float32.
        """
        return _in_chunks(self._differentiate, len(column), entries, held, column)

    def evaluate(self, entries, held, column):
        """Returns one output of each row, float32 `(rows,)`; the arguments are those of `differentiate`."""
        return _in_chunks(self._evaluate, len(column), entries, held, column)

    def run(self, tensors, replace):
        """Runs the model while a graph is traced, some layers replaced.

        Returns:
            `(scores (rows, columns), outputs, {path: output of a layer})`.
        """
        outputs, taps = trace(self._model, tensors, replace)
        return self._outputs(outputs, taps), outputs, taps

    def _observed(self, tensors):
        scores, outputs, taps = self.run(tensors, {})
        entries = {n: tf.cast(taps[path] if path else tensors[n], tf.float32) for n, path in self.entries.items()}
        held = {p: tensors[p] if p in tensors else taps[p] for p in self._held}
        return Observation(scores, outputs, entries, held)

    def _differentiated(self, entries, held, column):
        with tf.GradientTape() as tape:
            tape.watch(entries)
            values = self._valued(entries, held, column)
        return values, tape.gradient(values, entries, unconnected_gradients="zero")

    def _valued(self, entries, held, column):
        replace = {p: v for p, v in held.items() if p not in self.entries}
        replace |= {path: entries[n] for n, path in self.entries.items() if path}
        fed = {n: held[n] if path else entries[n] for n, path in self.entries.items()}
        return tf.gather(self.run(fed, replace)[0], column, axis=1, batch_dims=1)

    def _outputs(self, outputs, taps):
        # The gradient of a probability vanishes where the model is sure; that of its logit does not.
        chosen = [taps[f"{n}_logits"] if task.is_categorical else outputs[n] for n, task in self._tasks.items()]
        return tf.concat([tf.cast(c, tf.float32) for c in chosen], axis=1)


def _is_float(tensor):
    return keras.backend.is_float_dtype(tensor.dtype)


def _embedding_path(name, layers):
    # A fusion inside the encoders cuts them into `<name>_encoder_1`.., of which the first holds the embedding.
    inside = re.compile(rf"{name}_encoder(_\d+)?/")
    paths = [p for p, layer in layers.items() if inside.match(p) and isinstance(layer, ENTRIES)]
    if not paths:
        raise ValueError(
            f"input {name!r} is no float tensor, and {name}_encoder has no keras.layers.Embedding to enter at."
        )
    return paths[0]


def _specs(tensors, dtype=None):
    return {n: tf.TensorSpec([None, *t.shape[1:]], dtype or t.dtype) for n, t in tensors.items()}


def _in_chunks(function, rows, *trees):
    parts = []
    for start in range(0, rows, CHUNK_ROWS):
        chunk = tf.nest.map_structure(lambda v, s=start: v[s : s + CHUNK_ROWS], trees)
        parts.append(tf.nest.map_structure(lambda t: t.numpy(), function(*chunk)))
    return tf.nest.map_structure(lambda *p: np.concatenate(p), *parts)
