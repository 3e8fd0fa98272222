"""What is explained: examples of a run of the house, or one of any Keras model. Two adapters with one face.

A subject has `engine`, told what the inputs are; `tasks`; `tensors` `{input: array (rows, ...)}` of the examples;
`blanks`, the same `(1, ...)` of one that holds nothing, or `None` where that is zeros; `started`, the inputs whose maps
start at a baseline that was given; and `panel(input, row, attribution)`, the map and the `Panel` for a person.
"""

import keras
import numpy as np

from mm_keras.errors import DataError
from mm_keras.explanation.engine import engine_for
from mm_keras.explanation.graph import is_functional
from mm_keras.explanation.layout import ClosedLayout, Layout, input_names
from mm_keras.explanation.outputs import outputs_of
from mm_keras.explanation.panels import PLAIN, make_panel, make_plain_panel
from mm_keras.preprocessing.raw import raw_batch
from mm_keras.registry import nearest
from mm_keras.training.run import load_run


def run_engine(run, model=None, layers=None, baselines=None):
    """Returns the `Engine` of a run, told what its inputs are.

    Args:
        run: A `Run`.
        model: Another model of the same network. Defaults to the run's.
        layers: `{input: path}` of feature maps, or `None`.
        baselines: `{field: raw value}` that maps are measured from, of some inputs. Defaults to blank values.

    Raises:
        DataError: On an unknown field, input or layer, and on a baseline that cannot be decoded.
    """
    kinds = {n: p.spec.layout for n, p in run.preprocessors.items()}
    groups = {n: p.tensor.groups for n, p in run.preprocessors.items() if p.tensor.groups}
    engine = engine_for(run.model if model is None else model, run.tasks).asked(kinds, groups, layers)
    if not baselines:
        return engine
    tensors, fine = run.encode([baselines])
    if bad := [n for n, ok in fine.items() if not ok.all()]:
        raise DataError(f"`baselines`: {', '.join(bad)} cannot be decoded.")
    return engine.starting(tensors, inputs_of(run, baselines))


def inputs_of(run, fields):
    """Returns the names of the inputs that any of these fields are of."""
    return tuple(n for n, p in run.preprocessors.items() if p.raw_specs.keys() & set(fields))


class RunSubject:
    """Examples of a run.

    Args:
        run: A `Run` or its folder.
        examples: Of `{field: raw value}`; an absent field is missing.
        layers: `{input: path}` of feature maps, or `None`.
        baselines: As of `run_engine`.

    Raises:
        DataError: On an unknown field, input or layer, and on a value that cannot be decoded.
    """

    def __init__(self, run, examples, layers=None, baselines=None):
        self._run = run = load_run(run)
        self._raw, (self.tensors, fine) = raw_batch(run.preprocessors, examples), run.encode(examples)
        if bad := {n: np.flatnonzero(~ok).tolist() for n, ok in fine.items() if not ok.all()}:
            named = ", ".join(n if len(examples) == 1 else f"{n} (of example {rows[0]})" for n, rows in bad.items())
            raise DataError(f"the example's {named} cannot be decoded, so there is nothing to explain.")
        self.blanks = None
        self.tasks = run.tasks
        self.engine, self.started = run_engine(run, layers=layers, baselines=baselines), inputs_of(run, baselines or ())

    def panel(self, name, row, attribution):
        """Returns `(map, Panel)` of one input of one example."""
        preprocessor = self._run.preprocessors[name]
        raw = {f: self._raw[f][row] for f in preprocessor.raw_specs}
        return make_panel(preprocessor, self.tensors[name][row], attribution, raw)


