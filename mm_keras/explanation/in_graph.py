"""Gradient x input and Grad-CAM as ops of a graph, for a served model that says why."""

import math

import tensorflow as tf
from keras import ops

# Kinds whose entry has one axis behind its places: channels, or the numbers of a vector.
_DEEP = ("image", "views", "video", "entity")


def explained(engine, tensors):
    """Explains every task's answer to a batch; called while a graph is traced.

    Args:
        engine: An `Engine`, told what its inputs are.
        tensors: `{input: tensor (rows, ...)}`.

    Returns:
        `(outputs, {task: {input: map}}, {task: {input: Grad-CAM}})`: the model's own outputs; gradient x input of the
        predicted class, or of the value, a map by the parts of the input (`added_up`); Grad-CAM at the size of the
        feature map, of inputs that have one.

    Reference:
        As of `methods.gradient_x_input` and `methods.gradcam`, whose numbers these are.
    """
    seen = engine.observed(tensors)
    places = tuple((n, place) for n, place in engine.maps.items() if place)
    maps, heats = {}, {}
    for task, columns in engine.columns.items():
        column = columns.start + tf.argmax(seen.scores[:, columns], axis=1, output_type=tf.int32)
        gradients, by_map = engine.slopes(places, seen.entries, seen.held, column)
        maps[task] = {
            n: added_up(engine.kinds[n], engine.groups.get(n), g * seen.entries[n]) for n, g in gradients.items()
        }
        heats[task] = {n: _heat(*pair) * _presence(tensors[n], pair[0]) for n, pair in by_map.items()}
    return seen.outputs, maps, heats


def added_up(kind, groups, values):
    """Adds up numbers of an entry that a person sees as one: channels, a word's vector, the numbers of a cell.

    Args:
        kind: The layout of the input.
        groups: Lengths of the cells of a table, or `None`.
        values: `(rows, ...)`, an array or a tensor, in the shape of the entry.

    Returns:
        `(rows, height, width)` of a picture, `(rows, pictures, height, width)`, `(rows, tokens)`, `(rows, frames,
        bands)`, `(rows, columns)`, `(rows, features)`, `(rows, steps, features)` or `(rows, nodes)`.
    """
    if kind == "tabular" and groups:
        owner = [i for i, length in enumerate(groups) for _ in range(length)]
        return ops.matmul(values, ops.one_hot(owner, len(groups), dtype=values.dtype))
    if kind == "series":
        # What the mark of a step contributed is no feature's own.
        return values[..., :-1] + values[..., -1:] / (values.shape[-1] - 1)
    if kind == "text":  # some encoders enter with several vectors a token
        return ops.sum(ops.reshape(values, (-1, values.shape[1], math.prod(values.shape[2:]))), axis=-1)
    return ops.sum(values, axis=-1) if kind in _DEEP else values


def _heat(features, gradients):
    axes = list(range(1, len(features.shape) - 1))
    weights = tf.reduce_mean(gradients, axis=axes, keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))


def _presence(tensor, features):
    """Returns 1 for rows that have the input, else 0, in the rank of its Grad-CAM."""
    found = tf.reduce_any(tensor != 0, axis=list(range(1, len(tensor.shape))))
    return tf.reshape(tf.cast(found, tf.float32), [-1] + [1] * (len(features.shape) - 2))
