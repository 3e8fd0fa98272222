"""Patches, blocks and positions against NumPy."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops

import mm_keras.recipe as parts
from mm_keras.encoders import build_encoder
from mm_keras.encoders.convnext import LayerScale, convnext_block
from mm_keras.encoders.patches import embed_patches
from mm_keras.encoders.recurrent import both_directions
from mm_keras.encoders.transformer import EPSILON, PairMask, RotaryAttention, rotate, transformer_block
from mm_keras.errors import RecipeError
from mm_keras.recipe import TensorInfo

RNG = np.random.default_rng(0)


def as_numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def randomised(model):
    for weight in model.weights:
        if "seed" not in weight.path:
            weight.assign(RNG.uniform(-0.5, 0.5, weight.shape))
    return model


def weights_of(model, *names):
    """Returns the weights whose path ends so, in the order of the model."""
    return [[as_numpy(w) for w in model.weights if w.path.endswith(name)] for name in names]


def normalised(x, gamma, beta):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


@pytest.mark.parametrize(("shape", "size"), [((6, 8, 3), (2, 4)), ((7, 5, 2), (3, 2))])
def test_patches_are_a_product_of_unfolded_pixels(shape, size):
    inputs = keras.Input(shape)
    x, grid = embed_patches(inputs, size, 5)
    model = randomised(keras.Model(inputs, x))
    (kernel,), (bias,) = weights_of(model, "kernel", "bias")
    pixels = RNG.normal(size=(2, *shape)).astype(np.float32)
    (rows, columns), (height, width) = grid, size
    assert grid == (math.ceil(shape[0] / height), math.ceil(shape[1] / width))
    whole = np.zeros((2, rows * height, columns * width, shape[2]))
    whole[:, : shape[0], : shape[1]] = pixels
    flat = [
        whole[:, r * height : (r + 1) * height, c * width : (c + 1) * width].reshape(2, -1)
        for r in range(rows)
        for c in range(columns)
    ]
    expected = np.stack(flat, axis=1) @ kernel.reshape(-1, 5) + bias
    np.testing.assert_allclose(as_numpy(model(pixels)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "patches"),
    [(12, 10, 9), (24, 24, 36), (28, 28, 49), (56, 56, 196), (57, 56, 56), (96, 96, 144), (224, 224, 196)],
)
def test_the_default_patch_leaves_at_most_196(height, width, patches):
    spec = parts.Image(encoder={"kind": "vit", "size": "tiny"})
    encoder = build_encoder("photo", spec, TensorInfo(shape=(height, width, 3)))
    assert encoder.output["tokens"].shape == (None, patches, 32)


def test_a_patch_must_fit_the_picture():
    spec = parts.Image(encoder={"kind": "vit", "options": {"patch": 11}})
    assert build_encoder("photo", spec, TensorInfo(shape=(9, 11, 1))).output["tokens"].shape[1] == 1
    with pytest.raises(RecipeError, match=r"must fit the picture of \(9, 10\) pixels. Received: patch=11"):
        build_encoder("photo", spec, TensorInfo(shape=(9, 10, 1)))


def test_a_convnext_block_by_hand():
    inputs = keras.Input((5, 6, 3))
    model = randomised(keras.Model(inputs, convnext_block(inputs)))
    x = RNG.normal(size=(2, 5, 6, 3)).astype(np.float32)
    (depthwise, first, second), (b0, b1, b2) = weights_of(model, "kernel", "bias")
    (gamma,), (beta,), (scale,) = weights_of(model, "gamma", "beta", "scale")
    padded = np.pad(x, [(0, 0), (3, 3), (3, 3), (0, 0)])
    y = np.zeros_like(x)
    for row in range(5):
        for column in range(6):
            window = padded[:, row : row + 7, column : column + 7]
            y[:, row, column] = np.einsum("bijc,ijc->bc", window, depthwise.reshape(7, 7, 3)) + b0
    y = gelu(normalised(y, gamma, beta) @ first + b1) @ second + b2
    np.testing.assert_allclose(as_numpy(model(x)), x + scale * y, atol=2e-5)


def test_a_layer_scale_begins_small():
    layer = LayerScale()
    np.testing.assert_allclose(as_numpy(layer(np.full((1, 2, 3), 4.0, np.float32))), 0.4)
    assert LayerScale.from_config(layer.get_config()).initial == 0.1


def turned(x):
    """Equation 14: units as complex numbers, turned by the step times each one's own rate."""
    half = x.shape[-1] // 2
    z = x[..., :half] + 1j * x[..., half:]
    rates = np.array([10_000 ** (-2 * i / x.shape[-1]) for i in range(half)])
    z = z * np.exp(1j * np.arange(x.shape[1])[:, None, None] * rates)
    return np.concatenate([z.real, z.imag], axis=-1)


def test_rotation_turns_complex_numbers():
    x = RNG.normal(size=(2, 50, 3, 8))
    np.testing.assert_allclose(as_numpy(rotate(x.astype(np.float32))), turned(x), atol=1e-5)
    np.testing.assert_array_equal(as_numpy(rotate(x.astype(np.float32)))[:, 0], x[:, 0].astype(np.float32))


