"""Fusions inside the encoders against NumPy; padding and single inputs, in whole models."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import as_numpy, built, dense

import mm_keras.recipe as parts
from mm_keras.encoders import build_encoder, build_encoder_parts
from mm_keras.fusion.structure import CentralLayer, SqueezeExcite, squeeze
from mm_keras.model import build_model, logits_model
from mm_keras.recipe import TensorInfo
from mm_keras.registry import FUSIONS, resolve
from mm_keras.tasks import build_task

RNG = np.random.default_rng(0)
# A picture, a sound with frames and bands, a text, and a row of numbers; in row 1 the sound is absent, in row 2 all.
FEATURES = {
    "photo": RNG.normal(size=(3, 4, 5, 6)).astype(np.float32),
    "voice": RNG.normal(size=(3, 4, 2, 3)).astype(np.float32),
    "title": RNG.normal(size=(3, 5, 4)).astype(np.float32),
    "facts": RNG.normal(size=(3, 7)).astype(np.float32),
}
STEPS = {"voice": [3, 0, 0], "title": [2, 5, 0]}
MASKS = {n: (np.arange(FEATURES[n].shape[1]) < np.array(s)[:, None]).astype(np.float32) for n, s in STEPS.items()}
PRESENT = {n: np.array([[1], [n != "voice"], [0]], np.float32) for n in FEATURES}


def means_numpy(row):
    """Returns `{input: mean over all real places}`, zero for an absent input."""
    found = {}
    for name, x in FEATURES.items():
        real = x[row, : STEPS[name][row]] if name in STEPS else x[row]
        channels = x.shape[-1]
        is_there = PRESENT[name][row, 0]
        found[name] = real.reshape(-1, channels).astype(float).mean(0) if is_there else np.zeros(channels)
    return found


@pytest.mark.parametrize("name", FEATURES)
def test_squeeze_means_over_the_real_places(name):
    got = as_numpy(squeeze(FEATURES[name], MASKS.get(name)))
    np.testing.assert_allclose(got[0], means_numpy(0)[name], atol=1e-6)
    assert np.isfinite(got).all()
    if name in STEPS:
        np.testing.assert_array_equal(got[2], 0)


def test_squeeze_excite_is_its_formula():
    layer = built(SqueezeExcite(reduction=3), FEATURES, PRESENT, MASKS)
    assert layer.join.units == 7  # 20 channels in all
    got = {n: as_numpy(x) for n, x in layer(FEATURES, PRESENT, MASKS).items()}
    for row in range(3):
        means = means_numpy(row)
        z = np.maximum(dense(layer.join, np.concatenate([means[n] for n in sorted(means)])), 0)
        for name, x in FEATURES.items():
            gate = 2 / (1 + np.exp(-dense(layer.gates[name], z)))
            np.testing.assert_allclose(got[name][row], x[row] * gate, rtol=1e-4, atol=1e-5)


def test_central_layer_is_its_formula():
    before = RNG.normal(size=(3, 16)).astype(np.float32)
    first = built(CentralLayer(units=16), FEATURES, PRESENT, MASKS)
    later = built(CentralLayer(units=16), FEATURES, PRESENT, MASKS, before)
    for layer, central in ((first, None), (later, before)):
        got = as_numpy(layer(FEATURES, PRESENT, MASKS, central))
        shares = as_numpy(layer.shares)
        for row in range(3):
            means, total = means_numpy(row), np.zeros(16)
            for i, name in enumerate(sorted(means)):
                if PRESENT[name][row, 0]:
                    total += shares[i] * dense(layer.projections[name], means[name])
            if central is not None:
                total += shares[4] * central[row]
            np.testing.assert_allclose(got[row], np.maximum(dense(layer.join, total), 0), rtol=1e-4, atol=1e-5)
        assert (got > 0.01).any(axis=-1).all()


def test_the_central_layer_begins_with_equal_shares():
    layer = CentralLayer(units=5)
    layer({"a": np.ones((2, 3), np.float32), "b": np.ones((2, 4), np.float32)}, central=np.ones((2, 5), np.float32))
    np.testing.assert_allclose(as_numpy(layer.shares), [1 / 3] * 3, rtol=1e-6)


@pytest.mark.parametrize("layer", [SqueezeExcite(), CentralLayer(units=4)], ids=["mmtm", "central"])
def test_padding_and_absent_inputs_move_nothing_else(layer):
    built(layer, FEATURES, PRESENT, MASKS)
    other = {n: x.copy() for n, x in FEATURES.items()}
    for name, keep in MASKS.items():
        shape = (*keep.shape, *[1] * (other[name].ndim - 2))
        other[name] += 50 * (1 - keep.reshape(shape))
    other["voice"][1] -= 9
    other["photo"][2] += 9  # in row 2 all are absent
    got, wanted = layer(other, PRESENT, MASKS), layer(FEATURES, PRESENT, MASKS)
    if isinstance(layer, CentralLayer):
        np.testing.assert_allclose(as_numpy(got), as_numpy(wanted), rtol=1e-6, atol=1e-6)
        return
    for name in FEATURES:
        same = other[name] == FEATURES[name]
        np.testing.assert_allclose(as_numpy(got[name])[same], as_numpy(wanted[name])[same], rtol=1e-6, atol=1e-6)


def randomised(model):
    """Gives every weight, and every moving statistic, a value that no initialiser gives."""
    rng = np.random.default_rng(3)
    for weight in model.weights:
        if "seed" not in weight.path:
            low = 0.5 if weight.path.endswith("variance") else -0.3
            weight.assign(rng.uniform(low, low + 0.6, weight.shape))
    return model


ENCODED = {
    "photo": (parts.Image, TensorInfo(shape=(12, 10, 3)), ("cnn",), 2),
    "title": (parts.Text, TensorInfo(shape=(6,), dtype="int32", vocabulary_size=9), ("transformer", "gru", "cnn"), 1),
    "voice": (parts.Audio, TensorInfo(shape=(20, 8)), ("cnn",), 2),
}


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n, (_, _, kinds, _) in ENCODED.items() for k in kinds])
def test_the_parts_of_an_encoder_are_the_encoder(name, kind):
    modality, info, _, depths = ENCODED[name]
    spec = modality(encoder={"kind": kind, "size": "tiny"})
    whole, cut = randomised(build_encoder(name, spec, info)), build_encoder_parts(name, spec, info)
    assert [p.name for p in cut] == [*(f"{name}_encoder_{d + 1}" for d in range(depths)), f"{name}_encoder"]
    weights = iter(whole.get_weights())
    for part in cut:
        part.set_weights([next(weights) for _ in part.weights])
    assert next(weights, None) is None
    x = RNG.integers(0, 9, (3, *info.shape)).astype(info.dtype)
    state = x
    for part in cut:
        state = part(state)
    for key, wanted in whole(x).items():
        np.testing.assert_array_equal(as_numpy(state[key]), as_numpy(wanted))


KINDS = [k for k, entry in FUSIONS.items() if resolve(entry).level in ("tokens", "depths")]


def build(fusion, lengths, names):
    """A model of a text and a sound of these lengths, and numbers."""
    tensors = {
        "title": TensorInfo(shape=(lengths[0],), dtype="int32", vocabulary_size=30),
        "voice": TensorInfo(shape=(lengths[1], 8)),
        "features": TensorInfo(shape=(5,)),
    }
    inputs = {"title": parts.Text, "voice": parts.Audio, "features": parts.Vector}
    kinds = {"title": "transformer", "voice": "cnn", "features": "mlp"}
    recipe = parts.Recipe(
        inputs={n: inputs[n](encoder={"kind": kinds[n], "size": "tiny"}) for n in names},
        fusion=parts.Fusion(fusion, units=8),
        tasks={"rating": parts.Regression()},
    )
    tasks = {"rating": build_task("rating", recipe.tasks["rating"])}
    tasks["rating"].adapt(np.array([-1.0, 1.0]))
    return build_model(recipe, {n: tensors[n] for n in names}, tasks)


@pytest.mark.parametrize("fusion", KINDS)
def test_a_longer_padding_changes_no_prediction(fusion):
    # 5 of 5 pieces and 5 of 12; 16 frames of 20 and of 40: after two halvings the last real frame ends a token.
    short, long = randomised(build(fusion, (5, 20), ("title", "voice"))), build(fusion, (12, 40), ("title", "voice"))
    for one, other in zip(short.weights, long.weights, strict=True):
        value = np.asarray(one)
        if one.shape != other.shape:  # places that only padding has
            assert one.path.endswith("positions") or "places" in one.path
            value = np.pad(value, [(0, other.shape[0] - one.shape[0]), (0, 0)], constant_values=9.0)
        other.assign(value)
    ids = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0], [0] * 5], np.int32)
    frames = RNG.uniform(0.1, 1, (3, 20, 8)).astype(np.float32)
    frames[:, 16:] = 0
    one = short({"title": ids, "voice": frames})["rating"]
    other = long({"title": np.pad(ids, [(0, 0), (0, 7)]), "voice": np.pad(frames, [(0, 0), (0, 20), (0, 0)])})["rating"]
    np.testing.assert_allclose(as_numpy(other), as_numpy(one), rtol=1e-5, atol=1e-5)
    assert np.ptp(as_numpy(one)) > 1e-4


@pytest.mark.parametrize("fusion", [*KINDS, "graph_attention"])
@pytest.mark.parametrize("names", [("features",), ("title", "features")], ids="-".join)
def test_few_inputs_are_enough_and_every_weight_gets_gradient(fusion, names):
    model = randomised(build(fusion, (5, 20), names))
    tensors = {
        "title": np.array([[3, 4, 5, 0, 0], [6, 7, 8, 2, 1], [0] * 5, [4, 1, 0, 0, 0], [0] * 5], np.int32),
        "features": RNG.normal(size=(5, 5)).astype(np.float32),
    }
    tensors["features"][3:] = 0  # in the last row all are absent
    tensors = {n: tensors[n] for n in names}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(logits_model(model, ["rating"])(tensors, training=True)["rating"] ** 2)
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    dead = {
        w.path.rsplit("/", 1)[-1]
        for w, g in zip(model.trainable_weights, gradients, strict=True)
        if g is None or not float(np.abs(tf.convert_to_tensor(g)).max()) > 0
    }
    assert dead == set()


def test_branches_deeper_than_others_begin_alone():
    model = build("mmtm", (5, 20), ("title", "voice", "features"))
    first, second = model.get_layer("fusion_1"), model.get_layer("fusion_2")
    assert first.names == ["voice"]
    assert second.names == ["features", "title", "voice"]
    assert isinstance(model.get_layer("fusion"), keras.Layer)
