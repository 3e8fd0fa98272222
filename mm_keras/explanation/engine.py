"""Values and gradients of a model, compiled once and kept on the model."""

import copy
from collections import OrderedDict

import numpy as np
import tensorflow as tf
from keras import layers

from mm_keras.errors import DataError
from mm_keras.explanation.layout import PLACES, Layout
from mm_keras.explanation.network import Network
from mm_keras.preprocessing.chain import compiled
from mm_keras.registry import nearest
from mm_keras.training.backend import require_tensorflow

# Rows run at once: enough to fill two cores, and 64 pictures of 224 x 224 with their activations fit in memory.
CHUNK_ROWS = 64
# Functions of the outputs whose compiled gradients are kept; each more would hold its graph for ever.
MOST_SCORES = 4


def engine_for(model, tasks, layout=None):
    """Returns the model's `Engine`, built at the first call and kept on the model object.

    Args:
        model: A `keras.Model`.
        tasks: `{task: task}`, as `Engine` takes them.
        layout: As `Engine` takes it.
    """
    # A weak dictionary would not do: the compiled functions hold the model, so an entry would never die. Keras would
    # track what is set as an attribute.
    engines = vars(model).setdefault("_explanation_engines", {})
    key = tuple((n, type(task)) for n, task in tasks.items())
    if layout is not None:
        key += tuple((n, v.shape, v.dtype) for n, v in layout.inputs.items())
    if key not in engines:
        engines[key] = Engine(model, tasks, layout)
    return engines[key]


