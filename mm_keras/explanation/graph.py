"""Runs a functional graph again with some of its tensors replaced. The one place that calls private parts of Keras."""

from dataclasses import dataclass, field

import keras
import tensorflow as tf


def trace(model, inputs, replace, prefix=""):
    """Runs a functional model's layers on `inputs`, opening the models nested in it.

    The layers are the model's own, so the result follows further training, and nothing is added to the model when
    `inputs` are real tensors (inside a `tf.function`, say).

    Args:
        model: A functional or sequential `keras.Model`.
        inputs: Tensors in the structure of the model's input, or a list in the order of `model.inputs`.
        replace: `{path: tensor or function}`; a tensor is taken as that layer's output in place of running it, with the
            mask that the layer would have attached; a function is called with the layer and its arguments, and what it
            returns is taken. The path of a layer is its name, after the names of the models around it:
            `"title_encoder/embedding"`; a second use of it is `"title_encoder/embedding'"`.
        prefix: Of the paths.

    Returns:
        `(outputs, {path: output})`, the second with every layer that ran or was replaced.
    """
    taps = {}

    def bind(operation):
        def run(*args, **kwargs):
            path = _free(prefix + operation.name, taps)
            swap = replace.get(path)
            if callable(swap):
                result = swap(operation, *args, **kwargs)
            elif swap is not None:
                result = _masked_as_by(operation, swap, args)
            elif is_functional(operation):
                result, inner = trace(operation, args[0], replace, f"{path}/")
                taps.update(inner)
            else:
                result = operation(*args, **kwargs)
            taps[path] = result
            return result

        return run

    return _graph(model)._run_through_graph(inputs, operation_fn=bind), taps


@dataclass(eq=False)
class Value:
    """One tensor of a graph.

    Args:
        path: Of the layer that gives it, as in `trace`; of an input, its name.
        operation: That layer; `None` of an input.
        index: Its number among the layer's outputs.
        shape: `(batch, ...)`, `None` where it is open.
        dtype: A string.
        sources: The `Value`s that the layer took.
    """

    path: str
    operation: object
    index: int
    shape: tuple
    dtype: str
    sources: tuple = field(default=(), repr=False)


def walk(model):
    """Lists the tensors of a functional model, nested models opened, without running it.

    Returns:
        `([inputs], [outputs], {path: [what the layer there gives]})`, each a `Value`; inputs and outputs in the order
        of `model.inputs` and `model.outputs`, paths in the order in which they run.

    Raises:
        ValueError: When the model is not functional, so that it has no graph to run.
    """
    if not is_functional(model):
        kind = type(model).__name__
        raise ValueError(f"only a functional keras.Model has a graph to walk. Received: {kind} {model.name!r}")
    inputs = [Value(t.name, None, 0, tuple(t.shape), t.dtype) for t in model.inputs]
    outputs, places = _walk(model, inputs, "")
    return inputs, outputs, places


def _walk(model, inputs, prefix):
    graph, places = _graph(model), {}
    known = {id(t): value for t, value in zip(graph.inputs, inputs, strict=True)}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if not node.operation or node.is_input:
                continue
            path = _free(prefix + node.operation.name, places)
            sources = tuple(known[id(t)] for t in node.input_tensors)
            if is_functional(node.operation):
                made, inner = _walk(node.operation, sources, f"{path}/")
                places |= inner
            else:
                made = [
                    Value(path, node.operation, i, tuple(t.shape), t.dtype, sources) for i, t in enumerate(node.outputs)
                ]
            places[path] = made
            known |= {id(t): value for t, value in zip(node.outputs, made, strict=True)}
    return [known[id(t)] for t in graph.outputs], places


def mask_of(tensor):
    """Returns the mask that Keras layers attached to a tensor, or `None`."""
    return getattr(tensor, "_keras_mask", None)


def with_mask(tensor, mask):
    """Returns the tensor with a mask attached, as Keras layers do."""
    tensor = tf.identity(tensor)  # the one that came may be in use elsewhere
    tensor._keras_mask = mask
    return tensor


def is_functional(operation):
    """Whether an operation is a model with a graph of its own."""
    is_sequential = isinstance(operation, keras.Sequential)
    return operation._functional is not None if is_sequential else hasattr(operation, "_run_through_graph")


def _graph(model):
    return model._functional if isinstance(model, keras.Sequential) else model


def _masked_as_by(operation, tensor, args):
    """Attaches the mask that `Embedding(mask_zero=True)`, say, makes of the ids it would have taken."""
    if not getattr(operation, "supports_masking", False) or not args:
        return tensor
    mask = operation.compute_mask(args[0], mask_of(args[0]))
    return tensor if mask is None else with_mask(tensor, mask)


def _free(path, taken):
    while path in taken:
        path += "'"
    return path
