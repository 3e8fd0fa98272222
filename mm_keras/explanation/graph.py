"""Runs a functional graph again with some of its tensors replaced. The one place that calls a private part of Keras."""


def trace(model, inputs, replace, prefix=""):
    """Runs a functional model's layers on `inputs`, opening the models nested in it.

    The layers are the model's own, so the result follows further training, and nothing is added to the model when
    `inputs` are real tensors (inside a `tf.function`, say).

    Args:
        model: A functional `keras.Model`.
        inputs: Tensors in the structure of the model's input.
        replace: `{path: tensor}`; taken as that layer's output in place of running it. The path of a layer is its
            name, after the names of the models around it: `"title_encoder/embedding"`.
        prefix: Of the paths.

    Returns:
        `(outputs, {path: output})`, the second with every layer that ran or was replaced.
    """
    taps = {}

    def bind(operation):
        def run(*args, **kwargs):
            path = prefix + operation.name
            if path in replace:
                result = replace[path]
            elif _is_functional(operation):
                result, inner = trace(operation, args[0], replace, f"{path}/")
                taps.update(inner)
            else:
                result = operation(*args, **kwargs)
            taps[path] = result
            return result

        return run

    return model._run_through_graph(inputs, operation_fn=bind), taps


def layers_by_path(model, prefix=""):
    """Returns `{path: layer}` of a functional model, nested models opened, with the paths of `trace`.

    Raises:
        ValueError: When the model is not functional, so that it has no graph to run.
    """
    if not _is_functional(model):
        kind = type(model).__name__
        raise ValueError(f"only a functional keras.Model can be explained. Received: {kind} {model.name!r}")
    found = {}
    for layer in model.layers:
        found[prefix + layer.name] = layer
        if _is_functional(layer):
            found |= layers_by_path(layer, f"{prefix}{layer.name}/")
    return found


def _is_functional(operation):
    return hasattr(operation, "_run_through_graph")
