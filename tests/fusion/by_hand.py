"""Layers of the attention fusions, row by row in float64: what is masked out is left out."""

import math

import numpy as np
from keras import ops


def as_numpy(x):
    """Returns float64."""
    return np.asarray(ops.convert_to_numpy(x)).astype(np.float64)


def built(layer, *inputs, seed=0):
    """Builds a layer and gives every weight a random value."""
    layer(*inputs)
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return layer


def softmax(x):
    """Over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def dense(layer, x):
    """The linear part of a dense layer."""
    return x @ as_numpy(layer.kernel) + as_numpy(layer.bias)


def normed(layer, x):
    """Layer normalisation."""
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * as_numpy(layer.gamma) + as_numpy(layer.beta)


def gelu(x):
    """The exact one."""
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def transformer_block(block, queries, keys):
    """One row: queries `(q, units)` attend to keys `(k, units)`, perhaps none."""
    x = queries
    if len(keys):
        asking, asked = normed(block.norms[0], queries), normed(block.norms[0], keys)
        attention, output = block.attention, as_numpy(block.attention.output_dense.bias)
        for head in range(block.num_heads):
            query, key, value = (
                of @ as_numpy(d.kernel)[:, head] + as_numpy(d.bias)[head]
                for of, d in (
                    (asking, attention.query_dense),
                    (asked, attention.key_dense),
                    (asked, attention.value_dense),
                )
            )
            mixed = softmax(query @ key.T / np.sqrt(query.shape[-1])) @ value
            output = output + mixed @ as_numpy(attention.output_dense.kernel)[head]
        x = x + output
    return x + dense(block.narrow, gelu(dense(block.widen, normed(block.norms[1], x))))
