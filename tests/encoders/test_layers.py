"""The layers of the encoders, by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from mm_keras.encoders.masking import ApplyMask, FullMask, MaskedPooling, TokenMask
from mm_keras.encoders.missing import MissingEmbedding, ModalityDropout, Presence
from mm_keras.encoders.tabular import FeatureTokens
from mm_keras.encoders.transformer import PositionEmbedding

RNG = np.random.default_rng(0)


def as_numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def test_token_mask_marks_what_is_not_zero():
    assert as_numpy(TokenMask()(np.array([[5, 0, 1, 0]]))).tolist() == [[1, 0, 1, 0]]
    frames = np.array([[[0, 0], [0, -2], [1, 1]]], np.float32)
    assert as_numpy(TokenMask()(frames)).tolist() == [[0, 1, 1]]


def test_full_and_applied_masks():
    x = RNG.normal(size=(2, 3, 4)).astype(np.float32)
    assert as_numpy(FullMask()(x)).tolist() == [[1, 1, 1]] * 2
    mask = np.array([[1, 0, 1], [0, 0, 0]], np.float32)
    np.testing.assert_array_equal(as_numpy(ApplyMask()([x, mask])), x * mask[..., None])
    wide = RNG.normal(size=(2, 3, 2, 2)).astype(np.float32)
    np.testing.assert_array_equal(as_numpy(ApplyMask()([wide, mask])), wide * mask[..., None, None])


def test_masked_pooling_by_hand():
    tokens = np.array([[[1, -4], [3, -2], [99, 99]], [[-1, -1], [5, 5], [5, 5]], [[7, 7], [7, 7], [7, 7]]], np.float32)
    mask = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], np.float32)
    got = as_numpy(MaskedPooling()([tokens, mask]))
    # mean, mean, maximum, maximum; of negative numbers too, and zeros where nothing is kept
    np.testing.assert_allclose(got, [[2, -3, 3, -2], [-1, -1, -1, -1], [0, 0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_masked_pooling_of_many_large_tokens_fits_16_bits(dtype):
    tokens = np.full((1, 3000, 1), 100.0, np.float32)  # their sum, 300000, is infinite in float16
    mask = np.concatenate([np.ones((1, 2999)), np.zeros((1, 1))], 1)
    np.testing.assert_allclose(as_numpy(ops.cast(MaskedPooling(dtype=dtype)([tokens, mask]), "float32")), [[100, 100]])


def test_feature_tokens_by_hand():
    layer = FeatureTokens(groups=(2, 2, 3), numeric=2, units=4)
    x = np.array([[0.5, 1, 0, 0, 0, 1, 0], [-2, 1, 3, 1, 0, 0, 0]], np.float32)
    got = as_numpy(layer(x))
    slopes, table = as_numpy(layer.slopes), as_numpy(layer.tables[0])
    expected = [
        [0.5 * slopes[0, 0] + slopes[0, 1], np.zeros(4), table[1]],
        [-2 * slopes[0, 0] + slopes[0, 1], 3 * slopes[1, 0] + slopes[1, 1], np.zeros(4)],
    ]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    with pytest.raises(ValueError, match="expected 7 features"):
        FeatureTokens(groups=(2, 2, 3), numeric=2, units=4)(x[:, :6])


def test_initial_weights_are_centred():
    keras.utils.set_random_seed(0)
    layer = FeatureTokens(groups=(2,) * 200, numeric=200, units=16)
    layer.build((None, 400))
    slopes = as_numpy(layer.slopes)  # 6400 draws of deviation 1/4: the mean's standard error is 0.003
    assert abs(slopes.mean()) < 0.015
    assert slopes.std() == pytest.approx(0.25, rel=0.05)
    positions = PositionEmbedding()
    positions.build((None, 100, 64))
    assert abs(as_numpy(positions.positions).mean()) < 0.001
    assert as_numpy(positions.positions).std() == pytest.approx(0.02, rel=0.05)


def test_presence_is_any_number_that_is_not_zero():
    x = np.zeros((4, 2, 3), np.float32)
    x[1, 1, 2], x[2, 0, 0] = -1e-6, 1
    assert as_numpy(Presence()(x)).tolist() == [[0], [1], [1], [0]]
    assert as_numpy(Presence()(np.array([[0, 0], [0, 7]]))).tolist() == [[0], [1]]


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_presence_of_a_small_number_in_16_bits(dtype):
    x = np.array([[0, 1e-9], [0, 0]], np.float32)
    assert as_numpy(ops.cast(Presence(dtype=dtype)(x), "float32")).tolist() == [[1], [0]]


def test_missing_embedding_replaces_rows():
    layer = MissingEmbedding()
    layer.build([(None, 2), (None, 1)])
    layer.missing.assign([7.0, -7.0])
    got = layer([np.array([[1, 2], [3, 4]], np.float32), np.array([[1], [0]], np.float32)])
    assert as_numpy(got).tolist() == [[1, 2], [7, -7]]


def presences(rows, **names):
    return {name: np.full((rows, 1), value, np.float32) for name, value in names.items()}


def dropped(layer, inputs):
    return {n: as_numpy(ops.cast(v, "float32"))[:, 0] for n, v in layer(inputs, training=True).items()}


@pytest.mark.parametrize("rate", [0.2, 0.6])
@pytest.mark.parametrize("count", [2, 3])
def test_modality_dropout_has_the_stated_rate_and_never_takes_all(rate, count):
    rows = 40_000
    kept = dropped(ModalityDropout(rate, seed=1), presences(rows, **{f"input_{i}": 1 for i in range(count)}))
    kept = np.stack([kept[f"input_{i}"] for i in range(count)], 1)
    assert kept.max(1).min() == 1
    chance = rate - rate**count / count
    # Four standard errors of a share of 40000 rows, at most 0.01.
    np.testing.assert_allclose(1 - kept.mean(0), chance, atol=0.01)
    # Where one is left, each is so as often as the others.
    alone = kept[kept.sum(1) == 1].mean(0)
    np.testing.assert_allclose(alone, 1 / count, atol=0.03)


def test_modality_dropout_never_takes_the_only_input_and_gives_none_back():
    kept = dropped(ModalityDropout(0.9, seed=2), presences(1000, a=0, b=1, c=0))
    assert kept["a"].max() == 0
    assert kept["c"].max() == 0
    assert kept["b"].min() == 1
    assert all(v.max() == 0 for v in dropped(ModalityDropout(0.9), presences(100, a=0, b=0)).values())


def test_modality_dropout_follows_its_seed_and_rests_outside_training():
    ones = presences(200, a=1, b=1)
    first, again, other = (dropped(ModalityDropout(0.5, seed=s), ones) for s in (3, 3, 4))
    np.testing.assert_array_equal(first["a"], again["a"])
    assert (first["a"] != other["a"]).any()
    layer = ModalityDropout(0.5, seed=3)
    assert (dropped(layer, ones)["a"] != dropped(layer, ones)["a"]).any()
    assert as_numpy(layer(ones)["a"]).min() == 1
    np.testing.assert_array_equal(dropped(ModalityDropout(0.5, seed=3), dict(reversed(ones.items())))["b"], first["b"])


def test_modality_dropout_in_16_bits_favours_no_name():
    kept = dropped(ModalityDropout(0.9, seed=5, dtype="mixed_bfloat16"), presences(40_000, a=1, b=1))
    # Drawn in bfloat16, one draw in about 256 would tie and go to the first name.
    assert abs(kept["a"].mean() - kept["b"].mean()) < 0.01
