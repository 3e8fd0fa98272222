"""tf-keras-vis on any input of any model: the one place that calls it, imported when a method of it is asked for.

It sees one ordinary model, a float tensor in and one score out: a single layer in whose call the traced graph runs, the
other inputs held. So nothing is cloned, no layer of the user's model is added to or changed, and ids, masks, dicts and
nested models never meet the library.
"""

import math
import warnings
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

from mm_keras.explanation.panels import value_range
from mm_keras.preprocessing.chain import compiled


def saliency(engine, name, entries, held, column):
    """Returns tf-keras-vis's gradient of an output by one input, signed, like `entries[name]`, of one row."""
    from tf_keras_vis.saliency import Saliency

    model, probe, _ = _probe(engine, name, entries, held, column)
    seed = [_seed(probe, entries[name])]
    (found,) = Saliency(model)(_first, seed, keepdims=True, normalize_map=False, gradient_modifier=None)
    return np.asarray(found).reshape(entries[name].shape)


def class_activation_map(kind, engine, name, entries, held, column):
    """Returns a map of tf-keras-vis, `(1, *places)` of the feature map, of one row.

    Args:
        kind: Name of its class: `"Gradcam"`, `"GradcamPlusPlus"` or `"Layercam"`.
        engine: An `Engine`.
        name: The input.
        entries: As `Engine.observe` returns them.
        held: As `Engine.observe` returns them.
        column: Int32 `(1,)`.
    """
    with _quiet():
        from tf_keras_vis.gradcam import Gradcam
        from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
        from tf_keras_vis.layercam import Layercam

    model, probe, tap = _probe(engine, name, entries, held, column)
    method = {c.__name__: c for c in (Gradcam, GradcamPlusPlus, Layercam)}[kind]
    return np.asarray(method(model)(_first, [_seed(probe, entries[name])], **_places(tap)))


def score_weighted_map(engine, name, entries, held, column, most):
    """Returns its Score-CAM, `(1, *places)` of the feature map, of one row, from at most so many channels."""
    with _quiet():
        from tf_keras_vis.scorecam import Scorecam

    model, probe, tap = _probe(engine, name, entries, held, column)
    if not engine.is_chance(column[0]):
        # How far a number came from its blank value, of its whole way; a softmax of the number would be 0 or 1.
        blank = engine.blank(entries)
        low, high = (float(engine.evaluate(e, held, column)[0]) for e in (entries | {name: blank[name]}, entries))
        probe.ends.assign([low, low + max(abs(high - low), 1e-6)])
    options = _places(tap) | {"max_N": min(most, tap.output.shape[-1]), "batch_size": 64}
    probe.mode.assign(1)
    with _silent():
        return np.asarray(Scorecam(model)(_second, [_seed(probe, entries[name])], **options))


def climb(engine, name, entries, held, column, steps, kind):
    """Returns the input after its activation maximisation, like `entries[name]`, of one row."""
    with _quiet():
        from tf_keras_vis.activation_maximization import ActivationMaximization

    model, probe, _ = _probe(engine, name, entries, held, column)
    start = _seed(probe, entries[name])
    low, high = value_range(entries[name]) if kind in ("image", "views", "video") else (None, None)
    span = float(np.ptp(entries[name])) or 1.0 if high is None else high - low
    probe.is_compiled = True
    try:
        with _quiet():  # it takes no regularisers for old ones
            (found,) = ActivationMaximization(model)(
                _first,
                seed_input=[start],
                input_range=(low, high),
                input_modifiers=[],
                regularizers=[],
                steps=steps,
                optimizer=keras.optimizers.SGD(span / 64),
                gradient_modifier=lambda g: g / (tf.reduce_max(tf.abs(g)) + 1e-12),
                unconnected_gradients="zero",
            )
    finally:
        probe.is_compiled = False
    return np.asarray(found, np.float32).reshape(entries[name].shape)


