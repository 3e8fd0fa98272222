"""Padding does not change an embedding."""

import keras
import numpy as np
import pytest

import mm_keras.recipe as parts
from mm_keras.encoders import build_encoder
from mm_keras.recipe import TensorInfo
from mm_keras.registry import ENCODERS

RNG = np.random.default_rng(0)


def randomised(model):
    """Gives every weight, and every moving statistic, a value that no initialiser gives."""
    for weight in model.weights:
        if "seed" not in weight.path:
            low = 0.5 if weight.path.endswith("variance") else -0.3
            weight.assign(RNG.uniform(low, low + 0.6, weight.shape))
    return model


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_silent_frames_at_the_end_of_a_sound(size):
    spec = parts.Audio(encoder={"size": size})
    short = randomised(build_encoder("voice", spec, TensorInfo(shape=(21, 16))))
    long = build_encoder("voice", spec, TensorInfo(shape=(48, 16)))
    long.set_weights(short.get_weights())
    frames = RNG.uniform(0.1, 1, (2, 21, 16)).astype(np.float32)
    padded = np.pad(frames, [(0, 0), (0, 27), (0, 0)])
    one, other = short(frames), long(padded)
    np.testing.assert_allclose(other["embedding"], one["embedding"], rtol=1e-5, atol=1e-5)
    assert np.abs(one["embedding"]).max() > 0.01
    steps = one["mask"].shape[1]
    np.testing.assert_allclose(other["tokens"][:, :steps], one["tokens"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(other["mask"])[:, steps:], 0)
    np.testing.assert_array_equal(np.asarray(other["tokens"])[:, steps:], 0)


@pytest.mark.parametrize("kind", ENCODERS["text"])
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_padding_at_the_end_of_a_text(kind, size):
    spec = parts.Text(encoder={"kind": kind, "size": size})
    info = [TensorInfo(shape=(n,), dtype="int32", vocabulary_size=30) for n in (5, 12)]
    short, long = (build_encoder("title", spec, i) for i in info)
    randomised(short)
    for one, other in zip(short.weights, long.weights, strict=True):
        value = np.asarray(one)
        other.assign(np.pad(value, [(0, 7), (0, 0)], constant_values=9.0) if "positions" in one.path else value)
    ids = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0]], np.int32)
    one, other = short(ids), long(np.pad(ids, [(0, 0), (0, 7)]))
    np.testing.assert_allclose(other["embedding"], one["embedding"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(other["tokens"][:, :5], one["tokens"], rtol=1e-4, atol=1e-5)
    assert np.abs(one["embedding"]).max() > 0.01
    np.testing.assert_array_equal(np.asarray(one["tokens"])[1, 2:], 0)


def test_an_unrolled_gru_is_the_same_network():
    spec = parts.Text(encoder={"kind": "gru", "size": "tiny"})
    info = TensorInfo(shape=(6,), dtype="int32", vocabulary_size=30)
    rolled, unrolled = randomised(build_encoder("title", spec, info)), build_encoder("title", spec, info, unroll=True)
    unrolled.set_weights(rolled.get_weights())
    ids = np.array([[3, 4, 5, 6, 7, 8], [8, 9, 0, 0, 0, 0], [0] * 6], np.int32)
    for key in ("embedding", "tokens"):
        np.testing.assert_allclose(rolled(ids)[key], unrolled(ids)[key], rtol=1e-5, atol=1e-6)


def test_a_gru_equals_the_bidirectional_layer_of_keras():
    spec = parts.Text(encoder={"kind": "gru", "size": "tiny"})
    encoder = randomised(build_encoder("title", spec, TensorInfo(shape=(6,), dtype="int32", vocabulary_size=30)))
    both = keras.layers.Bidirectional(keras.layers.GRU(16, return_sequences=True, use_cudnn=False))
    ids = np.array([[3, 4, 5, 6, 7, 8], [8, 9, 2, 0, 0, 0]], np.int32)
    grus = sorted((layer for layer in encoder.layers if hasattr(layer, "cell")), key=lambda gru: gru.go_backwards)
    x = next(layer for layer in encoder.layers if "embedding" in layer.name)(ids)
    both.build(x.shape)
    both.set_weights([weight for gru in grus for weight in gru.get_weights()])
    mask = ids != 0
    expected = np.asarray(both(x, mask=mask)) * mask[..., None]
    np.testing.assert_allclose(encoder(ids)["tokens"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "info", "units"),
    [
        (parts.Image(encoder={"size": "tiny"}), TensorInfo(shape=(9, 17, 3)), 32),
        (parts.Image(encoder={"size": "small"}), TensorInfo(shape=(70, 66, 1)), 64),
        (parts.Image(encoder={"size": "base"}), TensorInfo(shape=(8, 8, 4)), 128),
        (parts.Audio(encoder={"size": "base"}), TensorInfo(shape=(3, 5)), 128),
        (parts.Vector(encoder={"size": "base"}), TensorInfo(shape=(1,)), 128),
        (parts.Tabular(numeric=["a"], encoder={"size": "tiny"}), TensorInfo(shape=(2,), groups=(2,), numeric=1), 32),
    ],
)
def test_declared_shapes_are_the_real_ones(spec, info, units):
    encoder = randomised(build_encoder("x", spec, info))
    got = encoder(RNG.uniform(0.1, 1, (3, *info.shape)).astype(np.float32))
    for key, symbol in encoder.output.items():
        assert got[key].shape == (3, *symbol.shape[1:])
    assert got["embedding"].shape == (3, units)
    assert got["mask"].shape == got["tokens"].shape[:2]
    assert np.isfinite(got["embedding"]).all()
    assert encoder.name == "x_encoder"
