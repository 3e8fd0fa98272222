"""The signature `explain`: the answer, and why, for those who must say so in production."""

import numpy as np
import tensorflow as tf

from mm_keras.explanation.in_graph import added_up, explained
from mm_keras.explanation.methods import METHODS


def explained_outputs(run, engine, tensors):
    """Returns `(predictions, {output: tensor (batch, ...)})` of the signature, as `explain_schema` lists them."""
    predictions, maps, heats = explained(engine, tensors)
    served = {}
    for task, by_input in maps.items():
        for name, values in by_input.items():
            served[f"{task}_{name}_map"] = values
            served[f"{task}_{name}_score"] = tf.reduce_sum(values, axis=list(range(1, len(values.shape))))
        served |= {f"{task}_{name}_cam": heat for name, heat in heats[task].items()}
    for name, p in run.preprocessors.items():
        if p.spec.layout == "text" and not p.is_bytes:
            served[f"{name}_tokens"] = tf.gather(tf.constant(["", *p.state["vocabulary"][1:]]), tensors[name])
    return predictions, served


def explain_schema(run, engine):
    """Returns `{output: {"dtype", "shape", "meaning", "signatures"}}` of what only this signature gives."""
    found, signatures = {}, ["explain"]
    for task in run.tasks:
        of = "the predicted class's logit" if run.tasks[task].is_categorical else "the value, in its own unit"
        for name, p in run.preprocessors.items():
            parts = PARTS[p.spec.layout]
            found[f"{task}_{name}_map"] = {
                "dtype": "float32", "shape": [None, *[None] * len(parts)], "signatures": signatures,
                "meaning": f"gradient x input of {of}, by {', '.join(parts)}: positive speaks for it",
            }  # fmt: skip
            found[f"{task}_{name}_score"] = {
                "dtype": "float32", "shape": [None], "signatures": signatures,
                "meaning": f"sum of `{task}_{name}_map`",
            }  # fmt: skip
            if place := engine.maps[name]:
                rank = len(found[f"{task}_{name}_map"]["shape"]) - 1
                found[f"{task}_{name}_cam"] = {
                    "dtype": "float32", "shape": [None, *[None] * rank], "signatures": signatures,
                    "meaning": f"Grad-CAM of {of} at the layer `{place[0]}`, not negative, without a unit",
                }  # fmt: skip
    for name, p in run.preprocessors.items():
        if p.spec.layout == "text" and not p.is_bytes:
            found[f"{name}_tokens"] = {
                "dtype": "string", "shape": [None, p.spec.length], "signatures": signatures,
                "meaning": f"the WordPieces that `{name}_map` speaks of; empty where the text has ended",
            }  # fmt: skip
    return found


PARTS = {
    "image": ("row", "column"),
    "views": ("view", "row", "column"),
    "video": ("frame", "row", "column"),
    "text": ("token",),
    "audio": ("frame", "band"),
    "tabular": ("field",),
    "vector": ("feature",),
    "series": ("step", "feature"),
    "entity": ("node",),
}


def reference_maps(run, engine, tensors):
    """Returns `{output: array}` of the same numbers, from the methods that `explain` calls."""
    scores, found = engine.scores(tensors), {}
    for task, columns in engine.columns.items():
        column = (columns.start + scores[:, columns].argmax(axis=1)).astype(np.int32)
        attributions, _ = METHODS["gradient_x_input"](engine, tensors, column, 1)
        for name, values in attributions.items():
            own = np.asarray(added_up(engine.kinds[name], engine.groups.get(name), values.astype(np.float32)))
            found[f"{task}_{name}_map"] = own
            found[f"{task}_{name}_score"] = own.sum(axis=tuple(range(1, own.ndim)))
    return found
