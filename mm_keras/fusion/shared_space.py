"""What fusions in a shared space begin with: every embedding brought to one size, and which inputs count."""

from keras import layers, ops


def build_projections(embeddings_shape, units, activation=None, name="project", dtype=None):
    """Returns `{input: built Dense}`, from each input's embedding to `units` numbers; inputs sorted by name."""
    projections = {}
    for i, key in enumerate(sorted(embeddings_shape)):
        projections[key] = layers.Dense(units, activation=activation, dtype=dtype, name=f"{name}_{i}")
        projections[key].build(embeddings_shape[key])
    return projections


def project(projections, embeddings):
    """Returns the inputs side by side in the shared space, `(batch, inputs, units)`, sorted by name."""
    return ops.stack([dense(embeddings[name]) for name, dense in projections.items()], axis=1)


def kept_inputs(present, names, like):
    """Returns `(batch, inputs)`, 1 for what is present and 0 for the rest; all ones in a row where nothing is.

    Args:
        present: `{input: (batch, 1)}` of ones and zeros, or `None`, which keeps all.
        names: Order of the inputs.
        like: `(batch, ..)`, whose batch and dtype the result has.
    """
    if present is None:
        return ops.ones((ops.shape(like)[0], len(names)), like.dtype)
    keep = ops.concatenate([ops.cast(present[name], like.dtype) for name in names], axis=-1)
    return ops.maximum(keep, 1.0 - ops.max(keep, axis=-1, keepdims=True))


def mean_of_kept(x, keep):
    """Means `(batch, inputs, ..., units)` over the inputs that `keep`, `(batch, inputs)`, keeps."""
    shares = ops.cast(keep / ops.sum(keep, axis=-1, keepdims=True), x.dtype)
    for _ in range(len(x.shape) - 2):
        shares = ops.expand_dims(shares, -1)
    return ops.sum(x * shares, axis=1)