def test_products_of_rotated_units_depend_on_the_distance_alone():
    query, key = (np.tile(RNG.normal(size=8), (1, 40, 1, 1)).astype(np.float32) for _ in range(2))
    products = as_numpy(ops.einsum("bqhd,bkhd->qk", rotate(query), rotate(key)))
    for distance in range(-39, 40):
        np.testing.assert_allclose(np.diag(products, distance), np.diag(products, distance)[0], atol=1e-4)
    assert np.abs(products[0] - products[0, 0])[1:].max() > 1


def test_rotary_attention_by_hand():
    inputs, mask = keras.Input((5, 8)), keras.Input((5,))
    output = RotaryAttention(2, 4, dropout=0.1)(inputs, inputs, attention_mask=PairMask()(mask))
    model = randomised(keras.Model([inputs, mask], output))
    x, keep = RNG.normal(size=(2, 5, 8)).astype(np.float32), np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0]], np.float32)
    (q, k, v, o), (bq, bk, bv, bo) = weights_of(model, "kernel", "bias")
    query, key, value = (np.einsum("bsc,chd->bshd", x, w) + b for w, b in ((q, bq), (k, bk), (v, bv)))
    scores = np.einsum("bqhd,bkhd->bhqk", turned(query), turned(key)) / 2  # the root of 4
    shares = np.exp(scores) * keep[:, None, None]
    shares /= shares.sum(-1, keepdims=True)
    expected = np.einsum("bhqk,bkhd->bqhd", shares, value)
    expected = np.einsum("bqhd,hdc->bqc", expected, o) + bo
    np.testing.assert_allclose(as_numpy(model([x, keep])), expected, atol=1e-5)


def test_a_transformer_block_by_hand():
    inputs, mask = keras.Input((4, 16)), keras.Input((4,))
    model = randomised(keras.Model([inputs, mask], transformer_block(inputs, PairMask()(mask), 0.1)))
    x, keep = RNG.normal(size=(2, 4, 16)).astype(np.float32), np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32)
    (q, k, v, o, first, second), (bq, bk, bv, bo, b1, b2) = weights_of(model, "kernel", "bias")
    (g1, g2), (s1, s2) = weights_of(model, "gamma", "beta")
    y = normalised(x, g1, s1)
    query, key, value = (np.einsum("bsc,chd->bshd", y, w)[:, :, 0] + b[0] for w, b in ((q, bq), (k, bk), (v, bv)))
    shares = np.exp(query @ key.transpose(0, 2, 1) / 4) * keep[:, None]
    shares /= shares.sum(-1, keepdims=True)
    y = x + shares @ value @ o[0] + bo
    expected = y + gelu(normalised(y, g2, s2) @ first + b1) @ second + b2
    np.testing.assert_allclose(as_numpy(model([x, keep])), expected, atol=5e-5)


def test_one_step_alone_is_its_own_attention():
    """Without a warning: Keras finds a softmax over one step suspicious."""
    inputs, mask = keras.Input((1, 16)), keras.Input((1,))
    model = randomised(keras.Model([inputs, mask], transformer_block(inputs, PairMask()(mask), 0.5)))
    x = RNG.normal(size=(3, 1, 16)).astype(np.float32)
    masks = np.array([[1], [1], [0]], np.float32)
    assert np.isfinite(as_numpy(model([x, masks], training=True))).all()
    assert np.isfinite(as_numpy(model([x, masks]))).all()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, kernel, recurrent, bias):
    state = carry = np.zeros(recurrent.shape[0])
    for step in x:
        i, f, g, o = np.split(step @ kernel + state @ recurrent + bias, 4)
        carry = sigmoid(f) * carry + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(carry)
        yield state


def test_a_masked_lstm_is_a_shorter_one_by_hand():
    inputs, mask = keras.Input((6, 4)), keras.Input((6,))
    model = randomised(keras.Model([inputs, mask], both_directions(layers.LSTM, inputs, mask, 6, unroll=False)))
    x = RNG.normal(size=(2, 6, 4)).astype(np.float32)
    got = as_numpy(model([x, np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]], np.float32)]))
    cells = sorted((layer for layer in model.layers if hasattr(layer, "cell")), key=lambda one: one.go_backwards)
    for row, length in ((0, 6), (1, 3)):
        steps = x[row, :length]
        forward = np.array(list(lstm(steps, *cells[0].get_weights())))
        backward = np.array(list(lstm(steps[::-1], *cells[1].get_weights())))[::-1]
        np.testing.assert_allclose(got[row, :length], np.concatenate([forward, backward], -1), atol=1e-5)
        np.testing.assert_array_equal(got[row, length:], 0)


def test_patches_of_sound_stand_in_time_and_silent_ones_are_masked():
    options = {"patch_frames": 4, "patch_bands": 3}
    spec = parts.Audio(encoder={"kind": "transformer", "size": "tiny", "options": options})
    encoder = build_encoder("voice", spec, TensorInfo(shape=(10, 8)))
    frames = np.zeros((3, 10, 8), np.float32)
    frames[0, :5], frames[1, 9, 7] = 1, 1  # 5 frames: two stretches of 4; one number in the last, half filled
    mask = as_numpy(encoder(frames)["mask"]).reshape(3, 3, 3)  # stretches of time, bands
    np.testing.assert_array_equal(mask, np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]])[..., None] * np.ones(3))
    with pytest.raises(RecipeError, match="option 'patch_frames' must be at least 1"):
        parts.Audio(encoder={"kind": "transformer", "options": {"patch_frames": 0}})
