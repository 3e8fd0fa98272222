"""Model tensor -> tokens with a mask, and their pooled embedding. Only `keras` here, so any backend trains it.

Every builder has one face: `build(inputs, encoder, tensor)` takes a `keras.Input`, the `recipe.Encoder` with the
defaults of its options filled in, and the `TensorInfo`, and returns
`{"tokens": (batch, steps, units), "mask": (batch, steps) float, 1 keeps, "embedding": (batch, units)}`.

A builder may be a generator. At each of its depths it yields `{"features": (batch, ..., channels), "mask": (batch,
steps) or absent}` and goes on with the dict that it is sent: the same one, or one that a fusion has changed. It must
read its features and mask from that dict alone, since what follows becomes a model of its own.

A builder may also return tokens or an embedding alone, and a Keras layer or model may stand for one (`plain.complete`).
"""

import inspect
from functools import partial

import keras

from mm_keras.encoders.plain import complete, encode_with_layer
from mm_keras.encoders.views import build_views
from mm_keras.extension import is_layer
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
    inputs = keras.Input(tensor.input_shape, dtype=tensor.dtype, name=f"{name}_tensor")
    outputs = _walk(_begin(inputs, spec, tensor, options), lambda depth, state: state)
    return keras.Model(inputs, outputs, name=f"{name}_encoder")


def build_encoder_parts(name, spec, tensor, **options):
    """Returns the same encoder cut at its depths, for fusions that reach into the encoders.

    Args:
        name: As in `build_encoder`.
        spec: As in `build_encoder`.
        tensor: As in `build_encoder`.
        options: As in `build_encoder`.

    Returns:
        A list of models, `<name>_encoder_1`, `<name>_encoder_2`.. and at last `<name>_encoder`, alone when the builder
        has no depths. The first takes the model tensor, each other the dict that the one before it gives. Run one
        after the other they are `build_encoder`, with its weights in its order.
    """
    inputs, parts = keras.Input(tensor.input_shape, dtype=tensor.dtype, name=f"{name}_tensor"), []

    def cut(depth, state):
        nonlocal inputs
        parts.append(keras.Model(inputs, state, name=f"{name}_encoder_{depth}"))
        inputs = {k: keras.Input(t.shape[1:], dtype=t.dtype, name=k) for k, t in state.items()}
        return dict(inputs)

    outputs = _walk(_begin(inputs, spec, tensor, options), cut)
    return [*parts, keras.Model(inputs, outputs, name=f"{name}_encoder")]


def _walk(built, visit):
    """Runs a builder's generator to its end, sending what `visit(depth, state)` returns; returns its result."""
    if not inspect.isgenerator(built):
        return built
    depth, sent = 0, None
    while True:
        try:
            state = built.send(sent)
        except StopIteration as end:
            return end.value
        depth += 1
        sent = visit(depth, state)


def _begin(inputs, spec, tensor, options):
    build = resolve(ENCODERS[spec.kind][spec.encoder_kind])
    if is_layer(build):
        build = partial(_layer_builder, build)
    known = {k: v for k, v in options.items() if k in getattr(build, "options", ())}
    encoder = spec.encoder.model_copy(update={"options": spec.encoder_options})
    if spec.layout == "views":
        return build_views(build, inputs, encoder, tensor, known)
    built = build(inputs, encoder, tensor, **known)
    return built if inspect.isgenerator(built) else complete(built, inputs)


def _layer_builder(entry, inputs, encoder, tensor):
    return encode_with_layer(entry, inputs, encoder)
