"""Encoders of several pictures, videos and sequences: padding, order, and the sums against NumPy and other layers."""

import importlib.util

import keras
import numpy as np
import pytest
from keras import layers, ops

import mm_keras.recipe as parts
from mm_keras.encoders import build_encoder, build_encoder_parts
from mm_keras.encoders.folding import FoldSteps, UnfoldSteps
from mm_keras.encoders.masking import TokenMask
from mm_keras.encoders.missing import Presence
from mm_keras.encoders.pooling import AttentionPooling
from mm_keras.encoders.temporal import TimeEmbedding
from mm_keras.encoders.video import _in_space_and_time
from mm_keras.recipe import TensorInfo
from mm_keras.registry import ENCODERS

RNG = np.random.default_rng(0)


def as_numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def randomised(model):
    for weight in model.weights:
        if "seed" not in weight.path:
            low = 0.5 if weight.path.endswith("variance") else -0.3
            weight.assign(RNG.uniform(low, low + 0.6, weight.shape))
    return model


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_attention_pooling_against_numpy():
    layer = AttentionPooling(5)
    tokens = RNG.normal(size=(3, 4, 6)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], np.float32)
    layer.build([tokens.shape, mask.shape])
    randomised(layer)
    (v, bv), (u, bu), (w,) = (part.get_weights() for part in (layer.hidden, layer.gate, layer.score))
    scores = ((np.tanh(tokens @ v + bv) * sigmoid(tokens @ u + bu)) @ w)[..., 0]
    shares = np.exp(scores) * mask
    shares = shares / np.maximum(shares.sum(1, keepdims=True), 1e-30)
    np.testing.assert_allclose(as_numpy(layer([tokens, mask])), np.einsum("bs,bsc->bc", shares, tokens), atol=1e-6)


def test_folding_and_unfolding_are_inverse_and_in_order():
    x = RNG.normal(size=(2, 3, 4, 5, 1)).astype(np.float32)
    folded = as_numpy(FoldSteps()(x))
    np.testing.assert_array_equal(folded, np.concatenate(list(x)))
    np.testing.assert_array_equal(as_numpy(UnfoldSteps(3)(folded)), x)


def test_masks_of_pictures_see_every_pixel():
    x = np.zeros((2, 3, 4, 5, 1), np.float32)
    x[0, 1, 3, 4, 0] = -1e-6
    assert as_numpy(TokenMask()(x)).tolist() == [[0, 1, 0], [0, 0, 0]]
    assert as_numpy(Presence()(x)).tolist() == [[1], [0]]


def test_times_begin_as_sines_by_hand():
    layer = TimeEmbedding()
    layer.build((None, 9, 4))
    t = np.arange(9)[:, None]
    expected = np.concatenate([np.sin(2 * np.pi * t / [4, 36]), np.cos(2 * np.pi * t / [4, 36])], 1)
    np.testing.assert_allclose(as_numpy(layer.times), expected, atol=1e-6)


def normalised(layer, x):
    weights = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    gamma, beta, mean, variance = (as_numpy(weight) for weight in weights)
    return (as_numpy(x) - mean) / np.sqrt(variance + layer.epsilon) * gamma + beta


def test_a_2plus1d_convolution_is_two_3d_ones():
    frames, mask = keras.Input((4, 6, 5, 3)), keras.Input((4,))
    block = keras.Model([frames, mask], _in_space_and_time(FoldSteps()(frames), 8, 4, mask, activation=None))
    randomised(block)
    space, time = (layer for layer in block.layers if isinstance(layer, layers.Conv2D))
    norms = [layer for layer in block.layers if isinstance(layer, layers.BatchNormalization)]
    assert space.filters == 27 * 3 * 8 // (9 * 3 + 3 * 8)
    # As many weights as one 3 x 3 x 3 convolution has, but for the rounding of the middle.
    assert abs(space.count_params() + time.count_params() - 27 * 3 * 8) <= 9 * 3 + 3 * 8
    x = RNG.normal(size=(2, 4, 6, 5, 3)).astype(np.float32)
    first = layers.Conv3D(space.filters, (1, 3, 3), padding="same", use_bias=False)
    second = layers.Conv3D(8, (3, 1, 1), padding="same", use_bias=False)
    first.build(x.shape)
    first.kernel.assign(as_numpy(space.kernel)[None])
    middle = ops.relu(normalised(norms[0], first(x)))
    second.build(middle.shape)
    second.kernel.assign(as_numpy(time.kernel)[:, :, None])
    expected = normalised(norms[1], second(middle))
    got = block([x, np.ones((2, 4), np.float32)])
    np.testing.assert_allclose(as_numpy(got).reshape(2, 4, 6, 5, 8), as_numpy(expected), rtol=1e-4, atol=1e-5)


