"""Networks of keras.applications: names, scaling, size, blocks; what is frozen does not move."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mm_keras.recipe as parts
from mm_keras.encoders import build_encoder
from mm_keras.encoders.backbones import make_network, scale_pixels
from mm_keras.encoders.blocks import split_blocks
from mm_keras.recipe import TensorInfo
from mm_keras.recipe.backbones import BACKBONES, FAMILIES

SLOW = pytest.mark.slow
OTHERS = ("ConvNeXtTiny", "ResNet50", "EfficientNetV2B0", "DenseNet121", "MobileNetV3Large", "Xception")


def photo(size=(16, 16), channels=3, **encoder):
    return parts.Image(size=size, channels=channels, encoder={"kind": "backbone", "size": "tiny", **encoder})


def encoder_of(spec):
    return build_encoder("photo", spec, TensorInfo(shape=(*spec.size, spec.channels)))


def test_the_list_is_that_of_keras():
    public = {n for n, f in vars(keras.applications).items() if inspect.isfunction(f)}
    assert set(BACKBONES) == public


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.module)
def test_pixels_get_the_scale_that_the_network_was_trained_with(family):
    pixels = np.random.default_rng(0).uniform(0, 1, (2, 5, 4, 3)).astype(np.float32)
    inputs = keras.Input((5, 4, 3))
    model = keras.Model(inputs, scale_pixels(inputs, family.scaling))
    module = getattr(keras.applications, family.module)
    expected = module.preprocess_input(255 * pixels.copy())
    # Of pixels up to 255 in float32.
    np.testing.assert_allclose(model(pixels), expected, rtol=0, atol=5e-5)
    again = keras.Model.from_config(model.get_config())
    np.testing.assert_array_equal(again(pixels), model(pixels))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.module)
def test_the_smallest_side_is_that_of_keras(family):
    build = getattr(keras.applications, family.names[0])
    with pytest.raises(ValueError, match="at least"):
        build(include_top=False, weights=None, input_shape=(family.smallest - 1, 90, 3))


def test_a_small_grey_picture_is_enlarged_and_repeated():
    keras.utils.set_random_seed(0)
    encoder = encoder_of(photo((12, 10), channels=1))
    network = encoder.get_layer("backbone")
    assert network.input.shape == (None, 39, 32, 3)
    grey = np.random.default_rng(0).uniform(0, 1, (2, 12, 10, 1)).astype(np.float32)
    large = tf.image.resize(grey, (39, 32))
    features = network(2 * np.repeat(large, 3, axis=-1) - 1, training=False)
    got = encoder(grey, training=False)["tokens"]
    np.testing.assert_allclose(got, np.reshape(features, (2, -1, 1280)), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(encoder(grey)["tokens"], got)  # inference is what a bare call means


@pytest.mark.parametrize(
    ("name", "count", "last"),
    [
        # Counted in the papers: a stem, the stages' blocks, a last convolution where there is one.
        ("MobileNetV2", 1 + 17 + 1, "Conv_1"),
        ("VGG16", 5, "block5_conv1"),
        ("EfficientNetB0", 1 + 16 + 1, "top_conv"),
        pytest.param("MobileNetV3Small", 1 + 11 + 1, "conv_1", marks=SLOW),
        pytest.param("ResNet50", 1 + 16, "conv5_block3_1_conv", marks=SLOW),
        pytest.param("ResNet50V2", 1 + 16, "conv5_block3_preact_bn", marks=SLOW),
        pytest.param("DenseNet121", 1 + 58 + 3, "conv5_block16_0_bn", marks=SLOW),
        pytest.param("ConvNeXtTiny", 1 + 18 + 3, "convnext_tiny_stage_3_block_2_depthwise_conv", marks=SLOW),
    ],
)
def test_blocks_are_those_of_the_paper(name, count, last):
    network = make_network({"name": name, "alpha": 1.0}, (64, 64, 3))
    blocks = split_blocks(network)
    assert [layer.name for block in blocks for layer in block] == [layer.name for layer in network.layers]
    assert len(blocks) == count
    assert blocks[-1][0].name == last


def test_a_block_never_ends_inside_a_residual():
    inputs = keras.Input((8,))
    x = layers.Dense(8, name="stem")(inputs)
    y = layers.Dense(8, name="one")(x)
    y = layers.Dense(8, name="two")(y)
    x = layers.Activation("relu", name="out")(layers.Add(name="sum")([x, y]))
    x = layers.Dense(8, name="block2_a")(x)
    x = layers.Dense(8, name="block2_b")(x)
    model = keras.Model(inputs, layers.Dense(1, name="last")(x))
    names = [[layer.name for layer in block] for block in split_blocks(model)]
    assert names[1:] == [["one", "two", "sum", "out"], ["block2_a", "block2_b"], ["last"]]
    assert names[0][1:] == ["stem"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_families_store_and_come_back(name, tmp_path):
    encoder = encoder_of(photo((40, 40), options={"name": name}))
    encoder.save(tmp_path / "encoder.keras")
    pixels = np.random.default_rng(0).uniform(0, 1, (2, 40, 40, 3)).astype(np.float32)
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(again(pixels)["embedding"], encoder(pixels)["embedding"])
