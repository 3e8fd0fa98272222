"""Any Keras layer or model as an encoder."""

from keras import layers

from mm_keras.encoders.masking import ApplyMask, FullMask, MaskedPooling, TokenMask
from mm_keras.errors import RecipeError
from mm_keras.extension import copy_weights, make_layer


def encode_with_layer(entry, inputs, encoder):
    """Runs a layer on an input, and completes what it gives.

    Args:
        entry: A Keras layer or model, or a class, which gets the recipe's options.
        inputs: A `keras.Input`.
        encoder: `recipe.Encoder`.

    Returns:
        As `complete`.
    """
    layer = make_layer(entry, **encoder.options)
    try:
        output = layer(inputs)
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"the layer {layer.name!r} does not take the input {tuple(inputs.shape)}, {inputs.dtype}: {error}"
        ) from None
    copy_weights(entry, layer)
    return complete(output, inputs)


def complete(output, inputs):
    """Makes tokens, mask and embedding of what an encoder gives.

    Args:
        output: `(batch, units)`, the embedding, which is also the only token; `(batch, steps, units)`, or
            `(batch, height, width, units)`, tokens whose mean and maximum are the embedding; or the dict itself. When
            there are as many steps as the input has, those that are all zero there are padding.
        inputs: The encoder's input.

    Returns:
        `{"tokens": (batch, steps, units), "mask": (batch, steps), "embedding": (batch, units or 2 * units)}`.

    Raises:
        RecipeError: On another form.
    """
    if isinstance(output, dict) and output.keys() >= {"tokens", "mask", "embedding"}:
        return {k: output[k] for k in ("tokens", "mask", "embedding")}
    rank = len(getattr(output, "shape", ()))
    if rank not in (2, 3, 4):
        raise RecipeError(
            "an encoder gives (batch, units), (batch, steps, units), (batch, height, width, units), or a dict of "
            f"tokens, mask and embedding. Received: {getattr(output, 'shape', type(output).__name__)}"
        )
    if rank == 2:
        tokens = layers.Reshape((1, output.shape[-1]))(output)
        return {"tokens": tokens, "mask": FullMask()(tokens), "embedding": output}
    if rank == 4:
        output = layers.Reshape((output.shape[1] * output.shape[2], output.shape[3]))(output)
    stepwise = rank == 3 and len(inputs.shape) in (2, 3) and _has_steps(inputs) and output.shape[1] == inputs.shape[1]
    mask = TokenMask()(inputs) if stepwise else FullMask()(output)
    tokens = ApplyMask()([output, mask])
    return {"tokens": tokens, "mask": mask, "embedding": MaskedPooling()([tokens, mask])}


def _has_steps(inputs):
    """Ids, or vectors in a row; the numbers of one vector are no steps."""
    return len(inputs.shape) == 3 or "int" in inputs.dtype
