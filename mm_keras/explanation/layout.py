"""Where the inputs of a model enter, what in it jumps, and where its feature maps are."""

import math

import keras
from keras import layers

from mm_keras.encoders.folding import FoldSteps, UnfoldSteps
from mm_keras.encoders.graph import Neighbourhood, NodeVectors
from mm_keras.encoders.masking import TokenMask
from mm_keras.encoders.missing import Presence
from mm_keras.explanation.graph import is_functional, trace, walk

# Where ids become vectors that can be moved.
ENTRIES = (layers.Embedding, NodeVectors)
# What jumps: outputs of these are held as they are for the example. Of `Masking` it is the mask alone.
STEPS = (Presence, TokenMask)
# How many axes of places a kind has, which is also what its feature maps have.
PLACES = {"image": 2, "audio": 2, "views": 3, "video": 3, "text": 1, "series": 1}


class Layout:
    """A functional model as its graph tells it.

    Args:
        model: A functional or sequential `keras.Model`.

    Attributes:
        inputs: `{input: Value}`.
        outputs: `{output: Value}`.
        entries: `{input: path or None}`: the layer whose output stands for the input, `None` the input itself.
        twins: `{path: paths}` of these layers: the same layer in each of several models nested side by side, whose
            outputs together, along the last axis, stand for the input; elsewhere the path alone.
        closed: Names of inputs that have no entry; none here.
        steps: `{path: layer}` of what jumps.
        places: `{path: [Value]}` of every layer.

    Raises:
        ValueError: When an input is no float tensor, and becomes none before it meets another one.
    """

    closed = ()

    def __init__(self, model):
        self._model = model
        inputs, outputs, self.places = walk(model)
        self._maps = {}
        self._order = input_names(model)
        found = dict(zip(self._order, inputs, strict=True))
        self.inputs = {n: found[n] for n in (model.input if isinstance(model.input, dict) else found)}
        self.outputs = dict(zip(output_names(model), outputs, strict=True))
        self._live, self._origins = _ancestors(outputs), self._find_origins()
        # A nested model gives what a layer in it gives.
        first = {p: v[0].operation for p, v in self.places.items() if v and v[0].path == p}
        self.steps = {p: op for p, op in first.items() if isinstance(op, (*STEPS, layers.Masking))}
        self.entries = {n: None if is_float(v.dtype) else self._entry(n) for n, v in self.inputs.items()}
        self.twins = {path: self._twins(path) for path in self.entries.values() if path}

    def entry_shape(self, name):
        """Returns the shape of an input where it enters, without the batch."""
        path = self.entries[name]
        if not path:
            return self.inputs[name].shape[1:]
        return (*self.places[path][0].shape[1:-1], sum(self.entry_sizes(path)))

    def entry_sizes(self, path):
        """Returns the length of the last axis of each of a path's `twins`."""
        return [self.places[p][0].shape[-1] for p in self.twins[path]]

    def neighbours(self, name):
        """Returns how many neighbours are listed of each place of an entity; 0 where none are."""
        lists = (v[0] for v in self.places.values() if v and isinstance(v[0].operation, Neighbourhood))
        return next((v.operation.shape[1] for v in lists if self._origins[v] == {name}), 0)

    def run(self, tensors, replace):
        """Runs the model on `{input: tensor}`; returns `({output: tensor}, {path: output})`, as `trace`."""
        outputs, taps = trace(self._model, [tensors[n] for n in self._order], replace)
        return dict(zip(self.outputs, keras.tree.flatten(outputs), strict=True)), taps

    def feature_map(self, name, kind):
        """Returns where an input's feature map is read, `(path, index of the output, grid or None, steps or None)`.

        It is the last tensor that depends on this input alone, that the outputs depend on, and that has places as the
        input has: of a picture or sound the last of four axes, or tokens after it, one for each of its places; of a
        text or sequence the last of three. `None` when there is none behind a layer that learned something: where the
        first such layer takes all places together, as a recurrent one does, there is no map but the input.

        Args:
            name: The input.
            kind: What it holds, a layout of the recipe.
        """
        if (name, kind) not in self._maps:
            self._maps[name, kind] = self._find_map(name, kind)
        return self._maps[name, kind]

    def _find_map(self, name, kind):
        found = grid = None
        for path, values in self.places.items():
            for value in values:
                if value.path != path or not self._is_of(value, name):
                    continue
                if PLACES.get(kind, 0) == 1:
                    if len(value.shape) == 3 and _count(value.shape[1:2]) > 1:
                        found = path, value.index, None, None
                elif kind in PLACES:
                    is_folded = kind in ("image", "audio") or self._folded(value)
                    if len(value.shape) == 4 and _count(value.shape[1:3]) > 1 and is_folded:
                        grid = tuple(value.shape[1:3])
                        found = path, value.index, grid, self._steps_of(name, kind)
                    elif grid and len(value.shape) == 3 and value.shape[1] == _count(grid) and is_folded:
                        found = path, value.index, grid, self._steps_of(name, kind)
        return found

    def at(self, path, name, kind):
        """Returns the same as `feature_map` for a path that is named, or `None` when it holds no map of the input."""
        for value in self.places.get(path, []):
            if kind not in PLACES or name not in self._origins[value] or len(value.shape) < 3:
                continue
            if PLACES[kind] == 1:
                return (value.path, value.index, None, None) if len(value.shape) == 3 else None
            default = self.feature_map(name, kind)
            grid = tuple(value.shape[1:3]) if len(value.shape) == 4 else default and default[2]
            if grid and _count(value.shape[1:-1]) == _count(grid):
                return value.path, value.index, grid, self._steps_of(name, kind)
        return None

    def _steps_of(self, name, kind):
        return self.inputs[name].shape[1] if kind in ("views", "video") else None

    def _is_of(self, value, name):
        is_of = value in self._live and self._origins[value] == {name} and is_float(value.dtype)
        return is_of and value.path not in self.twins.get(self.entries[name], ()) and self._is_learned(value)

    @staticmethod
    def _is_learned(value):
        """Whether a layer with weights, other than an embedding of ids, stands before a value or gives it."""
        return any(
            getattr(v.operation, "weights", None) and not isinstance(v.operation, ENTRIES) for v in _ancestors([value])
        )

    def _twins(self, path):
        """Returns the first layer of this kind, on this input, of each outermost model; names in them may differ."""
        first, found = self.places[path][0], {path.partition("/")[0]: path}
        for other, (value, *_) in self.places.items():
            outer, _, inner = other.partition("/")
            is_like = value.path == other and type(value.operation) is type(first.operation)
            if inner and "/" in path and is_like and self._origins[value] == self._origins[first]:
                found.setdefault(outer, other)
        return tuple(found.values())

    def _find_origins(self):
        """Returns `{Value: names of the inputs it moves with}`: what jumps moves with none."""
        origins = {v: frozenset([n]) for n, v in self.inputs.items()}
        for values in self.places.values():
            for value in values:
                if value not in origins:
                    held = isinstance(value.operation, STEPS)
                    origins[value] = frozenset() if held else frozenset().union(*(origins[s] for s in value.sources))
        return origins

    def _folded(self, value):
        """Whether the steps of a value stand among its rows: the last of the folding layers before it says so."""
        while value.sources:
            if isinstance(value.operation, FoldSteps | UnfoldSteps):
                return isinstance(value.operation, FoldSteps)
            value = max(value.sources, key=lambda v: len(v.shape))
        return False

    def _entry(self, name):
        """Returns the first float tensor of an input of ids: an embedding's before any other."""
        alone = [(p, v[0]) for p, v in self.places.items() if len(v) == 1 and self._origins[v[0]] == {name}]
        found = [p for p, v in alone if v.path == p and is_float(v.dtype) and v in self._live]
        embedded = [p for p in found if isinstance(self.places[p][0].operation, ENTRIES)]
        longer = [p for p in found if len(self.places[p][0].shape) > len(self.inputs[name].shape)]
        if not found:
            raise ValueError(
                f"input {name!r} is no float tensor, and no layer makes one of it alone, such as "
                "keras.layers.Embedding, to enter at."
            )
        return (embedded or longer or found)[0]


