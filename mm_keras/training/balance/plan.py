"""What there is to balance in a network, and one step of it."""

from dataclasses import dataclass

import keras
import tensorflow as tf

from mm_keras.fusion import fusion_level
from mm_keras.model import encoder_parts


@dataclass(frozen=True)
class Plan:
    """What there is to balance.

    Args:
        watched: Model tensors -> `({head: logits}, {input: (batch, 1)})`, the inputs that a row has left.
        tasks: `{task: task}`.
        heads: `{head: (task, source)}`; a source is an input, or `"fusion"`.
        losses: `{head: keras loss}`.
        scales: `{task: factor on its losses}`, without a balance.
        shares: `{head: factor on its loss}`, without a balance.
        encoders: `{input: its encoder's trainable variables}`.
        shared: Variables that all tasks' losses reach: the fusion's, or the encoders' when it has none or there is one
            for each task.
        variables: All that is trained.
    """

    watched: keras.Model
    tasks: dict
    heads: dict
    losses: dict
    scales: dict
    shares: dict
    encoders: dict
    shared: list
    variables: list


@dataclass(frozen=True)
class Step:
    """One training step, its losses computed and its tape at hand.

    Args:
        tape: A `tf.GradientTape`, persistent.
        total: What the plain gradient is of: `fusion` and all `alone`, as the optimizer scales it.
        fusion: The loss of all tasks' heads of the fusion, scaled in the same way.
        alone: `{input: the loss of all tasks' own heads of that input}`, scaled too.
        losses: `{head: loss}`, neither weighed nor scaled.
        scaled: The same, scaled: in 16 bits, gradients of what is not scaled vanish.
        logits, targets, weights: `{head: (batch, ...)}`; weights `(batch,)`.
        present: `{input: (batch, 1)}`.
    """

    tape: tf.GradientTape
    total: tf.Tensor
    fusion: tf.Tensor
    alone: dict
    losses: dict
    scaled: dict
    logits: dict
    targets: dict
    weights: dict
    present: dict


def make_plan(recipe, model, network, heads, tasks, shares):
    """Returns the `Plan` of a recipe's network.

    Args:
        recipe: A `Recipe`.
        model: What `build_model` returned.
        network: The model on its layers that is trained, ending at `{head: logits}`.
        heads: `{head: task}`.
        tasks: `{task: task}`.
        shares: `{head: factor on its loss}`.
    """
    sources = {f"{t}_{n}_logits": (t, n) for t in tasks for n in recipe.inputs}
    encoders = {n: [w for part in encoder_parts(model, n) for w in part.trainable_weights] for n in recipe.inputs}
    shared = []
    if fusion_level(recipe.fusion) != "decisions":
        layers = [layer for layer in model.layers if layer.name == "fusion" or layer.name.startswith("fusion_")]
        shared = [w for layer in layers for w in layer.trainable_weights]
    # A layer's `output` is its tensors alone, in the order of their keys.
    left = keras.tree.flatten(model.get_layer("presence").output)
    present = dict(zip(sorted(recipe.inputs), left, strict=True))
    return Plan(
        watched=keras.Model(network.input, (network.output, present), name="watched"),
        tasks=tasks,
        heads={head: sources.get(head, (task, "fusion")) for head, task in heads.items()},
        losses={head: tasks[task].loss() for head, task in heads.items()},
        scales={t: task.loss_scale() * recipe.tasks[t].weight for t, task in tasks.items()},
        shares=shares,
        encoders=encoders,
        shared=shared or [w for own in encoders.values() for w in own],
        variables=network.trainable_variables,
    )


def rows_losses(loss, targets, logits):
    """Returns the loss of each row, `(batch,)`."""
    found = loss.call(targets, logits)
    return tf.reduce_mean(tf.reshape(found, [tf.shape(found)[0], -1]), axis=1)
