"""MixUp and CutMix: one share for every input and label of a pair."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mm_keras.data.mixing import check_mixing, mix_batch
from mm_keras.errors import RecipeError
from mm_keras.recipe import TensorInfo

ROWS = 64
SEED = tf.constant([5, 2], tf.int64)
INFOS = {
    "photo": TensorInfo(shape=(12, 10, 3)),
    "title": TensorInfo(shape=(9,), dtype="int32", vocabulary_size=4000),
    "voice": TensorInfo(shape=(20, 4)),
    "facts": TensorInfo(shape=(7,), groups=(2, 2, 3), numeric=2),
    "features": TensorInfo(shape=(5,)),
}


def batch(rows=ROWS):
    """Each row's numbers are its own: `row + 1`, tokens `20 * row + place + 1`; lengths of texts differ."""
    tensors = {n: np.zeros((rows, *t.shape), np.float32) for n, t in INFOS.items() if n != "title"}
    for tensor in tensors.values():
        tensor += np.arange(1, rows + 1).reshape(-1, *[1] * (tensor.ndim - 1))
    lengths = 1 + np.arange(rows) % 9
    ids = 20 * np.arange(rows)[:, None] + np.arange(1, 10)
    tensors["title"] = np.where(np.arange(9) < lengths[:, None], ids, 0).astype(np.int32)
    return tensors, lengths


def mix(tensors, seed=SEED, good=None, weights=None, **alphas):
    """Mixes a batch whose targets tell the shares: `row` is one-hot, `value` the row's number."""
    rows = len(tensors["photo"])
    targets = {"row": np.eye(rows, dtype=np.float32), "value": np.arange(rows, dtype=np.float32)[:, None]}
    weights = weights or {k: np.ones(rows, np.float32) for k in targets}
    good = np.ones(rows, bool) if good is None else good
    batch = tuple({k: tf.constant(v) for k, v in part.items()} for part in (tensors, targets, weights))
    mixed = mix_batch(batch, tf.constant(good), seed, INFOS, **alphas)
    return tuple({k: v.numpy() for k, v in part.items()} for part in mixed)