class ClosedLayout:
    """A subclassed model: what goes in and what comes out, and nothing between.

    Args:
        model: The `keras.Model`.
        inputs: `{input: array (rows, ...)}`, as the model takes them.
        pack: `{input: tensor} -> what the model takes`.

    Attributes:
        As of `Layout`; an input of ids is `closed`, and there are no places.
    """

    def __init__(self, model, inputs, pack):
        self._model, self._pack, self.steps, self.places, self.twins = model, pack, {}, {}, {}
        self.inputs = {n: keras.KerasTensor((None, *v.shape[1:]), str(v.dtype), name=n) for n, v in inputs.items()}
        self.entries = {n: None for n, v in self.inputs.items() if is_float(v.dtype)}
        self.closed = tuple(n for n in self.inputs if n not in self.entries)
        made = self._named(model(pack({n: keras.ops.convert_to_tensor(v) for n, v in inputs.items()}), training=False))
        self.outputs = {n: keras.KerasTensor((None, *t.shape[1:]), keras.backend.standardize_dtype(t.dtype))
                        for n, t in made.items()}  # fmt: skip

    def entry_shape(self, name):
        """As of `Layout`."""
        return self.inputs[name].shape[1:]

    def run(self, tensors, replace):
        """As of `Layout`, with nothing to replace and no paths."""
        return self._named(self._model(self._pack(tensors), training=False)), {}

    def feature_map(self, name, kind):
        """Returns `None`: what stands inside is not known."""
        return None

    @staticmethod
    def _named(outputs):
        if isinstance(outputs, dict):
            return dict(outputs)
        if isinstance(outputs, list | tuple):
            return {f"output_{i}": t for i, t in enumerate(outputs)}
        return {"output": outputs}


def input_names(model):
    """Returns the names of a functional model's inputs, in the order of `model.inputs`: its keys, or of the tensors."""
    if is_functional(model) and isinstance(model.input, dict):
        by_tensor = {id(t): n for n, t in model.input.items()}
        return [by_tensor[id(t)] for t in model.inputs]
    return [t.name for t in model.inputs]


def output_names(model):
    """Returns the names of a functional model's outputs, in the order of `model.outputs`: its keys, or the layers'."""
    if isinstance(model.output, dict):
        return sorted(model.output)
    names = []
    for tensor in model.outputs:
        name = tensor._keras_history.operation.name
        names.append(name if name not in names else f"{name}_{len(names)}")
    return names


def is_float(dtype):
    """Whether a tensor of this dtype can be moved."""
    return keras.backend.is_float_dtype(dtype)


def _ancestors(values):
    found, left = set(values), list(values)
    while left:
        new = [s for s in left.pop().sources if s not in found]
        found.update(new)
        left += new
    return found


def _count(sizes):
    """Returns how many places there are; an open size counts as two."""
    return math.prod(2 if s is None else s for s in sizes)
