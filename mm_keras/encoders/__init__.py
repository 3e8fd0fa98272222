"""Model tensor -> tokens with a mask, and their pooled embedding. Only `keras` here, so any backend trains it.

Every builder has one face: `build(inputs, encoder, tensor)` takes a `keras.Input`, the `recipe.Encoder` and the
`TensorInfo`, and returns
`{"tokens": (batch, steps, units), "mask": (batch, steps) float, 1 keeps, "embedding": (batch, units)}`.
"""

import keras

from mm_keras.registry import ENCODERS, resolve

UNITS = {"tiny": 32, "small": 64, "base": 128}


def build_encoder(name, spec, tensor, **options):
    """Returns the encoder of one input, named `<name>_encoder`.

    Args:
        name: The input's name.
        spec: The input's part of the recipe.
        tensor: `TensorInfo` of its model tensor.
        options: Passed to builders that know them: `unroll=True` for recurrent encoders that must convert.
    """
    entry = ENCODERS[spec.kind][spec.encoder_kind]
    build = resolve(entry)
    known = {k: v for k, v in options.items() if k in getattr(build, "options", ())}
    inputs = keras.Input(tensor.shape, dtype=tensor.dtype, name=f"{name}_tensor")
    return keras.Model(inputs, build(inputs, spec.encoder, tensor, **known), name=f"{name}_encoder")
