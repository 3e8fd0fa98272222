"""Which inputs are cut to the longest row of a batch in training, and what cannot be."""

from mm_keras.registry import ANY_LENGTH


def is_sequence(spec):
    """Whether rows of an input have lengths of their own: texts, and vectors with `steps`."""
    return spec.layout in ("text", "series")


def check_bucket(recipe):
    """Raises when `training.bucket` has nothing to cut, or an encoder that needs the whole length.

    Args:
        recipe: A `Recipe`.

    Raises:
        ValueError: With the input, its encoder, and what would do.
    """
    if not recipe.training.bucket:
        return
    sequences = {name: spec for name, spec in recipe.inputs.items() if is_sequence(spec)}
    if not sequences:
        kinds = {name: spec.layout for name, spec in recipe.inputs.items()}
        raise ValueError(
            f"training.bucket: needs a text, or a vector with `steps`; other inputs have one length. Received: {kinds}"
        )
    for name, spec in sequences.items():
        if spec.encoder_kind not in ANY_LENGTH[spec.kind]:
            raise ValueError(
                f"training.bucket: inputs.{name}.encoder {spec.encoder_kind!r} is not known to answer padded and cut "
                f"rows alike. Take one of {sorted(ANY_LENGTH[spec.kind])}, or, where it does, add it to "
                f"`registry.ANY_LENGTH[{spec.kind!r}]`."
            )
