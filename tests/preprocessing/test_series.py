"""Sequences, by hand: statistics over real steps, the mark of a step, padding, cutting, NaN."""

import numpy as np
import pytest
import tensorflow as tf

import mm_keras.recipe as parts
from mm_keras.errors import DataError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.raw import preprocess, raw_batch

NAN = float("nan")
GAP = [NAN, NAN]
# Over the four real steps feature 0 has mean 2 and deviation 1, feature 1 is constant.
TRAINING = np.array([[[1, 5], [3, 5], GAP], [GAP, GAP, GAP], [[1, 5], GAP, [3, 5]]])


@pytest.fixture
def series():
    p = build_preprocessor("sensor", parts.Vector(steps=3))
    p.adapt(TRAINING)
    return p


def rows(p, values):
    tensors, fine = preprocess({"sensor": p}, {"sensor": tf.constant(values, tf.float32)})
    return tensors["sensor"].numpy(), fine["sensor"].numpy().tolist()


def test_statistics_are_those_of_real_steps(series):
    assert series.state == {"mean": [2.0, 5.0], "deviation": [1.0, 1.0]}
    assert series.tensor.shape == (3, 3)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_rows_by_hand_of_any_length(series, steps):
    values = np.array([[[4, 5], [2, 5], [0, 6], [9, 9], [9, 9]]])[:, :steps]
    expected = np.zeros((3, 3))
    # The second step is zero in every feature, and a step all the same.
    expected[:steps] = [[2, 0, 1], [0, 0, 1], [-2, 1, 1]][:steps]
    got, fine = rows(series, values)
    assert fine == [True]
    np.testing.assert_allclose(got[0], expected, atol=1e-6)
    np.testing.assert_allclose(series.draw(got[0]), values[0, :3], atol=1e-6)


def test_missing_steps_and_bad_rows(series):
    got, fine = rows(
        series,
        [
            [[4, 5], GAP, [2, 5], GAP],
            [GAP] * 4,
            [[4, NAN], [2, 5], GAP, GAP],
            [[4, 5], [np.inf, 5], GAP, GAP],
            [[4, 5], [-np.inf, NAN], GAP, GAP],
            [[4, 5], [2, 5], [2, 5], [NAN, 1]],  # what is cut is not looked at
        ],
    )
    assert fine == [True, True, False, False, False, True]
    np.testing.assert_allclose(got[0], [[2, 0, 1], [0, 0, 0], [0, 0, 1]], atol=1e-6)
    np.testing.assert_array_equal(got[1:5], 0)
    drawn = series.draw(got[0])
    np.testing.assert_allclose(drawn, [[4, 5], GAP, [2, 5]], atol=1e-6)


def test_padding_of_a_request_changes_nothing(series):
    short, _ = rows(series, [[[4, 5], [2, 6]]])
    long, _ = rows(series, [[[4, 5], [2, 6], *[GAP] * 9]])
    np.testing.assert_array_equal(long, short)


def test_numbers_that_overflow_once_standardised_are_bad():
    p = build_preprocessor("sensor", parts.Vector(steps=2))
    p.adapt(np.array([[[0.0], [1e-3]]]))
    got, fine = rows(p, [[[3e38]], [[1e-3]]])
    assert fine == [False, True]
    np.testing.assert_allclose(got[1, 0], [1, 1], atol=1e-6)
    np.testing.assert_array_equal(got[0], 0)


def test_no_step_at_all_is_an_error():
    with pytest.raises(DataError, match="input 'sensor': every training row is missing"):
        build_preprocessor("sensor", parts.Vector(steps=3)).adapt(TRAINING[1:2])


def test_examples_become_rows_of_one_length(series):
    two = np.array([[4, 5], [2, 5]])
    ways = [two.tolist(), two, list(two), None, NAN, np.ones((7, 2))]
    raw = raw_batch({"sensor": series}, [{"sensor": w} for w in ways])["sensor"]
    assert raw.shape == (6, 3, 2)
    got, fine = rows(series, raw)
    assert all(fine)
    np.testing.assert_array_equal(got[1:3], got[[0, 0]])
    np.testing.assert_array_equal(got[3:5], 0)
    assert got[5, :, -1].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([[1, 2, 3]], "expected (any number of steps, 2 features). Received: shape (1, 3)"),
        ([1.0, 2.0], "Received: shape (2,)"),
        ([[1, 2], [3]], "expected (any number of steps, 2 features). Received: [[1, 2], [3]]"),
        ("walk", "expected (any number of steps, 2 features)"),
        (3.5, "Received: 3.5"),
    ],
)
def test_faults_of_an_example_are_named(series, value, text):
    with pytest.raises(DataError) as caught:
        raw_batch({"sensor": series}, [{}, {"sensor": value}])
    assert "example 1, field 'sensor'" in str(caught.value)
    assert text in str(caught.value)


def test_noise_is_of_the_features_of_real_steps():
    p = build_preprocessor("sensor", parts.Vector(steps=3, noise=0.5))
    batch = np.zeros((2000, 3, 3), np.float32)
    batch[:, :2] = [1, 0, 1]
    seed = tf.constant([3, 5], tf.int64)
    got = p.augment_finished(tf.constant(batch), seed).numpy()
    np.testing.assert_array_equal(got[..., 2], batch[..., 2])
    np.testing.assert_array_equal(got[:, 2], 0)
    added = (got - batch)[:, :2, :2]
    # 8000 draws: four standard errors are 0.022 of the mean, 0.016 of the deviation.
    assert abs(added.mean()) < 0.022
    assert abs(added.std() - 0.5) < 0.016
    np.testing.assert_array_equal(p.augment_finished(tf.constant(batch), seed), got)
    still = build_preprocessor("sensor", parts.Vector(steps=3))
    np.testing.assert_array_equal(still.augment_finished(tf.constant(batch), seed), batch)
