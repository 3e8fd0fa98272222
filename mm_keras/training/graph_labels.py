"""Labels of a batch -> targets and weights of the loss, in the graph."""

import numpy as np
import tensorflow as tf


class GraphLabels:
    """What the tasks make of labels that come with their rows, equal to `targets_and_weights` of all rows at once.

    A class is looked up in what its task says of every class; a number is standardised by the operations of its task.

    Args:
        tasks: `{task: task}`, adapted.
        heads: `{head: its task}`.

    Attributes:
        tasks: Names of the tasks.
    """

    def __init__(self, tasks, heads):
        self.heads, self.tasks = heads, tuple(tasks)
        self._encoders = {n: _of_classes(t) if t.is_categorical else _of_numbers(t) for n, t in tasks.items()}

    def __call__(self, labels):
        """`{task: labels (batch,), strings or float32}` -> `({head: target (batch, ...)}, {head: weight (batch,)})`."""
        encoded = {task: self._encoders[task](labels[task]) for task in self.tasks}
        return tuple({head: encoded[task][part] for head, task in self.heads.items()} for part in (0, 1))


def _of_classes(task):
    names = ["", *task.classes]
    encoded = task.encode(names)
    targets, weights = tf.constant(task.target(encoded)), tf.constant(task.weights(encoded))
    with tf.init_scope():
        keys = tf.lookup.KeyValueTensorInitializer(tf.constant(names), tf.range(len(names)))
        table = tf.lookup.StaticHashTable(keys, -1)

    def encode(labels):
        at = table.lookup(labels)
        known = tf.debugging.Assert(tf.reduce_all(at >= 0), [f"{task.name}: a label is none of the classes", labels])
        with tf.control_dependencies([known]):
            return tf.gather(targets, at), tf.gather(weights, at)

    encode.table = table  # the graph holds no reference to it
    return encode


def _of_numbers(task):
    mean, deviation = (np.float32(task.state[k]) for k in ("mean", "deviation"))

    def encode(labels):
        known = tf.math.is_finite(labels)
        scaled = tf.where(known, (labels - mean) / deviation, 0.0)
        return scaled[:, None], tf.cast(known, tf.float32)

    return encode
