"""Texts and pictures through a network of KerasHub, from a preset folder or from scratch."""

import json

import keras
from keras import layers, ops

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import FullMask, MaskedPooling, TokenMask, pool_depth
from mm_keras.encoders.transformer import DEPTH, HEAD_UNITS

try:
    import keras_hub
except ImportError:  # an extra; the recipe has said so
    keras_hub = None

PATCH = 4


def build_text_hub(inputs, encoder, tensor):
    """A text network of KerasHub; without a preset, a BERT of one, two or four blocks drawn at random.

    Ids come with the preset's own [CLS] and [SEP], put there by preprocessing. Its states are its one depth; the
    network itself is the layer `backbone`.

    Args:
        inputs: Int32 ids `(batch, length)`; 0 pads.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`; its `network` is the configuration of a preset.

    Returns:
        `{"tokens": (batch, length, channels), "mask": (batch, length), "embedding": (batch, units)}`.

    Reference:
        Devlin et al. 2019, arXiv:1810.04805, section 3. Differs: tokens are pooled by their mean and maximum, not by
        the one of [CLS].
    """
    units, mask = UNITS[encoder.size], TokenMask()(inputs)
    if tensor.network:
        network = text_network(json.loads(tensor.network)["backbone"])
    else:
        network = _as_backbone(
            keras_hub.models.BertBackbone(
                vocabulary_size=tensor.vocabulary_size,
                num_layers=DEPTH[encoder.size],
                num_heads=units // HEAD_UNITS,
                hidden_dim=units,
                intermediate_dim=4 * units,
                dropout=encoder.dropout,
                max_sequence_length=tensor.shape[0],
            )
        )
    known = {
        "token_ids": inputs,
        "padding_mask": ops.cast(mask, "int32"),
        "segment_ids": ops.zeros_like(inputs),
    }
    x = network({name: known[name] for name in network.input})
    return (yield from pool_depth(x, mask, units, encoder.dropout))


def build_image_hub(inputs, encoder, tensor):
    """An image network of KerasHub; without a preset, a ViT of one, two or four blocks drawn at random.

    Pictures get the scale and the size of the preset. Its last tokens, or positions of its last feature map, are its
    one depth; the network itself is the layer `backbone`.

    Args:
        inputs: Float `(batch, height, width, 3)` in [0, 1].
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`; its `network` is the configuration of a preset.

    Returns:
        `{"tokens": (batch, steps, channels), "mask": ones, "embedding": (batch, units)}`.

    Reference:
        Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1; Radford et al. 2021, arXiv:2103.00020, section 2.4.
        Differs: tokens are pooled by their mean and maximum, not by that of the class.
    """
    units = UNITS[encoder.size]
    if tensor.network:
        preset = json.loads(tensor.network)
        network = image_network(preset["backbone"])
        x = layers.Rescaling(preset["scale"], preset["offset"], dtype="float32")(inputs)
    else:
        sides = [-(-side // PATCH) * PATCH for side in tensor.shape[:2]]
        network = _as_backbone(
            keras_hub.models.ViTBackbone(
                image_shape=(*sides, 3),
                patch_size=PATCH,
                num_layers=DEPTH[encoder.size],
                num_heads=units // HEAD_UNITS,
                hidden_dim=units,
                mlp_dim=4 * units,
                dropout_rate=encoder.dropout,
            )
        )
        x = layers.Rescaling(2.0, -1.0, dtype="float32")(inputs)
    place = network.input["images"] if isinstance(network.input, dict) else network.input
    if None not in place.shape[1:3] and tuple(place.shape[1:3]) != tuple(tensor.shape[:2]):
        x = ops.image.resize(x, place.shape[1:3])
    x = network({"images": x} if isinstance(network.input, dict) else x)
    if len(x.shape) == 4:
        x = layers.Reshape((-1, x.shape[-1]))(x)
    tokens = (yield {"features": x})["features"]
    mask = FullMask()(tokens)
    embedding = layers.Dense(units, activation="relu")(MaskedPooling()([tokens, mask]))
    return {"tokens": tokens, "mask": mask, "embedding": layers.Dropout(encoder.dropout)(embedding)}


def text_network(config, weights=None):
    """Returns the text network of a preset's `config.json`, up to its sequence of states.

    Args:
        config: What the file says.
        weights: Path of the preset's weights, or `None`.
    """
    return _as_backbone(_made(config, weights))


def image_network(config, weights=None):
    """Returns the image network of a preset's `config.json`, or the image half of a pair; as `text_network`."""
    network = _made(config, weights)
    return _as_backbone(getattr(network, "vision_encoder", network))


def _made(config, weights):
    network = keras.saving.deserialize_keras_object(_without_dtype(config))
    if weights is not None:
        network.load_weights(weights)
    return network


def _without_dtype(config):
    """The precision is the recipe's, not the preset's."""
    if not isinstance(config, dict):
        return config
    return {k: _without_dtype(v) for k, v in config.items() if k != "dtype"}


def _as_backbone(network):
    """Cuts what stands behind the states: the pooled output of BERT would have weights that nothing trains."""
    if isinstance(network.output, dict):
        return keras.Model(network.input, network.output["sequence_output"], name="backbone")
    network.name = "backbone"  # itself: some of its layers are stored by the whole alone
    return network