class Engine(Network):
    """The model as explanations see it: float tensors in, one number for each class or task out.

    A float input is moved along a path as it is; a text enters at the output of its `Embedding`, an entity at that of
    its `NodeVectors`. What jumps is held: ids, the outputs of `Presence` and `TokenMask`, and the mask of a
    `keras.layers.Masking`, which are steps and have no slope.

    Args:
        model: A `keras.Model`.
        tasks: `{task: task}`: what `tasks.build_task` makes, or `outputs.Output`s of another model.
        layout: A `Layout` or `ClosedLayout`. Defaults to the `Layout` of the model.

    Attributes:
        Those of `Network`, and
        kinds: `{input: layout of the recipe}`; told by `asked`, or else guessed from the shapes.
        groups: `{input: ..}`: lengths of the cells of a table, the numbers that are one; of an entity how many
            neighbours a place has.
        maps: `{input: where its feature map is}`, as `Layout.feature_map`, `None` where it has none.

    Raises:
        BackendError: When Keras does not run on TensorFlow.
    """

    def __init__(self, model, tasks, layout=None):
        require_tensorflow("explanation")
        super().__init__(tasks, layout or Layout(model))
        self._scored, self.probes, self._blanks, self._seen = OrderedDict(), {}, None, None
        inputs = self._layout.inputs
        self.kinds = {n: self._kind(n) for n in inputs}
        self.groups = {n: self._layout.neighbours(n) for n, kind in self.kinds.items() if kind == "entity"}
        self.maps = {n: self._layout.feature_map(n, kind) for n, kind in self.kinds.items()}
        self._compile()

    def _compile(self):
        inputs, specs = self._layout.inputs, {}
        for path, layer in self._layout.steps.items():
            value = self._layout.places[path][0]
            is_mask = isinstance(layer, layers.Masking)
            specs[path] = _spec(value.shape[:-1] if is_mask else value.shape, "bool" if is_mask else value.dtype)
        specs |= {n: _spec(inputs[n].shape, inputs[n].dtype) for n in self._held if n in inputs}
        moving = {n: _spec((None, *self._layout.entry_shape(n)), "float32") for n in self.entries}
        self.signature = moving, specs, tf.TensorSpec([None], tf.int32)
        self._mapped, self.coalition_functions = {}, {}  # the second is what `coalitions` compiles
        self._observe = compiled(self.observed, {n: _spec(v.shape, v.dtype) for n, v in inputs.items()})
        self._evaluate = compiled(self.value, *self.signature)
        self._differentiate = compiled(self._differentiated, *self.signature)

    def asked(self, kinds=None, groups=None, feature_maps=None, blanks=None):
        """Returns the same engine, compiled functions and all, told what its inputs are.

        Args:
            kinds: `{input: layout of the recipe}`, of some.
            groups: `{input: lengths of its cells}`, of some tables.
            feature_maps: `{input: path}`: layers whose output is the feature map, in place of those found.
            blanks: `{input: array (1, ...)}`, what stands for nothing, as the model takes it. Defaults to zeros where
                the inputs enter.

        Raises:
            DataError: On an unknown input or path, and on a layer that holds no feature map of the input.
        """
        told = copy.copy(self)
        told.kinds, told.groups = self.kinds | (kinds or {}), self.groups | (groups or {})
        told.maps = {n: self._layout.feature_map(n, kind) for n, kind in told.kinds.items()}
        for name, path in (feature_maps or {}).items():
            told.maps[name] = self._chosen(name, path, told.kinds)
        told._blanks = None if blanks is None else (blanks, self.observe(blanks).entries)
        return told

    def starting(self, tensors, names):
        """Returns the same engine, whose maps are measured from some inputs' values that are not blank.

        Args:
            tensors: `{input: array (1, ...)}`, as the model takes them.
            names: The inputs meant; the others start at their blank value, and what is missing stays missing.
        """
        told, entries = copy.copy(self), self.observe(tensors).entries
        starts = {n: v if n in names else np.zeros_like(v) for n, v in entries.items()}
        told._blanks = {n: np.zeros_like(t) for n, t in tensors.items()}, starts
        return told

    def scored(self, score):
        """Returns an engine of one column, a function of the outputs.

        Args:
            score: `{task: tensor (rows, ...)}` to a tensor `(rows,)`, made of `keras.ops` or TensorFlow. The tensors
                are what explanations read: logits where a task has classes, else the model's own output.
        """
        if score not in self._scored:
            engine = copy.copy(self)
            engine._seen = None
            engine._score, engine.probes, engine.columns = score, {}, {n: slice(0, 1) for n in self.columns}
            engine._compile()
            self._scored[score] = engine
            while len(self._scored) > MOST_SCORES:
                self._scored.popitem(last=False)
        told = copy.copy(self._scored[score])
        told.kinds, told.groups, told.maps, told._blanks = self.kinds, self.groups, self.maps, self._blanks
        return told

    def blank(self, entries):
        """Returns what stands for nothing where the inputs enter, like `entries`."""
        if self._blanks is None:
            return {n: np.zeros_like(v) for n, v in entries.items()}
        return {n: np.broadcast_to(self._blanks[1][n], v.shape).astype(v.dtype) for n, v in entries.items()}

    def present(self, name, tensor):
        """Returns bool `(rows,)`: whether an input, as the model takes it, holds anything; if not, its map is zero."""
        blank = 0 if self._blanks is None else self._blanks[0][name]
        return np.any((tensor != blank).reshape(len(tensor), -1), axis=1)

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
        if self._seen is not None and self._seen[0] is tensors:
            return self._seen[1]
        return _in_chunks(self._observe, len(next(iter(tensors.values()))), {n: tensors[n] for n in self.kinds})

    def having_seen(self, tensors):
        """Returns `(the same engine, the batch observed)`; it does not run this batch again while it is asked."""
        told = copy.copy(self)
        told._seen = tensors, self.observe(tensors)
        return told, told._seen[1]

    def evaluate(self, entries, held, column):
        """Returns one output of each row, float32 `(rows,)`; the arguments are those of `differentiate`."""
        return _in_chunks(self._evaluate, len(column), entries, held, column)

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

    def differentiate_maps(self, entries, held, column):
        """Returns the feature maps of each row, and the gradient of one output by them.

        Args:
            entries: As of `differentiate`.
            held: As of `differentiate`.
            column: As of `differentiate`.

        Returns:
            `{input: (map, gradient)}`, both float32 `(rows, *places, channels)`, of the inputs that have a map; a
            video's places are `(frames, height, width)`.
        """
        places = tuple((n, place) for n, place in self.maps.items() if place)
        if places not in self._mapped:
            self._mapped[places] = compiled(lambda *given: self._by_maps(places, *given), *self.signature)
        return _in_chunks(self._mapped[places], len(column), entries, held, column)

    def is_chance(self, column):
        """Whether an output is the logit of a probability."""
        return self._score is None and self._chances[column] >= 0

    def channels(self, place):
        """Returns how many channels a feature map has."""
        return self._layout.places[place[0]][place[1]].shape[-1]

    def _differentiated(self, entries, held, column):
        with tf.GradientTape() as tape:
            tape.watch(entries)
            values = self.value(entries, held, column)
        return values, tape.gradient(values, entries, unconnected_gradients="zero")

    def _by_maps(self, places, entries, held, column):
        return self.slopes(places, entries, held, column)[1]

    def _kind(self, name):
        """Returns what an input most likely holds."""
        value = self._layout.inputs[name]
        path = self.entries.get(name)
        if path and type(self._layout.places[path][0].operation).__name__ == "NodeVectors":
            return "entity"
        if name in self.closed or (path and len(value.shape) == 2):
            return "text"
        if len(value.shape) == 3:  # a sound is read as a picture, a sequence is not
            return "audio" if self._layout.feature_map(name, "audio") else "series"
        return {4: "image", 5: "video"}.get(len(value.shape), "vector")

    def _chosen(self, name, path, kinds):
        if name not in kinds:
            raise DataError(f"`layers` names an unknown input {name!r}.{nearest(name, kinds)} Known: {list(kinds)}")
        if not self.paths:
            raise DataError(f"a subclassed model has no graph in which to find the layer {path!r}.")
        if path not in self._layout.places:
            close = nearest(path, self._layout.places)
            raise DataError(f"the model has no layer {path!r}.{close} A nested layer is written 'outer/inner'.")
        found = self._layout.at(path, name, kinds[name])
        if found is None:
            wanted = "(rows, height, width, channels)" if PLACES.get(kinds[name]) != 1 else "(rows, steps, channels)"
            shapes = [v.shape for v in self._layout.places[path]]
            raise DataError(f"layer {path!r} holds no feature map {wanted} of {name!r}. Received: shapes {shapes}")
        return found


def _spec(shape, dtype):
    return tf.TensorSpec([None, *shape[1:]], dtype)


def _in_chunks(function, rows, *trees):
    parts = []
    for start in range(0, rows, CHUNK_ROWS):
        chunk = tf.nest.map_structure(lambda v, s=start: v[s : s + CHUNK_ROWS], trees)
        parts.append(tf.nest.map_structure(lambda t: t.numpy(), function(*chunk)))
    return tf.nest.map_structure(lambda *p: np.concatenate(p), *parts)