class ModelSubject:
    """An example of a Keras model that mm_keras did not build.

    Args:
        model: A `keras.Model`, functional or subclassed.
        example: What it takes, without the batch: `{input: array}`, a list in the order of its inputs, or one array.
        inputs: What its inputs hold, in the same structure: words of `panels.PLAIN`.
        layers: `{input: path}` of feature maps, or `None`.
        baselines: `{input: array}` that stands for nothing, of some inputs. Defaults to zeros.
        names: `{input: names of its parts}`, of some: of a text the words by id, of others the columns or features, or
            a function of the input's array to the names of its parts; and `{output: names of its units}`.

    Raises:
        DataError: On what does not fit the model: a name, a kind, a shape, a layer.
    """

    def __init__(self, model, example, inputs, layers=None, baselines=None, names=None):
        known = input_names(model) if is_functional(model) else None
        if inputs is None:
            raise DataError(
                "a Keras model does not say what its inputs hold; give `inputs`, such as "
                f"{ {n: 'image' for n in known or ['input']} }. Known kinds: {list(PLAIN)}"
            )
        given, self._kinds = _named(example, known, "example"), _named(inputs, known, "inputs")
        _check(self._kinds, given, known)
        self._names, blanks = names or {}, _named(baselines or {}, known, "baselines")
        if strange := [n for n in blanks if n not in given]:
            raise DataError(f"`baselines` names an unknown input {strange[0]!r}.{nearest(strange[0], given)}")
        layout = _layout(model) if known else None
        self.tensors = {n: _array(n, v, self._kinds[n], layout) for n, v in given.items()}
        zeros = {n: np.zeros_like(t) for n, t in self.tensors.items()}
        self.started = tuple(blanks)
        self.blanks = zeros | {n: _array(n, v, self._kinds[n], layout) for n, v in blanks.items()}
        if layout is None:
            layout = ClosedLayout(model, self.tensors, _packing(example))
        self.tasks = outputs_of(layout, {n: names[n] for n in layout.outputs if n in (names or {})})
        self.engine = engine_for(model, self.tasks, layout).asked(self._kinds, None, layers, self.blanks)

    def panel(self, name, row, attribution):
        """Returns `(map, Panel)` of one input of the example."""
        own = self._names.get(name)
        return make_plain_panel(self._kinds[name], self.tensors[name][row], self.blanks[name][0], attribution, own)


def subject_of(model, example, inputs, layers, baselines, names):
    """Returns the subject of a run, its folder, or a Keras model."""
    if isinstance(model, keras.Model):
        return ModelSubject(model, example, inputs, layers, baselines, names)
    if inputs or names:
        raise DataError("`inputs` and `names` are of a Keras model; a run knows its own.")
    return RunSubject(model, [example], layers, baselines)


def _layout(model):
    """Returns the model's `Layout`, made once."""
    if "_explanation_layout" not in vars(model):
        try:
            vars(model)["_explanation_layout"] = Layout(model)
        except ValueError as error:
            raise DataError(str(error)) from None
    return vars(model)["_explanation_layout"]


def _named(given, known, what):
    """Returns `{input: value}` of what comes as a dict, a list or alone."""
    if isinstance(given, dict):
        return dict(given)
    values = list(given) if isinstance(given, list | tuple) else [given]
    names = known or ([f"input_{i}" for i in range(len(values))] if isinstance(given, list | tuple) else ["input"])
    if len(values) != len(names):
        raise DataError(f"the model has {len(names)} inputs, {names}. Received: {what} of {len(values)}")
    return dict(zip(names, values, strict=True))


def _packing(example):
    """Returns a function that makes of `{input: tensor}` what a subclassed model takes: the example's own structure."""
    if isinstance(example, dict):
        return dict
    return (lambda tensors: list(tensors.values())) if isinstance(example, list | tuple) else _only


def _only(tensors):
    (tensor,) = tensors.values()
    return tensor


def _check(kinds, given, known):
    wanted = known or list(given)
    for what, words in (("inputs", kinds), ("the example", given)):
        if strange := [n for n in words if n not in wanted]:
            close = nearest(strange[0], wanted)
            raise DataError(f"{what}: the model has no input {strange[0]!r}.{close} Its inputs: {wanted}")
        if absent := [n for n in wanted if n not in words]:
            raise DataError(f"{what}: nothing is said of the model's {absent}. Received: {list(words)}")
    for name, kind in kinds.items():
        if kind not in PLAIN:
            close = nearest(kind, PLAIN)
            raise DataError(f"input {name!r}: unknown kind {kind!r}.{close} Known: {list(PLAIN)}")


def _array(name, value, kind, layout):
    """Returns one input as a batch of one row, in the dtype and shape that the model takes."""
    value = np.asarray(value)
    if value.dtype.kind not in "fiub":
        raise DataError(f"input {name!r}: numbers are wanted, of a text its ids. Received: dtype {value.dtype}")
    if layout is None:
        return value[None].astype("int32" if kind == "text" else "float32")
    shape = layout.inputs[name].shape[1:]
    if len(shape) != value.ndim or any(s not in (None, v) for s, v in zip(shape, value.shape, strict=True)):
        raise DataError(f"input {name!r}: expected one row of shape {shape}, without a batch. Received: {value.shape}")
    return value[None].astype(layout.inputs[name].dtype)
