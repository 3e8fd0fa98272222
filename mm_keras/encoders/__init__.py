"""Model tensor -> tokens with a mask, and their pooled embedding. Only `keras` here, so any backend trains it.

Every builder has one face: `build(inputs, encoder, tensor)` takes a `keras.Input`, the `recipe.Encoder` and the
`TensorInfo`, and returns
`{"tokens": (batch, steps, units), "mask": (batch, steps) float, 1 keeps, "embedding": (batch, units)}`.

A builder may be a generator. At each of its depths it yields `{"features": (batch, ..., channels), "mask": (batch,
steps) or absent}` and goes on with the dict that it is sent: the same one, or one that a fusion has changed. It must
read its features and mask from that dict alone, since what follows becomes a model of its own.
"""

import inspect

import keras

from mm_keras.encoders.views import build_views
from mm_keras.registry import ENCODERS, resolve

UNITS = {"tiny": 32, "small": 64, "base": 128}


def build_encoder(name, spec, tensor, **options):
    """Returns the encoder of one input, a model named `<name>_encoder`.

    Args:
        name: The input's name.
        spec: The input's part of the recipe.
        tensor: `TensorInfo` of its model tensor.
        options: Passed to builders that know them: `unroll=True` for recurrent encoders that must convert.
    """
    inputs = keras.Input(tensor.shape, dtype=tensor.dtype, name=f"{name}_tensor")
    built = _begin(inputs, spec, tensor, options)
    if inspect.isgenerator(built):
        sent = None
        while True:
            try:
                sent = built.send(sent)
            except StopIteration as end:
                built = end.value
                break
    return keras.Model(inputs, built, name=f"{name}_encoder")


def encode_by_depths(name, spec, tensor, x, **options):
    """Encodes an input depth by depth: a generator for fusions that reach into the encoders.

    Every part between two depths is a model named `<name>_encoder_1`, `<name>_encoder_2`..; the last is
    `<name>_encoder`. Weights and results are those of `build_encoder` when what is sent is what was yielded.

    Args:
        name: As in `build_encoder`.
        spec: As in `build_encoder`.
        tensor: As in `build_encoder`.
        x: The input's symbolic tensor.
        options: As in `build_encoder`.

    Yields:
        `{"features": .., "mask": ..}` of each depth.

    Returns:
        What the builder returns.
    """
    inputs = keras.Input(tensor.shape, dtype=tensor.dtype, name=f"{name}_tensor")
    built = _begin(inputs, spec, tensor, options)
    if not inspect.isgenerator(built):
        return keras.Model(inputs, built, name=f"{name}_encoder")(x)
    sent, depth = None, 0
    while True:
        try:
            state = built.send(sent)
        except StopIteration as end:
            return keras.Model(inputs, end.value, name=f"{name}_encoder")(x)
        depth += 1
        x = yield keras.Model(inputs, state, name=f"{name}_encoder_{depth}")(x)
        inputs = sent = {k: keras.Input(t.shape[1:], dtype=t.dtype, name=f"{k}_{depth}") for k, t in state.items()}


def count_depths(spec, tensor):
    """Returns at how many depths an encoder yields its features."""
    inputs = keras.Input(tensor.shape, dtype=tensor.dtype)
    built = _begin(inputs, spec, tensor, {})
    count, sent = 0, None
    while inspect.isgenerator(built):
        try:
            sent = built.send(sent)
        except StopIteration:
            break
        count += 1
    return count


def _begin(inputs, spec, tensor, options):
    build = resolve(ENCODERS[spec.kind][spec.encoder_kind])
    known = {k: v for k, v in options.items() if k in getattr(build, "options", ())}
    if spec.layout == "views":
        return build_views(build, inputs, spec.encoder, tensor, known)
    return build(inputs, spec.encoder, tensor, **known)