class Probe(keras.layers.Layer):
    """The traced graph as a layer of one input, with two scores and a feature map.

    Args:
        engine: An `Engine`.
        name: The input left open.
    Input shape:
        Float `(rows, *places, numbers)`: the input where it enters, in the rank of its feature map, which the library
        wants; `(rows, ...)` of one that has none.
    Output shape:
        `[scores (rows, 2), feature map (rows, *places, channels)]`, the second only of an input that has one. The
        first score is the output less its own value, so that no exponential of it overflows, with its gradient. While
        `mode` is 1, the two are logits of all else and of the output, of which a softmax may be taken.
    """

    def __init__(self, engine, name):
        super().__init__(dtype="float32", autocast=False)
        self.engine, self.open_name = engine, name
        moving, held, _ = engine.signature
        self.given = [(n, _variable(s)) for n, s in moving.items() if n != name]
        self.held = [(p, _variable(s)) for p, s in held.items()]
        self.column = tf.Variable([0], shape=[None], trainable=False)
        self.ends = tf.Variable([0.0, 1.0], trainable=False)
        self.mode = tf.Variable(0, trainable=False)
        self.is_compiled = False
        axes, self.tail = len(_places_of(engine.maps[name])), moving[name].shape[1:]
        self.tail = self.tail[axes:] if axes else self.tail
        self.shape = (*moving[name].shape[1 : 1 + axes], math.prod(self.tail)) if axes else tuple(self.tail)
        self.compiled = compiled(self._run, tf.TensorSpec([None, *self.shape]))

    def set(self, entries, held, column):
        """Holds everything but the open input; `{..: array (1, ...)}`."""
        for n, variable in self.given:
            variable.assign(entries[n])
        for path, variable in self.held:
            variable.assign(held[path])
        self.column.assign(column)
        self.mode.assign(0)

    def call(self, x):
        return self.compiled(x) if self.is_compiled else self._run(x)

    def _run(self, x):
        if self.engine.maps[self.open_name]:
            x = tf.reshape(x, tf.concat([tf.shape(x)[:-1], self.tail], axis=0))
        rows, found, place = tf.shape(x)[0], {}, self.engine.maps[self.open_name]
        given = {n: _tiled(v, rows) for n, v in self.given} | {self.open_name: x}
        held, column = {p: _tiled(v, rows) for p, v in self.held}, _tiled(self.column, rows)
        inside = {place[0]: self.engine.tap(self.open_name, place, found)} if place else None
        value, odds = self.engine.value(given, held, column, inside, with_odds=True)
        first = tf.where(self.mode == 0, value - tf.stop_gradient(value), tf.zeros_like(value))
        second = (odds - self.ends[0]) / (self.ends[1] - self.ends[0])
        scores = tf.stack([first, second], axis=1)
        return [scores, found[self.open_name]] if place else scores

    def compute_output_spec(self, x):
        scores, place = keras.KerasTensor((None, 2)), self.engine.maps[self.open_name]
        if not place:
            return scores
        return [scores, keras.KerasTensor((None, *_places_of(place), self.engine.channels(place)))]


class Tap(keras.layers.Layer):
    """What tf-keras-vis takes for a layer: it reads `output` alone."""

    def __init__(self, tensor):
        super().__init__()
        self._made = (tensor,)

    @property
    def output(self):
        return self._made[0]


def _probe(engine, name, entries, held, column):
    """Returns `(model, probe, tap)` of one input, built once for an engine, with everything else held."""
    key = name, engine.maps[name]
    if key not in engine.probes:
        probe = Probe(engine, name)
        made = probe(x := keras.Input(probe.shape, name="entry"))
        scores, features = made if engine.maps[name] else (made, None)
        engine.probes[key] = keras.Model([x], scores), probe, features is not None and Tap(features)
    model, probe, tap = engine.probes[key]
    probe.set(entries, held, column)
    return model, probe, tap


def _seed(probe, entry):
    """Returns an entry `(1, ...)` as the probe takes it."""
    return tf.constant(
        entry.reshape(*entry.shape[: len(probe.shape)], -1) if len(probe.tail) != entry.ndim - 1 else entry
    )


def _places_of(place):
    """Returns an open size for each axis of places of a feature map."""
    return () if place is None else (None,) * (1 + (place[2] is not None) + (place[3] is not None))


def _places(tap):
    return {
        "penultimate_layer": tap,
        "seek_penultimate_conv_layer": False,
        "expand_cam": False,
        "normalize_cam": False,
    }


def _first(scores):
    return scores[:, 0]


def _second(scores):
    return scores[:, 1]


def _variable(spec):
    shape = [1, *(s or 1 for s in spec.shape[1:])]
    return tf.Variable(tf.zeros(shape, spec.dtype), shape=[None, *spec.shape[1:]], trainable=False)


def _tiled(variable, rows):
    value = variable.read_value()
    return tf.ensure_shape(tf.repeat(value, rows, axis=0), [None, *variable.shape[1:]])


@contextmanager
def _quiet():
    """While the library names parts of SciPy and of itself that are to go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextmanager
def _silent():
    """While it calls `predict`, which would draw a bar."""
    was_on = keras.config.is_interactive_logging_enabled()
    keras.config.disable_interactive_logging()
    try:
        yield
    finally:
        if was_on:
            keras.config.enable_interactive_logging()
