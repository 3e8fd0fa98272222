"""Which weights an encoder may start from, and which of them may be trained; checked before Keras is imported."""

from mm_keras.recipe.backbones import check_backbone
from mm_keras.recipe.hub import check_hub

# Encoders around a network trained elsewhere: the layer `backbone`, which has blocks.
WITH_BACKBONE = {("image", "backbone"), ("image", "hub"), ("text", "hub")}


def check_transfer(spec):
    """Raises when an input's encoder is to start from, or to train, what it does not have.

    Args:
        spec: An input, whose encoder is known.

    Raises:
        ValueError: With what was expected.
    """
    encoder, kind = spec.encoder, (spec.kind, spec.encoder_kind)
    if kind == ("image", "backbone"):
        check_backbone(spec.encoder_options, spec.channels, encoder.train)
    if kind[1] == "hub":
        check_hub(spec)
    if encoder.weights == "imagenet" and kind != ("image", "backbone"):
        raise ValueError(f"`weights: imagenet` is for the image encoder 'backbone'. Received: {kind[1]!r}")
    if encoder.weights_input and not encoder.weights:
        raise ValueError(f"`weights_input` needs `weights`, a run folder. Received: {encoder.weights_input!r}")
    if encoder.train == "last" and kind not in WITH_BACKBONE:
        kinds = sorted(k for m, k in WITH_BACKBONE if m == spec.kind)
        raise ValueError(
            f"`train: last` needs an encoder with blocks{f', one of {kinds}' if kinds else ''}; {kind[1]!r} trains "
            "whole or not at all."
        )
    if (encoder.train != "all" or encoder.rate != 1.0) and not encoder.weights:
        raise ValueError(
            "weights drawn at random must be trained: give `weights`, or leave `train` and `rate` out. "
            f"Received: train={encoder.train!r}, rate={encoder.rate}"
        )
