"""Compares what was written with the Keras model: same rows, every subset of the inputs, output by output."""

from itertools import combinations

import numpy as np
import tensorflow as tf

from mm_keras.exporting.checks import Check
from mm_keras.preprocessing.chain import compiled

# Measured worst cases are 2e-7 (SavedModel) and 3e-6 (LiteRT float32); the gates leave room for other machines.
SAVED_MODEL_TOLERANCE, FLOAT32_TOLERANCE = 1e-5, 1e-4
# Of LiteRT files; dynamic and int8, which round activations too, are judged by what they cost on labelled rows instead.
# Float16 measured 4e-4 on random weights, 5e-3 on a trained MobileNetV2, whose probabilities are steeper.
LITERT_TOLERANCES = {"float32": FLOAT32_TOLERANCE, "float16": 2e-2}
# Above this many inputs the subsets double past use; single inputs, pairs, all but one, and all remain.
ALL_SUBSETS_UP_TO = 8


def input_subsets(names):
    """Returns the subsets of inputs that are proven, as tuples, all inputs first; every one up to eight inputs."""
    names, sizes = tuple(names), range(len(names), 0, -1)
    if len(names) > ALL_SUBSETS_UP_TO:
        sizes = [len(names), len(names) - 1, 2, 1]
    return [subset for size in sizes for subset in combinations(names, size)]


def blank_others(tensors, subset):
    """Returns the model tensors with the inputs outside `subset` blank."""
    return {n: t if n in subset else np.zeros_like(t) for n, t in tensors.items()}


def blank_other_fields(raw, preprocessors, subset):
    """Returns the raw values with the fields of the inputs outside `subset` blank."""
    raw = dict(raw)
    for name, p in preprocessors.items():
        for field in p.raw_specs if name not in subset else ():
            raw[field] = np.empty_like(raw[field])
            raw[field][...] = p.blank[field]
    return raw


class Reference:
    """What the Keras model itself answers: one graph for all proofs, since tracing takes longer than their rows.

    Args:
        model: A Keras model, whose output `embedding`, if it has one, is left out unless asked for.
    """

    def __init__(self, model):
        specs = {x.name: tf.TensorSpec(x.shape, x.dtype, name=x.name) for x in model.inputs}
        self._call = compiled(lambda x: model(x, training=False), specs)

    def __call__(self, tensors, subsets, rows, embedding=False):
        """Returns `[{output: array}]`: the first subset on all rows, the others on `rows` rows."""
        results = []
        for i, subset in enumerate(subsets):
            given = blank_others({n: t if i == 0 else t[:rows] for n, t in tensors.items()}, subset)
            # On the CPU: a GPU's own rounding would be taken for a fault of the export.
            with tf.device("/CPU:0"):
                outputs = self._call(given)
            results.append({k: v.numpy() for k, v in outputs.items() if embedding or k != "embedding"})
        return results


def relative_difference(value, reference):
    """Returns max|value - reference| / max|reference|; infinite when a shape or a NaN differs."""
    value, reference = (np.asarray(v, np.float64) for v in (value, reference))
    if value.shape != reference.shape or not (np.isfinite(value).all() and np.isfinite(reference).all()):
        return np.inf
    return float(np.abs(value - reference).max() / max(np.abs(reference).max(), 1e-12))


def compare_outputs(artefact, signature, subset, outputs, reference, tolerance):
    """Returns a check for each output of the reference; an output that is absent differs by infinity."""
    return [
        Check(artefact, signature, "difference", name, subset, len(value),
              relative_difference(outputs[name], value) if name in outputs else np.inf, tolerance)
        for name, value in reference.items()
    ]  # fmt: skip


def compare_used(signature, subset, outputs, tensors):
    """Returns the check of a SavedModel's flags `<input>_used`: the share of rows in which one is wrong.

    Args:
        signature: Name of the signature.
        subset: The inputs that were given.
        outputs: Served outputs.
        tensors: `{input: array (rows, ...)}`, the model tensors before the others were blanked.
    """
    wrong = [
        outputs[f"{name}_used"] != (values.reshape(len(values), -1).any(axis=1) & (name in subset))
        for name, values in tensors.items()
    ]
    rows = len(wrong[0])
    return Check("SavedModel", signature, "wrong flags", "used", subset, rows, float(np.any(wrong, axis=0).mean()), 0.0)


def compare_labels(signature, subset, outputs, reference, tasks):
    """Returns a check for each classification of a SavedModel: the share of rows whose label is not the model's.

    Classes that the model holds within twice the tolerance of its best count as equal.
    """
    checks = []
    for name, task in tasks.items():
        if task.is_categorical:
            best = reference[name].max(axis=-1, keepdims=True)
            allowed = reference[name] >= best - 2 * SAVED_MODEL_TOLERANCE
            classes = np.array([c.encode() for c in task.classes], dtype=object)
            named = outputs[f"{name}_label"][:, None] == classes[None]
            listed = np.array_equal(outputs[f"{name}_classes"], np.tile(classes, (len(best), 1)))
            wrong = float(np.mean(~(named & allowed).any(axis=-1))) if listed else 1.0
            checks.append(Check("SavedModel", signature, "wrong labels", name, subset, len(best), wrong, 0.0))
    return checks
