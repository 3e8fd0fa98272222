"""Hashed n-grams, against plain Python."""

import numpy as np
import pytest
from conftest import build_run, five_input_examples, five_input_recipe

import mm_keras as mm
import mm_keras.recipe as parts
from mm_keras.encoders import build_encoder
from mm_keras.encoders.ngrams import HashedNGrams, RootMeanTokens, SumNGrams
from mm_keras.recipe import TensorInfo


def number_of(ids, buckets):
    """The number of one n-gram, by the rule of the docstring."""
    h = len(ids)
    for i in ids:
        h = (h * 1031 + i) % (buckets - 1)
    return h + 1


def test_numbers_are_those_of_the_rule_and_none_reaches_into_the_padding():
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 30_000, (6, 7)).astype(np.int32)
    for row, kept in enumerate((7, 6, 3, 1, 0, 7)):
        ids[row, kept:] = 0
    got = np.asarray(HashedNGrams(most=4, buckets=5000)(ids))
    assert got.shape == (6, 7, 4)
    for row, at, n in np.ndindex(6, 7, 4):
        run = ids[row, at : at + n + 1].tolist()
        whole = len(run) == n + 1 and 0 not in run
        assert got[row, at, n] == (number_of(run, 5000) if whole else 0)
    assert got.max() < 5000


def test_the_largest_hash_fits_int32_and_a_larger_one_is_refused():
    ids = np.array([[1_999_998, 1_999_997, 1_999_996]], np.int32)
    got = np.asarray(HashedNGrams(most=3, buckets=2_000_000)(ids))
    assert got[0, 0].tolist() == [number_of(ids[0, :n].tolist(), 2_000_000) for n in (1, 2, 3)]
    with pytest.raises(ValueError, match="between 2 and 2,000,000"):
        HashedNGrams(most=3, buckets=2_000_001)


def test_vectors_are_summed_over_the_root_of_their_count():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(3, 4, 2, 5)).astype(np.float32)
    numbers = rng.integers(0, 3, (3, 4, 2)).astype(np.int32)
    numbers[2] = 0
    tokens, count = SumNGrams()([vectors, numbers])
    tokens, pooled = np.asarray(tokens), np.asarray(RootMeanTokens()([tokens, count]))
    keep = (numbers > 0)[..., None]
    np.testing.assert_allclose(tokens, (vectors * keep).sum(2), atol=1e-6)
    count = keep.sum((1, 2))
    np.testing.assert_allclose(pooled, (vectors * keep).sum((1, 2)) / np.sqrt(np.maximum(count, 1)), atol=1e-6)
    assert not pooled[2].any()


def test_more_padding_changes_nothing_and_order_matters():
    spec = parts.Text(encoder={"kind": "ngrams", "size": "tiny", "options": {"longest": 2}})
    short, long = (build_encoder("t", spec, TensorInfo(shape=(n,), dtype="int32", vocabulary_size=40)) for n in (5, 9))
    long.set_weights(short.get_weights())
    ids = np.array([[4, 9, 2, 0, 0], [9, 4, 2, 0, 0]], np.int32)
    got = np.asarray(short(ids)["embedding"])
    np.testing.assert_allclose(got, np.asarray(long(np.pad(ids, [[0, 0], [0, 4]]))["embedding"]), atol=1e-6)
    assert np.abs(got[0] - got[1]).max() > 1e-3


@pytest.mark.slow
def test_an_explanation_shares_the_value_among_the_tokens(tmp_path):
    run = build_run(tmp_path / "run", five_input_recipe(title="ngrams"))
    explanation = mm.explain(run, {**five_input_examples(1)[0], "title": "red green"})
    assert len(explanation.maps["title"]) == len(explanation.panels["title"].names) >= 2
    assert np.abs(explanation.maps["title"]).max() > 0
    assert explanation.error < 0.02