def video(kind, frames, **options):
    spec = parts.Video(frames=frames, encoder={"kind": kind, "size": "tiny", "options": options})
    return spec, TensorInfo(shape=(frames, 8, 9, 2))


def sequence(kind, steps):
    return parts.Vector(steps=steps, encoder={"kind": kind, "size": "tiny"}), TensorInfo(shape=(steps, 4))


def shots(views):
    return parts.Image(views=views, encoder={"size": "tiny"}), TensorInfo(shape=(views, 8, 9, 3))


CASES = [
    ("gru", lambda n: video("frames", n, pool="gru")),
    ("attention", lambda n: video("frames", n, pool="attention")),
    ("mean", lambda n: video("frames", n, pool="mean")),
    ("conv2plus1d", lambda n: video("conv2plus1d", n)),
    ("series-conv", lambda n: sequence("conv", n)),
    ("series-gru", lambda n: sequence("gru", n)),
    ("series-transformer", lambda n: sequence("transformer", n)),
    ("views", shots),
]


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in CASES])
def test_padding_at_the_end_changes_nothing(make):
    short, long = (build_encoder("x", *make(n)) for n in (4, 7))
    randomised(short)
    for one, other in zip(short.weights, long.weights, strict=True):
        value = as_numpy(one)
        other.assign(np.pad(value, [(0, 3), (0, 0)], constant_values=9.0) if "times" in one.path else value)
    x = RNG.uniform(0.1, 1, (2, *short.input_shape[1:])).astype(np.float32)
    x[1, 2:] = 0
    one, other = short(x), long(np.pad(x, [(0, 0), (0, 3)] + [(0, 0)] * (x.ndim - 2)))
    np.testing.assert_allclose(other["embedding"], one["embedding"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other["tokens"][:, :4], one["tokens"], rtol=1e-4, atol=1e-5)
    assert as_numpy(other["mask"]).tolist() == [[1, 1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(as_numpy(one["tokens"])[1, 2:], 0)
    assert np.abs(one["embedding"]).max() > 0.01
    for key, symbol in short.output.items():
        assert one[key].shape == (2, *symbol.shape[1:])


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in CASES])
def test_order_matters_where_it_should(make, request):
    encoder = randomised(build_encoder("x", *make(4)))
    x = RNG.uniform(0.1, 1, (2, *encoder.input_shape[1:])).astype(np.float32)
    one, other = (as_numpy(encoder(v)["embedding"]) for v in (x, x[:, ::-1]))
    is_blind = request.node.callspec.id in ("mean", "views")
    assert (np.abs(one - other).max() < 1e-5) == is_blind


def test_a_step_of_average_features_is_a_step():
    encoder = randomised(build_encoder("x", *sequence("conv", 3)))
    zeros = np.zeros((2, 3, 4), np.float32)
    zeros[0, :2, -1] = 1
    got = encoder(zeros)
    assert as_numpy(got["mask"]).tolist() == [[1, 1, 0], [0, 0, 0]]
    assert np.abs(as_numpy(got["tokens"])[0, :2]).max() > 0.01


def test_padding_has_no_part_in_the_statistics_of_a_sequence():
    """Batch normalisation over real steps alone: what is padded behind moves no average in training."""
    moved = []
    for steps in (3, 9):
        keras.utils.set_random_seed(0)
        encoder = build_encoder("x", *sequence("conv", steps))
        x = np.random.default_rng(1).uniform(0.1, 1, (5, 3, 4)).astype(np.float32)
        encoder(np.pad(x, [(0, 0), (0, steps - 3), (0, 0)]), training=False)
        first = next(layer for layer in encoder.layers if isinstance(layer, layers.BatchNormalization))
        tap = keras.Model(encoder.input, first.output)
        tap(np.pad(x, [(0, 0), (0, steps - 3), (0, 0)]), training=True)
        moved.append(as_numpy(first.moving_variance))
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "info"), [video("frames", 4, pool="gru"), sequence("gru", 5)], ids=["video", "series"]
)
def test_an_unrolled_gru_is_the_same_network(spec, info):
    rolled, unrolled = randomised(build_encoder("x", spec, info)), build_encoder("x", spec, info, unroll=True)
    unrolled.set_weights(rolled.get_weights())
    x = RNG.uniform(0.1, 1, (3, *info.shape)).astype(np.float32)
    x[1, 2:], x[2] = 0, 0
    np.testing.assert_allclose(rolled(x)["embedding"], unrolled(x)["embedding"], rtol=1e-5, atol=1e-6)


