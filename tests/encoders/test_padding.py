"""Padding does not change an embedding."""

import keras
import numpy as np
import pytest

import mm_keras.recipe as parts
from mm_keras.encoders import build_encoder, build_encoder_parts
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


def take_weights(model, other):
    """Gives a longer model the weights of a shorter one; places that only it has hold something else."""
    for weight, mine in zip(other.weights, model.weights, strict=True):
        more = [(0, a - b) for a, b in zip(mine.shape, weight.shape, strict=True)]
        mine.assign(np.pad(np.asarray(weight), more, constant_values=9.0) if "positions" in weight.path else weight)


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [*((kind, {}) for kind in ENCODERS["audio"]), ("transformer", {"patch_frames": 4, "patch_bands": 99})],
)
def test_silent_frames_at_the_end_of_a_sound(kind, options, size):
    spec = parts.Audio(encoder={"kind": kind, "size": size, "options": options})
    short = randomised(build_encoder("voice", spec, TensorInfo(shape=(21, 16))))
    long = build_encoder("voice", spec, TensorInfo(shape=(48, 16)))
    take_weights(long, short)
    frames = RNG.uniform(0.1, 1, (2, 21, 16)).astype(np.float32)
    padded = np.pad(frames, [(0, 0), (0, 27), (0, 0)])
    one, other = short(frames), long(padded)
    np.testing.assert_allclose(other["embedding"], one["embedding"], rtol=1e-5, atol=1e-5)
    assert np.abs(one["embedding"]).max() > 0.01
    steps = one["mask"].shape[1]
    np.testing.assert_allclose(other["tokens"][:, :steps], one["tokens"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(other["mask"])[:, steps:], 0)
    np.testing.assert_array_equal(np.asarray(other["tokens"])[:, steps:], 0)


@pytest.mark.parametrize(
    ("kind", "options"), [*((kind, {}) for kind in ENCODERS["text"]), ("transformer", {"positions": "rotary"})]
)
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_padding_at_the_end_of_a_text(kind, options, size):
    spec = parts.Text(encoder={"kind": kind, "size": size, "options": options})
    info = [TensorInfo(shape=(n,), dtype="int32", vocabulary_size=30) for n in (5, 12)]
    short, long = (build_encoder("title", spec, i) for i in info)
    take_weights(long, randomised(short))
    ids = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0]], np.int32)
    one, other = short(ids), long(np.pad(ids, [(0, 0), (0, 7)]))
    np.testing.assert_allclose(other["embedding"], one["embedding"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(other["tokens"][:, :5], one["tokens"], rtol=1e-4, atol=1e-5)
    assert np.abs(one["embedding"]).max() > 0.01
    np.testing.assert_array_equal(np.asarray(one["tokens"])[1, 2:], 0)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_an_unrolled_network_is_the_same(kind):
    spec = parts.Text(encoder={"kind": kind, "size": "tiny"})
    info = TensorInfo(shape=(6,), dtype="int32", vocabulary_size=30)
    rolled, unrolled = randomised(build_encoder("title", spec, info)), build_encoder("title", spec, info, unroll=True)
    unrolled.set_weights(rolled.get_weights())
    ids = np.array([[3, 4, 5, 6, 7, 8], [8, 9, 0, 0, 0, 0], [0] * 6], np.int32)
    for key in ("embedding", "tokens"):
        np.testing.assert_allclose(rolled(ids)[key], unrolled(ids)[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "layer"), [("gru", keras.layers.GRU), ("lstm", keras.layers.LSTM)])
def test_a_recurrent_network_equals_the_bidirectional_layer_of_keras(kind, layer):
    spec = parts.Text(encoder={"kind": kind, "size": "tiny"})
    encoder = randomised(build_encoder("title", spec, TensorInfo(shape=(6,), dtype="int32", vocabulary_size=30)))
    both = keras.layers.Bidirectional(layer(16, return_sequences=True, use_cudnn=False))
    ids = np.array([[3, 4, 5, 6, 7, 8], [8, 9, 2, 0, 0, 0]], np.int32)
    cells = sorted((layer for layer in encoder.layers if hasattr(layer, "cell")), key=lambda one: one.go_backwards)
    x = next(layer for layer in encoder.layers if "embedding" in layer.name)(ids)
    both.build(x.shape)
    both.set_weights([weight for one in cells for weight in one.get_weights()])
    mask = ids != 0
    expected = np.asarray(both(x, mask=mask)) * mask[..., None]
    np.testing.assert_allclose(encoder(ids)["tokens"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "info", "units"),
    [
        (parts.Image(encoder={"size": "tiny"}), TensorInfo(shape=(9, 17, 3)), 32),
        (parts.Image(encoder={"size": "small"}), TensorInfo(shape=(70, 66, 1)), 64),
        (parts.Image(encoder={"size": "base"}), TensorInfo(shape=(8, 8, 4)), 128),
        (parts.Image(encoder={"kind": "vit", "size": "tiny"}), TensorInfo(shape=(9, 17, 3)), 32),
        (parts.Image(encoder={"kind": "vit", "options": {"patch": 9}}), TensorInfo(shape=(7, 10, 1)), 64),
        (parts.Image(encoder={"kind": "convnext", "size": "tiny"}), TensorInfo(shape=(9, 17, 3)), 32),
        (parts.Image(encoder={"kind": "convnext", "size": "small"}), TensorInfo(shape=(70, 66, 1)), 64),
        (parts.Image(encoder={"kind": "convnext", "size": "base"}), TensorInfo(shape=(21, 20, 4)), 128),
        (parts.Audio(encoder={"size": "base"}), TensorInfo(shape=(3, 5)), 128),
        (parts.Audio(encoder={"kind": "conv_gru", "size": "base"}), TensorInfo(shape=(3, 5)), 128),
        (parts.Audio(encoder={"kind": "transformer", "size": "base"}), TensorInfo(shape=(3, 5)), 128),
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


NUMBERS = ["linear", "periodic", "piecewise"]
CELLS = TensorInfo(shape=(9,), groups=(2, 2, 3, 2), numeric=2, bins=((-1.0, 0.0, 2.0), (0.0, 1.0)))


@pytest.mark.parametrize("numbers", NUMBERS)
def test_a_missing_cell_is_as_if_there_were_no_such_column(numbers):
    encoder = parts.Encoder(kind="transformer", size="tiny", options={"numbers": numbers})
    spec = parts.Tabular(numeric=["a"], encoder=encoder)
    less = TensorInfo(shape=(5,), groups=(2, 3), numeric=1, bins=CELLS.bins[:1])
    short, long = randomised(build_encoder("facts", spec, less)), build_encoder("facts", spec, CELLS)
    for mine, weight in zip([w for w in long.weights if "table_1" not in w.path], short.weights, strict=True):
        value = np.asarray(weight)
        if mine.shape != weight.shape and "positions" in mine.path:
            value = np.stack([value[0], 9 + value[0], value[1], 9 + value[0]])  # the columns a, -, c, -
        elif mine.shape != weight.shape:
            value = np.concatenate([value, 9 + value])
        mine.assign(value)
    row = np.array([[0.7, 1, 0, 1, 0], [0, 1, 0, 0, 1]], np.float32)
    wide = np.concatenate([row[:, :2], np.zeros((2, 2)), row[:, 2:], np.zeros((2, 2))], axis=1).astype(np.float32)
    one, other = short(row), long(wide)
    assert np.asarray(other["mask"]).tolist() == [[1, 0, 1, 0]] * 2
    np.testing.assert_allclose(other["embedding"], one["embedding"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.asarray(other["tokens"])[:, ::2], one["tokens"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(other["tokens"])[:, 1::2], 0)
    assert np.ptp(np.asarray(one["embedding"]), axis=0).max() > 0.01


OWN = [
    parts.Image(encoder={"kind": "vit"}),
    parts.Image(encoder={"kind": "convnext"}),
    parts.Text(encoder={"kind": "transformer", "options": {"positions": "rotary"}}),
    parts.Text(encoder={"kind": "lstm"}),
    parts.Audio(encoder={"kind": "conv_gru"}),
    parts.Audio(encoder={"kind": "transformer"}),
    *(parts.Tabular(numeric=["a"], encoder={"kind": "transformer", "options": {"numbers": n}}) for n in NUMBERS),
]
SHAPES = {
    "image": TensorInfo(shape=(12, 10, 3)),
    "text": TensorInfo(shape=(5,), dtype="int32", vocabulary_size=9),
    "audio": TensorInfo(shape=(21, 9)),
    "tabular": CELLS,
}


@pytest.mark.parametrize("spec", OWN, ids=lambda s: f"{s.kind}-{s.encoder_kind}")
def test_depth_by_depth_is_the_whole_encoder(spec):
    """What a fusion inside the encoders relies on: nothing but the features and the mask crosses a depth."""
    info = SHAPES[spec.kind]
    whole = randomised(build_encoder("x", spec, info))
    models = build_encoder_parts("x", spec, info)
    assert len(models) > 1
    weights = iter(whole.get_weights())
    for model in models:
        model.set_weights([next(weights) for _ in model.weights])
    batch = RNG.uniform(0.1, 1, (3, *info.shape)).astype(np.float32)
    batch = np.array([[1, 2, 3, 0, 0]] * 3, np.int32) if info.dtype == "int32" else batch
    parted = batch
    for model in models:
        parted = model(parted)
    for key, value in whole(batch).items():
        np.testing.assert_allclose(parted[key], value, rtol=1e-5, atol=1e-5)