def test_mixup_mixes_every_input_and_label_by_one_share():
    tensors, _ = batch()
    mixed, targets, weights = mix(tensors, mixup=0.5)
    own, partner = np.diagonal(targets["row"]), np.roll(np.arange(ROWS), -1)  # all rows have all inputs
    assert own.min() < 0.1
    assert own.max() > 0.9
    np.testing.assert_allclose(targets["row"].sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(targets["row"][np.arange(ROWS), partner], 1 - own, atol=1e-6)
    np.testing.assert_allclose(targets["value"][:, 0], own * np.arange(ROWS) + (1 - own) * partner, rtol=1e-5)
    for name in ("photo", "voice", "facts", "features"):
        expected = own * (np.arange(ROWS) + 1) + (1 - own) * (partner + 1)
        flat = mixed[name].reshape(ROWS, -1)
        np.testing.assert_allclose(flat, np.repeat(expected[:, None], flat.shape[1], 1), rtol=1e-5)
    assert all((w == 1).all() for w in weights.values())


def taken_from_other(mixed, name):
    """Returns bool `(rows, places..)`: which places are the next row's."""
    got = mixed[name]
    mine = np.arange(1, ROWS + 1).reshape(-1, *[1] * (got.ndim - 1))
    theirs = np.roll(mine, -1, axis=0)
    assert ((got == mine) | (got == theirs)).all()
    return got == theirs


def test_cutmix_takes_a_box_a_run_and_columns_of_one_share():
    tensors, _ = batch()
    mixed, targets, _ = mix(tensors, cutmix=1.0)
    own = np.diagonal(targets["row"])
    photo = taken_from_other(mixed, "photo")[..., 0]
    tall, wide = photo.any(axis=2), photo.any(axis=1)
    np.testing.assert_array_equal(photo, tall[:, :, None] & wide[:, None])
    voice = taken_from_other(mixed, "voice")
    np.testing.assert_array_equal(voice, np.repeat(voice[..., :1], 4, axis=2))
    for runs in (tall, wide, voice[..., 0]):
        assert (np.abs(np.diff(np.pad(runs, ((0, 0), (1, 1))).astype(int), axis=1)).sum(1) <= 2).all()
    side = np.sqrt(1 - own)
    for count, exact in (
        (tall.sum(1), 12 * side),
        (wide.sum(1), 10 * side),
        (voice[..., 0].sum(1), 20 * (1 - own)),
        (taken_from_other(mixed, "features").sum(1), 5 * (1 - own)),
    ):
        assert (np.abs(count - exact)[own < 1] < 1 + 1e-5).all()
    facts = taken_from_other(mixed, "facts")
    np.testing.assert_array_equal(facts, np.repeat(facts[:, [0, 2, 4]], (2, 2, 3), axis=1))


def shares_of_texts(mixed, lengths):
    """Returns how many tokens are the row's own and the next one's, each checked to be a run."""
    counts = []
    for row, ids in enumerate(mixed["title"]):
        ids = ids[ids > 0]
        assert not mixed["title"][row][len(ids) :].any()
        assert len(ids)
        own, other = ids[(ids - 1) // 20 == row], ids[(ids - 1) // 20 == (row + 1) % ROWS]
        np.testing.assert_array_equal(np.concatenate([own, other]), ids)
        assert (np.diff(own) == 1).all()
        assert (np.diff(other) == 1).all()
        counts.append((len(own), len(other)))
    return np.array(counts)


@pytest.mark.parametrize("alphas", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_texts_are_joined_by_the_same_share_without_bias(alphas):
    tensors, lengths = batch()
    seen = []
    for number in range(12):
        mixed, targets, _ = mix(tensors, tf.constant([number, 0], tf.int64), **alphas)
        own = np.diagonal(targets["row"])
        counts = shares_of_texts(mixed, lengths)
        exact = np.stack([own * lengths, (1 - own) * np.roll(lengths, -1)], axis=1)
        rows = own < 1
        # One may fall off the end, where both are as long as the input.
        assert (np.abs(counts - exact)[rows] < 1 + 1e-5).all()
        seen.append((counts - exact)[rows])
    seen = np.concatenate(seen)
    assert (np.abs(seen.mean(0)) < 4.5 * seen.std(0) / np.sqrt(len(seen))).all()


def test_a_seed_repeats_and_shares_are_beta():
    tensors, _ = batch()
    for alphas in ({"mixup": 0.4}, {"cutmix": 0.4}, {"mixup": 0.4, "cutmix": 0.4}):
        first, second, third = (mix(tensors, tf.constant([s, 0], tf.int64), **alphas) for s in (1, 1, 2))
        tf.nest.map_structure(np.testing.assert_array_equal, first, second)
        assert not np.array_equal(first[1]["row"], third[1]["row"])
    own = np.concatenate(
        [np.diagonal(mix(tensors, tf.constant([s, 1], tf.int64), mixup=0.4)[1]["row"]) for s in range(30)]
    )
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert abs(own.mean() - 0.5) < 4.5 * own.std() / np.sqrt(len(own))
    assert own.var() == pytest.approx(1 / (4 * 1.8), rel=0.08)
    tiny = np.diagonal(mix(tensors, mixup=1e-6)[1]["row"])
    assert np.isfinite(tiny).all()
    assert set(tiny) <= {0.0, 1.0}  # gammas that vanish are no NaN


def test_of_both_each_row_takes_one():
    tensors, _ = batch()
    mixed, targets, _ = mix(tensors, mixup=1.0, cutmix=1.0)
    own = np.diagonal(targets["row"])
    cut = np.array([set(np.unique(x)) <= {r + 1, (r + 1) % ROWS + 1} for r, x in enumerate(mixed["voice"])])
    assert 0.25 < cut.mean() < 0.75
    blended = own * (np.arange(ROWS) + 1) + (1 - own) * (np.roll(np.arange(ROWS), -1) + 1)
    np.testing.assert_allclose(mixed["voice"][~cut][:, 0, 0], blended[~cut], rtol=1e-5)
    for name in ("photo", "features"):  # all inputs of a row by the same one
        own_kind = np.array([set(np.unique(x)) <= {r + 1, (r + 1) % ROWS + 1} for r, x in enumerate(mixed[name])])
        np.testing.assert_array_equal(own_kind, cut)


@pytest.mark.parametrize("alphas", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_partners_have_the_same_inputs_and_missing_stays_missing(alphas):
    tensors, _ = batch(12)
    tensors["photo"][::3] = 0
    tensors["title"][::3] = 0
    tensors["voice"][1] = 0  # alone without it
    good = np.ones(12, bool)
    good[[4, 6]] = False
    mixed, targets, _ = mix(tensors, good=good, **alphas)
    for name, before in tensors.items():
        flat = [x.reshape(12, -1).any(axis=1) for x in (mixed[name], before)]
        np.testing.assert_array_equal(*flat)
    for row in (1, 4, 6):
        for name, before in tensors.items():
            np.testing.assert_array_equal(mixed[name][row], before[row])
        np.testing.assert_array_equal(targets["row"][row], np.eye(12)[row])
    nearest = {0: 3, 3: 9, 9: 0, 2: 5, 5: 7, 7: 8, 8: 10, 10: 11, 11: 2}
    for row, other in nearest.items():
        assert set(np.flatnonzero(targets["row"][row])) == {row, other}


def test_a_row_that_would_lose_an_input_stays_as_it_is():
    tensors, _ = batch(2)
    tensors["features"][:] = [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    lost = 0
    for number in range(40):
        mixed, targets, _ = mix(tensors, tf.constant([number, 0], tf.int64), cutmix=1.0)
        assert mixed["features"].any(axis=1).all()
        for row in range(2):
            if targets["row"][row, row] == 1:
                lost += 1
                for name, before in tensors.items():
                    np.testing.assert_array_equal(mixed[name][row], before[row])
    assert lost > 5


@pytest.mark.parametrize("loss", [keras.losses.CategoricalCrossentropy, keras.losses.MeanSquaredError])
def test_the_gradient_is_that_of_both_rows_losses_by_share_and_weight(loss):
    tensors, _ = batch(8)
    weights = {"row": np.array([1, 0, 2, 0.5, 0, 0, 3, 1], np.float32), "value": np.ones(8, np.float32)}
    _, targets, mixed = mix(tensors, weights=weights, mixup=1.0)
    own = np.diagonal(mix(tensors, mixup=1.0)[1]["row"])
    w, other = weights["row"], np.roll(weights["row"], -1)
    np.testing.assert_allclose(mixed["row"], own * w + (1 - own) * other, rtol=1e-5)
    assert mixed["row"][4] == 0  # neither has a label
    np.testing.assert_allclose(targets["row"][0, 0], 1, rtol=1e-6)  # the other has none
    guess = tf.Variable(np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32))

    def gradient(target, weight):
        with tf.GradientTape() as tape:
            per_row = loss(reduction=None)(target, tf.nn.softmax(guess))
            value = tf.reduce_sum(per_row * weight)
        return tape.gradient(value, guess).numpy()

    eye = np.eye(8, dtype=np.float32)
    expected = gradient(eye, own * w) + gradient(np.roll(eye, -1, axis=0), (1 - own) * other)
    np.testing.assert_allclose(gradient(targets["row"], mixed["row"]), expected, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(RecipeError, match=r"inputs.node: `mixup` and `cutmix` need numbers .* int32 of shape \(3,\)"):
        check_mixing({"node": TensorInfo(shape=(3,), dtype="int32")}, {})
    with pytest.raises(RecipeError, match=r"tasks.kind: .* Received: int32"):
        check_mixing(INFOS, {"kind": np.zeros(3, np.int32)})
    check_mixing(INFOS, {"kind": np.zeros((3, 2), np.float32)})
