"""Steps of pictures folded into the batch, so that layers for one picture run on each of them."""

import inspect
from dataclasses import replace

import keras
from keras import layers, ops

from mm_keras.encoders.masking import ApplyMask, TokenMask
from mm_keras.encoders.plain import complete


@keras.saving.register_keras_serializable("mm_keras")
class FoldSteps(layers.Layer):
    """Makes a row of every step.

    Input shape:
        `(batch, steps, ...)`; all axes but the first are fixed.
    Output shape:
        `(batch * steps, ...)`.
    """

    def call(self, x):
        return ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_shape(self, input_shape):
        return (None, *input_shape[2:])


@keras.saving.register_keras_serializable("mm_keras")
class UnfoldSteps(layers.Layer):
    """Undoes `FoldSteps`.

    Args:
        steps: Steps of a row.
    Input shape:
        `(batch * steps, ...)`.
    Output shape:
        `(batch, steps, ...)`.
    """

    def __init__(self, steps, **kwargs):
        super().__init__(**kwargs)
        self.steps = steps

    def call(self, x):
        return ops.reshape(x, (-1, self.steps, *x.shape[1:]))

    def compute_output_shape(self, input_shape):
        return (None, self.steps, *input_shape[1:])

    def get_config(self):
        return {**super().get_config(), "steps": self.steps}


def encode_steps(build, inputs, encoder, tensor, options):
    """Runs the builder of a picture's encoder on every step: a generator with the depths of that builder.

    What it yields has at most four axes, `(batch, steps, places, channels)`, which LiteRT multiplies by a mask.

    Args:
        build: A builder of `registry.ENCODERS["image"]`, which may return what `plain.complete` takes.
        inputs: Float `(batch, steps, height, width, channels)`; a step of zeros is padding.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo` of `inputs`.
        options: Of the builder.

    Returns:
        `(embeddings (batch, steps, units), zero where there is no step; mask (batch, steps))`.
    """
    steps, mask, sent = tensor.shape[0], TokenMask()(inputs), None
    each = FoldSteps()(inputs)
    built = build(each, encoder, replace(tensor, shape=tensor.shape[1:]), **options)
    if not inspect.isgenerator(built):
        built = complete(built, each)
    while inspect.isgenerator(built):
        try:
            state = built.send(sent)
        except StopIteration as end:
            built = end.value
            break
        unfolded = {f"each_{k}": _unfold(x, steps) for k, x in state.items()}
        unfolded = yield {"features": unfolded.pop("each_features"), "mask": mask, **unfolded}
        mask = unfolded["mask"]
        sent = {k: _fold(unfolded["features" if k == "features" else f"each_{k}"], x.shape) for k, x in state.items()}
    embeddings = UnfoldSteps(steps)(built["embedding"])
    return ApplyMask()([embeddings, mask]), mask


def _unfold(x, steps):
    if len(x.shape) > 3:
        x = layers.Reshape((-1, x.shape[-1]))(x)
    return UnfoldSteps(steps)(x)


def _fold(x, shape):
    x = FoldSteps()(x)
    return layers.Reshape(shape[1:])(x) if len(shape) > 3 else x
