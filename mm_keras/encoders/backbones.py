"""Pictures through a network of `keras.applications`."""

import math

import keras
from keras import layers, ops

from mm_keras.encoders import UNITS
from mm_keras.encoders.image import pool_map
from mm_keras.recipe.backbones import BACKBONES

# ImageNet's means and deviations of red, green and blue in [0, 1], and its means of blue, green and red in [0, 255], as
# keras.applications.imagenet_utils has them.
TORCH_MEAN, TORCH_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)


def scale_pixels(x, scaling):
    """Gives pixels the scale that a network was trained with.

    Args:
        x: Float32 `(batch, height, width, 3)` in [0, 1].
        scaling: Of the network's `Family`.

    Returns:
        Float32 of the same shape, what `preprocess_input` of the family's module gives for pixels in [0, 255].
    """
    if scaling == "signed":
        return layers.Rescaling(2.0, -1.0, dtype="float32")(x)
    if scaling == "pixels":
        return layers.Rescaling(255.0, dtype="float32")(x)
    if scaling == "torch":
        offset = [-m / s for m, s in zip(TORCH_MEAN, TORCH_DEVIATION, strict=True)]
        return layers.Rescaling([1 / s for s in TORCH_DEVIATION], offset, dtype="float32")(x)
    return layers.Rescaling(255.0, [-m for m in CAFFE_MEAN], dtype="float32")(ops.flip(x, axis=-1))


def build_image_backbone(inputs, encoder, tensor):
    """A network of `keras.applications`, without its head; each position of its last feature map is a token.

    Pictures are scaled as the network was trained; a grey one is repeated to three channels, and one smaller than the
    network takes is enlarged until its shorter side fits. The feature map is its one depth. The network itself is the
    layer `backbone`.

    Args:
        inputs: Float `(batch, height, width, 1 or 3)` in [0, 1].
        encoder: `recipe.Encoder`; its options are the network's `name` and, for MobileNets, their width `alpha`.
        tensor: `TensorInfo`.

    Returns:
        `{"tokens": (batch, h * w, channels), "mask": ones, "embedding": (batch, units)}`.

    Reference:
        Of each network, in the documentation of `keras.applications`. Differs: the momentum of normalisation is 0.9;
        the maximum over the map is pooled beside its mean, and a dense layer follows.
    """
    family = BACKBONES[encoder.options["name"]]
    height, width, channels = tensor.shape
    x = layers.Concatenate()([inputs] * 3) if channels == 1 else inputs
    factor = family.smallest / min(height, width)
    if factor > 1:
        height, width = (math.ceil(factor * side) for side in (height, width))
        # Not the layer `Resizing`: it turns a call without `training` into one of training for all layers after it.
        x = ops.image.resize(x, (height, width))
    network = make_network(encoder.options, (height, width, 3))
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            # Theirs, 0.99 or 0.999, is for a million steps: after some hundred, inference would not know the data.
            layer.momentum = 0.9
    features = network(scale_pixels(x, family.scaling))
    x = (yield {"features": features})["features"]
    return pool_map(x, UNITS[encoder.size], encoder.dropout)


def make_network(options, shape=None, weights=None):
    """Returns the network that the options of a recipe name, without its head.

    Args:
        options: `{"name": .., "alpha": ..}`.
        shape: `(height, width, 3)`; `None` takes that of the published weights.
        weights: `None` or `"imagenet"`, which Keras downloads or has in its cache.
    """
    is_mobile = options["name"].startswith("MobileNet")
    if shape is None and is_mobile:
        shape = (224, 224, 3)  # said, or Keras warns that it takes it
    own = {"alpha": options["alpha"]} if is_mobile else {}
    build = getattr(keras.applications, options["name"])
    network = build(include_top=False, weights=weights, input_shape=shape, **own)
    network.name = "backbone"  # not as an argument, from which some of them look up their own shape
    return network