DEEP = ("views", "gru", "conv2plus1d", "series-conv")


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")  # of the names that parts of an encoder get
@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in CASES if name in DEEP])
def test_depth_by_depth_is_the_same_encoder(make):
    spec, info = make(3)
    whole, cut = randomised(build_encoder("x", spec, info)), build_encoder_parts("x", spec, info)
    assert len(cut) == 1 + (1 if "gru" in spec.encoder_kind else 2)
    given = iter(whole.get_weights())
    for part in cut:
        part.set_weights([next(given) for _ in part.weights])
    assert next(given, None) is None
    x = RNG.uniform(0.1, 1, (2, *info.shape)).astype(np.float32)
    x[1, 1:] = 0
    state = x
    for part in cut[:-1]:
        state = part(state)
        # LiteRT multiplies by a mask in up to four axes; the mask is of the steps.
        assert len(state["features"].shape) <= 4
        assert state["features"].shape[1] == state["mask"].shape[1] == 3
    got = cut[-1](state)["embedding"]
    np.testing.assert_allclose(as_numpy(got), as_numpy(whole(x)["embedding"]), rtol=1e-5, atol=1e-6)


PICTURES = [kind for kind in ENCODERS["image"] if kind != "hub" or importlib.util.find_spec("keras_hub")]


def of_pictures(kind, views=None):
    spec = parts.Image(views=views, encoder={"kind": kind, "size": "tiny"})
    return build_encoder("x", spec, TensorInfo(shape=(*([views] if views else []), 12, 10, 3)))


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
@pytest.mark.parametrize("kind", PICTURES)
def test_each_view_is_read_as_one_picture_is(kind):
    """Every encoder of pictures, whole and cut at its depths; a view in the middle is absent."""
    one, several = of_pictures(kind), of_pictures(kind, views=3)
    assert [w.shape for w in several.weights[: len(one.weights)]] == [w.shape for w in one.weights]
    for weight in several.weights:
        if len(weight.shape) > 1:  # as drawn, a deep network lets a small picture fade
            fan = np.prod(weight.shape[:2] if "depthwise" in weight.path else weight.shape[:-1])
            weight.assign(RNG.normal(0, (2 / fan) ** 0.5, weight.shape))
    given = [as_numpy(w) for w in several.weights]
    for weight, value in zip(one.weights, given, strict=False):
        weight.assign(value)
    x = RNG.uniform(0.05, 1, (2, 3, 12, 10, 3)).astype(np.float32)
    x[1, 1] = 0
    got = several(x, training=False)
    expected = np.stack([as_numpy(one(x[:, i], training=False)["embedding"]) for i in range(3)], axis=1)
    expected[1, 1] = 0
    assert np.abs(expected[0]).max() > 1e-3
    np.testing.assert_allclose(as_numpy(got["tokens"]), expected, rtol=1e-4, atol=1e-5)
    assert as_numpy(got["mask"]).tolist() == [[1, 1, 1], [1, 0, 1]]

    spec = parts.Image(views=3, encoder={"kind": kind, "size": "tiny"})
    cut, values = build_encoder_parts("x", spec, TensorInfo(shape=(3, 12, 10, 3))), iter(given)
    assert len(cut) > 1
    state = x
    for part in cut:
        part.set_weights([next(values) for _ in part.weights])
        state = part(state, training=False)
    np.testing.assert_allclose(as_numpy(state["embedding"]), as_numpy(got["embedding"]), rtol=1e-4, atol=1e-5)


def test_a_layer_of_the_users_reads_each_view(monkeypatch):
    layer = layers.Conv2D(4, 3)
    monkeypatch.setitem(ENCODERS["image"], "mine", layer)
    layer.build((None, 12, 10, 3))
    encoder = of_pictures("mine", views=3)
    x = RNG.uniform(0.05, 1, (2, 3, 12, 10, 3)).astype(np.float32)
    x[0, 2] = 0
    got = encoder(x)
    maps = np.stack([as_numpy(layer(x[:, i])) for i in range(3)], axis=1)  # (2, 3, 10, 8, 4)
    expected = np.concatenate([maps.mean(axis=(2, 3)), maps.max(axis=(2, 3))], axis=-1)
    expected[0, 2] = 0
    np.testing.assert_allclose(as_numpy(got["tokens"]), expected, rtol=1e-4, atol=1e-5)
    assert got["embedding"].shape == (2, 8)
