"""What is fitted once the epochs are over: fusions that learn from the finished answers of each input."""

import keras
import numpy as np


def fusions_to_fit(model, tasks):
    """Returns `{task: layer}` of the fusions of decisions that have a `fit_on`; see `DecisionStacking`."""
    layers = {task: model.get_layer(f"{task}_logits") for task in tasks}
    return {task: layer for task, layer in layers.items() if hasattr(layer, "fit_on")}


def fit_fusions(model, inputs, fusions, batches, folds=5):
    """Fits fusions on rows that the model was not trained on.

    Args:
        model: What `build_model` returned, trained.
        inputs: Names of the inputs.
        fusions: As `fusions_to_fit` returns them.
        batches: A `tf.data.Dataset` of `(tensors, {task: targets}, {task: weights})`.
        folds: In how many parts the rows are told apart for the second result.

    Returns:
        `({task: how many rows it was fitted on}, {task: logits (labelled rows, ...)})`: the second by fusions fitted on
        the other parts, for what is fitted to their answers next, a temperature say.
    """
    heads = {task: {n: model.get_layer(f"{task}_{n}_logits").output for n in inputs} for task in fusions}
    present = {n: model.get_layer(f"{n}_present").output for n in inputs}
    network = keras.Model(model.input, (heads, present))
    parts = [((*network(tensors, training=False), *known)) for tensors, *known in batches]
    logits, present, targets, weights = keras.tree.map_structure(
        lambda *rows: np.concatenate([np.asarray(r) for r in rows]), *parts
    )
    counts, held_out = {}, {}
    for task, fusion in fusions.items():
        arrays = (logits[task], present, targets[task], weights[task])
        held_out[task] = _cross_fitted(fusion, _taken(arrays, weights[task] > 0), folds)
        counts[task] = fusion.fit_on(*arrays)
    return counts, held_out


def _cross_fitted(fusion, arrays, folds):
    """Returns the fusion's logits of each part of the rows, fitted on the others; leaves it fitted somehow."""
    part = np.arange(len(arrays[-1])) % folds
    found = np.zeros_like(arrays[2])
    for fold in np.unique(part):
        logits, present, *_ = _taken(arrays, part == fold)
        fusion.fit_on(*_taken(arrays, part != fold))
        found[part == fold] = np.asarray(fusion(logits, present, training=False))
    return found


def _taken(arrays, at):
    return keras.tree.map_structure(lambda rows: rows[at], arrays)
