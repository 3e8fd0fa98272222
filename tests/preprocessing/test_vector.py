"""Features computed elsewhere, by hand."""

import numpy as np
import pytest
import tensorflow as tf

import mm_keras.recipe as parts
from mm_keras.errors import DataError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.raw import preprocess

NAN = float("nan")
# Feature 0: mean 2, deviation 1. Feature 1: constant. Feature 2: mean 0, deviation 10.
TRAINING = np.array([[1, 0.1, -10], [3, 0.1, 10], [NAN, NAN, NAN], [NAN, 5, 5]])


@pytest.fixture
def features():
    p = build_preprocessor("features", parts.Vector())
    p.adapt(TRAINING)
    return p


def rows(p, values):
    tensors, fine = preprocess({"features": p}, {"features": tf.constant(values, tf.float32)})
    return tensors["features"].numpy(), fine["features"].numpy().tolist()


def test_rows_by_hand(features):
    got, fine = rows(features, [[4, 0.1, 5], [2, 1.1, 0]])
    assert fine == [True, True]
    np.testing.assert_allclose(got, [[2, 0, 0.5], [0, 1, 0]], atol=1e-6)


def test_missing_and_bad_rows(features):
    got, fine = rows(features, [[NAN, NAN, NAN], [1, NAN, 1], [1, np.inf, 1], [3, 0.1, 0], [3.4e38, 1, 1]])
    assert fine == [True, False, False, True, True]
    np.testing.assert_array_equal(got[:3], 0.0)
    np.testing.assert_allclose(got[3], [1, 0, 0], atol=1e-6)


def test_numbers_that_overflow_once_standardised_are_bad():
    p = build_preprocessor("features", parts.Vector())
    p.adapt(np.array([[0.0, 1.0], [1e-3, 2.0]]))
    got, fine = rows(p, [[3e38, 1.0], [0.0, 2.0]])
    assert fine == [False, True]
    np.testing.assert_allclose(got, [[0, 0], [-1, 1]], atol=1e-6)


def test_no_row_at_all_is_an_error():
    with pytest.raises(DataError, match="input 'features': every training row is missing"):
        build_preprocessor("features", parts.Vector()).adapt(TRAINING[2:])


def test_blank_is_zeros_and_draw_inverts(features):
    blank, fine = rows(features, [features.blank["features"]])
    assert fine == [True]
    np.testing.assert_array_equal(blank, 0.0)
    got, _ = rows(features, [[4, 0.1, 5]])
    np.testing.assert_allclose(features.draw(got[0]), [4, 0.1, 5], rtol=1e-6)
    assert features.tensor.shape == (3,)
