"""Means and shares of what a mask keeps."""

import numpy as np
import pytest
from scipy.special import softmax

from mm_keras.masking import MARGIN, masked_mean, masked_softmax

RNG = np.random.default_rng(0)
KEEP = np.array([[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]], np.float32)


@pytest.mark.parametrize("axis", [0, -1])
def test_softmax_of_the_kept(axis):
    scores = 30 * RNG.normal(size=(3, 4)).astype(np.float32)
    got = np.asarray(masked_softmax(scores if axis else scores.T, KEEP if axis else KEEP.T, axis=axis))
    got = got if axis else got.T
    np.testing.assert_allclose(got[0, [0, 2, 3]], softmax(scores[0, [0, 2, 3]].astype(np.float64)), atol=1e-6)
    np.testing.assert_array_equal(got[0, 1], 0)
    np.testing.assert_allclose(got[1:], [[0, 1, 0, 0], [0, 0, 0, 0]], atol=1e-6)


def test_softmax_stays_in_the_range_of_its_scores(monkeypatch):
    import keras

    seen, plain = [], keras.ops.softmax
    monkeypatch.setattr(keras.ops, "softmax", lambda x, axis: seen.append(np.asarray(x)) or plain(x, axis=axis))
    scores = RNG.normal(size=(3, 4)).astype(np.float32)
    masked_softmax(scores, KEEP)
    assert seen[0].min() >= scores.min() - MARGIN - 1e-6
    assert seen[0].max() <= scores.max()


def test_mean_of_the_kept():
    x = RNG.normal(size=(3, 4, 2)).astype(np.float32)
    got = np.asarray(masked_mean(x, KEEP[..., None], axis=1))
    np.testing.assert_allclose(got, [x[0, [0, 2, 3]].mean(0), x[1, 1], [0, 0]], atol=1e-6)
