"""The model as explanations see it, as ops of a graph that is being traced."""

import warnings
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mm_keras.errors import DataError
from mm_keras.explanation.graph import mask_of, with_mask


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


class Network:
    """Tensors in, tensors out; `Engine` compiles what is here and runs it on arrays.

    Args:
        tasks: `{task: task}`.
        layout: A `Layout` or `ClosedLayout`.

    Attributes:
        columns: `{task: slice}`: where a task's numbers stand among the outputs: logits of a classification, the value
            in the column's unit of a regression.
        entries: `{input: path or None}`: the layer whose output stands for the input, `None` the input itself.
        closed: Names of the inputs that have no entry: ids of a model without a graph.
        paths: Of all layers, nested ones too; none where they are not known.
    """

    def __init__(self, tasks, layout):
        self._layout, self._tasks, self._score, self.columns, at = layout, dict(tasks), None, {}, 0
        for task in self._tasks:
            width = int(np.prod([s or 1 for s in layout.outputs[task].shape[1:]]))
            self.columns[task], at = slice(at, at + width), at + width
        # Of each column: the number of its softmax, 0 of a sigmoid, -1 of a number.
        self._chances = np.concatenate([_chances(t, self.columns[n], i) for i, (n, t) in enumerate(tasks.items(), 1)])
        self.entries, self.closed, self.paths = layout.entries, layout.closed, tuple(layout.places)
        self._held = [*layout.steps, *(n for n in layout.inputs if n in self.closed or self.entries[n])]

    def observed(self, tensors):
        """As `observe`, of tensors; called while a graph is traced."""
        scores, outputs, taps = self.run(tensors, {})
        entries = {n: self._joined(taps, path) if path else tensors[n] for n, path in self.entries.items()}
        entries = {n: tf.cast(v, tf.float32) for n, v in entries.items()}
        held = {p: tensors[p] for p in self._held if p in tensors}
        for path, layer in self._layout.steps.items():
            held[path] = mask_of(taps[path]) if isinstance(layer, layers.Masking) else taps[path]
        return Observation(scores, {n: outputs[n] for n in self._tasks}, entries, held)

    def value(self, entries, held, column, inside=None, with_odds=False):
        """Returns one output of each row, a tensor `(rows,)`; called while a graph is traced.

        Args:
            entries: As of `differentiate`, tensors.
            held: As of `differentiate`, tensors.
            column: As of `differentiate`, a tensor.
            inside: `{path: function(layer, *args) -> output}` that runs in place of layers.
            with_odds: Whether to return its log odds beside it, against the other classes of its task, where it is the
                logit of a probability; else itself again.
        """
        replace = {}
        for path, layer in self._layout.steps.items():
            is_mask = isinstance(layer, layers.Masking)
            replace[path] = _masking(held[path]) if is_mask else held[path]
        for name, path in self.entries.items():
            replace |= self._parted(entries[name], path) if path else {}
        replace |= inside or {}
        fed = {n: held[n] if n in held else tf.cast(entries[n], v.dtype) for n, v in self._layout.inputs.items()}
        scores = self.run(fed, replace)[0]
        values = tf.gather(scores, column, axis=1, batch_dims=1)
        if not with_odds:
            return values
        if self._score is not None:
            return values, values
        chances = tf.constant(self._chances)
        own = tf.gather(chances, column)[:, None]
        is_rival = (own > 0) & (chances == own) & (tf.range(len(self._chances)) != column[:, None])
        rivals = tf.reduce_logsumexp(tf.where(is_rival, scores, tf.float32.min), axis=1)
        return values, tf.where(tf.reduce_any(is_rival, axis=1), values - rivals, values)

    def _joined(self, taps, path):
        parts = [taps[p] for p in self._layout.twins[path]]
        return tf.concat(parts, axis=-1) if len(parts) > 1 else parts[0]

    def _parted(self, entry, path):
        """Returns `{path: tensor}`: what each of the twins of an entry gives."""
        paths, sizes = self._layout.twins[path], self._layout.entry_sizes(path)
        return dict(zip(paths, tf.split(entry, sizes, axis=-1) if len(paths) > 1 else [entry], strict=True))

    def slopes(self, places, entries, held, column):
        """Returns `({input: gradient}, {input: (feature map, gradient)})`, tensors; called while a graph is traced.

        Args:
            places: `((input, place), ...)` of the feature maps that are wanted.
            entries: As of `differentiate`, tensors.
            held: As of `differentiate`, tensors.
            column: As of `differentiate`, a tensor.
        """
        found = {}
        with tf.GradientTape() as tape:
            tape.watch(entries)
            inside = {place[0]: self.tap(name, place, found) for name, place in places}
            values = self.value(entries, held, column, inside)
        own, of_maps = tape.gradient(values, (entries, found), unconnected_gradients="zero")
        return own, {n: (found[n], of_maps[n]) for n, _ in places}

    @staticmethod
    def tap(name, place, found):
        """Returns a function for `inside` that stores the feature map of an input under its name.

        Args:
            name: The input.
            place: As `Layout.feature_map` returns it.
            found: The dict that gets `{name: float32 (rows, *places, channels)}`: steps that stand among the rows, and
                tokens of a grid, apart.
        """

        def run(operation, *args, **kwargs):
            flat = keras.tree.flatten(result := operation(*args, **kwargs))
            _, index, grid, steps = place
            made = flat[index]
            found[name] = tf.cast(made, tf.float32)
            if grid is not None:
                spaces = tf.shape(made)[1:3] if made.shape.rank == 4 else tf.constant(grid)
                leading = tf.constant([-1] if steps is None else [-1, steps])
                shape = tf.concat([leading, spaces, [made.shape[-1]]], axis=0)
                found[name] = tf.reshape(found[name], shape)
            # What follows reads what was stored, or the gradient would miss it.
            back = tf.ensure_shape(tf.reshape(found[name], tf.shape(made)), made.shape)
            flat[index] = with_mask(tf.cast(back, made.dtype), mask_of(made))
            return keras.tree.pack_sequence_as(result, flat)

        return run

    def run(self, tensors, replace):
        """Runs the model while a graph is traced, some layers replaced.

        Returns:
            `(scores (rows, columns), outputs, {path: output of a layer})`.
        """
        logits, replace = {}, dict(replace)
        for name, task in self._tasks.items():
            if path := getattr(task, "path", None):
                replace[path] = _recorded(logits, name, task.read, replace.get(path))
        with warnings.catch_warnings():
            # Said when the model was built.
            warnings.filterwarnings("ignore", message=".*was passed an input with a mask attached to it")
            outputs, taps = self._layout.run(tensors, replace)
        # The gradient of a probability vanishes where the model is sure; that of its logit does not.
        for name, task in self._tasks.items():
            if name not in logits:
                # Calibrated ones: their softmax is the answer that is explained.
                logits[name] = taps[f"{name}_temperature"] if task.is_categorical else outputs[name]
        logits = {n: tf.cast(logits[n], tf.float32) for n in self._tasks}
        if self._score is not None:
            return self._own_score(logits, tensors), outputs, taps
        flat = [tf.reshape(t, (-1, self.columns[n].stop - self.columns[n].start)) for n, t in logits.items()]
        return tf.concat(flat, axis=1), outputs, taps

    def _own_score(self, logits, tensors):
        found = tf.cast(tf.convert_to_tensor(self._score(logits)), tf.float32)
        if found.shape.rank != 1:
            raise DataError(
                "a callable target must return one number for each row, a tensor of shape (rows,). "
                f"Received: a tensor of shape {tuple(found.shape)}"
            )
        return found[:, None]


def _chances(task, columns, number):
    activation = getattr(task, "activation", "softmax" if getattr(task, "is_categorical", False) else None)
    kind = {"softmax": number, "sigmoid": 0}.get(activation, -1)
    return np.full(columns.stop - columns.start, kind, np.int32)


def _recorded(logits, name, read, instead):
    """Returns a function that runs a task's last layer and keeps what `read` finds in what it takes."""

    def run(operation, *args, **kwargs):
        logits[name] = read(operation, args[0])
        return instead(operation, *args, **kwargs) if callable(instead) else operation(*args, **kwargs)

    return run


def _masking(mask):
    return lambda operation, x: with_mask(x * tf.cast(mask, x.dtype)[..., None], mask)
