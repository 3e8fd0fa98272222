"""What is fitted once the epochs are over: fusions that learn from the finished answers of each input."""

import keras
import numpy as np


def fusions_to_fit(model, tasks):
    """Returns `{task: layer}` of the fusions of decisions that have a `fit_on`; see `DecisionStacking`."""
    layers = {task: model.get_layer(f"{task}_logits") for task in tasks}
    return {task: layer for task, layer in layers.items() if hasattr(layer, "fit_on")}


def fit_fusions(model, inputs, fusions, batches):
    """Fits fusions on rows that the model was not trained on.

    Args:
        model: What `build_model` returned, trained.
        inputs: Names of the inputs.
        fusions: As `fusions_to_fit` returns them.
        batches: A `tf.data.Dataset` of `(tensors, {task: targets}, {task: weights})`.

    Returns:
        `{task: how many rows it was fitted on}`.
    """
    heads = {task: {n: model.get_layer(f"{task}_{n}_logits").output for n in inputs} for task in fusions}
    present = {n: model.get_layer(f"{n}_present").output for n in inputs}
    network = keras.Model(model.input, (heads, present))
    parts = [((*network(tensors, training=False), *known)) for tensors, *known in batches]
    logits, present, targets, weights = keras.tree.map_structure(
        lambda *rows: np.concatenate([np.asarray(r) for r in rows]), *parts
    )
    return {t: fusion.fit_on(logits[t], present, targets[t], weights[t]) for t, fusion in fusions.items()}
