"""A model whose weights are drawn anew, from its outputs down."""

import keras
import numpy as np

from mm_keras.explanation.graph import is_functional

# What is drawn anew, growing: a map that stays the same when all of it is does not explain the model.
STAGES = ("heads", "heads and fusion", "all")


def randomised(model, stage, seed=0):
    """Returns a copy of a model with some of its weights drawn anew, as they would be before training.

    Tables that hold data, not knowledge (weights that are not trained and begin as zeros), stay.

    Args:
        model: A functional `keras.Model`.
        stage: One of `STAGES`: what is drawn anew.
        seed: Of the draws.

    Reference:
        Adebayo et al. 2018, arXiv:1810.03292, section 3 (cascading randomization). Differs: three stages.
    """
    keras.utils.set_random_seed(seed)
    copy = keras.models.clone_model(model)
    for own, new in _pairs(model, copy):
        for weight, drawn in zip(own.weights, new.weights, strict=True):
            is_table = not weight.trainable and "moving" not in weight.path and not np.any(drawn.numpy())
            if is_table or not _is_drawn(own.name, stage):
                drawn.assign(weight)
    return copy


def _pairs(model, copy):
    """Yields the layers of both side by side; those of the members of an ensemble, which are nested, one by one."""
    for own, new in zip(model.layers, copy.layers, strict=True):
        if own.name.startswith("member_") and is_functional(own):
            yield from _pairs(own, new)
        else:
            yield own, new


def _is_drawn(name, stage):
    if stage == "all":
        return True
    is_head = name.endswith("_logits")
    return is_head if stage == "heads" else is_head or "_encoder" not in name
