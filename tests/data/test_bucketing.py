"""Bucketing: what is cut, and an order that is a function of seed and epoch in which neighbours have one length."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mm_keras.recipe as parts
from mm_keras.data.bucketing import WINDOW, grouped, lengths_of, rounding, row_lengths, trim
from mm_keras.data.drawing import Epochs, make_draw
from mm_keras.data.manifest import load
from mm_keras.data.pipeline import make_dataset
from mm_keras.preprocessing import build_preprocessor

KEY = tf.constant([3, 1], tf.int64)


@pytest.mark.parametrize(("steps", "unit"), [(4, 8), (64, 8), (128, 8), (129, 16), (256, 16), (1000, 64), (1024, 64)])
def test_an_input_has_sixteen_lengths_at_most(steps, unit):
    assert rounding(steps) == unit
    assert -(-steps // unit) <= 16


@pytest.mark.parametrize(
    ("length", "longest", "kept"),
    [(64, 9, 16), (64, 8, 8), (64, 0, 8), (64, 64, 64), (60, 57, 60), (5, 2, 5), (256, 17, 32)],
)
def test_a_batch_is_cut_to_its_longest_row_rounded_up(length, longest, kept):
    ids = np.zeros((3, length), np.int32)
    ids[1, :longest] = 7
    ids[2, : longest // 2] = 9
    steps = np.stack([np.zeros_like(ids), ids], axis=-1).astype(np.float32)  # its mark alone tells a step
    for batch in (ids, steps):
        np.testing.assert_array_equal(trim(tf.constant(batch)), batch[:, :kept])
        np.testing.assert_array_equal(lengths_of(tf.constant(batch)), [0, longest, longest // 2])


def test_only_padding_at_the_end_is_cut():
    ids = np.zeros((1, 64), np.int32)
    ids[0, 20] = 1
    assert trim(tf.constant(ids)).shape == (1, 24)
    as_dataset = tf.data.Dataset.from_tensors(ids).map(trim)
    assert as_dataset.element_spec.shape.as_list() == [1, None]


def group(count, batch_size, seed=0):
    """Returns `(rows in a shuffled order, the same grouped, lengths by row)`."""
    rng = np.random.default_rng(seed)
    rows, lengths = rng.permutation(count).astype(np.int64), rng.integers(1, 500, count)
    return rows, grouped(tf.constant(rows), tf.constant(lengths[rows]), batch_size, KEY).numpy(), lengths


def test_rows_of_a_batch_are_of_one_length_and_windows_stay():
    rows, found, lengths = group(2 * WINDOW * 4 + 4 * 7 + 3, 4)
    for start in range(0, len(rows), WINDOW * 4):
        window = slice(start, min(start + WINDOW * 4, len(rows) - 3))
        assert sorted(found[window]) == sorted(rows[window])
        cut = lengths[found[window]].reshape(-1, 4)
        # Sorted and cut, in another order: batches do not overlap.
        by_length = cut[np.argsort(cut[:, 0])]
        np.testing.assert_array_equal(by_length.reshape(-1), np.sort(lengths[rows[window]]))
        assert not np.array_equal(cut, by_length)
    np.testing.assert_array_equal(found[-3:], rows[-3:])


def test_fewer_rows_than_a_batch_stay_as_they_are():
    rows, found, _ = group(5, 8)
    np.testing.assert_array_equal(found, rows)


@pytest.fixture(scope="module")
def chain():
    """A text and a sequence of 107 rows, and what reads them."""
    rng = np.random.default_rng(0)
    words, steps = rng.integers(0, 60, 107), rng.integers(0, 40, 107)
    table = pd.DataFrame({"title": ["ab " * n for n in words], "kind": np.where(words > 50, "long", "short")})
    table["beat"] = [rng.normal(size=(n, 2)).tolist() if n else None for n in steps]
    recipe = parts.Recipe(
        inputs={"title": parts.Text(length=48, tokens="bytes"), "beat": parts.Vector(steps=40)},
        tasks={"kind": parts.Classification()},
        training=parts.Training(bucket=True),
    )
    rows = load(table.assign(split="train"), recipe).train
    preprocessors = {n: build_preprocessor(n, spec) for n, spec in recipe.inputs.items()}
    for name, p in preprocessors.items():
        p.adapt(rows.cells[name])
    return recipe, rows, preprocessors, np.minimum(3 * words, 48) * (words > 0) + steps


def test_lengths_of_several_inputs_are_summed(chain):
    recipe, rows, preprocessors, expected = chain
    found = row_lengths(preprocessors, rows, recipe.bucketed)
    # The bytes of a text are three to a word.
    np.testing.assert_array_equal(found, expected)


def dataset_of(chain, numbers, trimmed=("title", "beat"), **options):
    _, rows, preprocessors, lengths = chain
    epochs = Epochs(numbers, 5, **{"lengths": lengths, **options})
    return make_dataset(preprocessors, rows, batch_size=8, epochs=epochs, trimmed=trimmed)


def test_every_row_once_an_epoch_and_any_batch_again(chain):
    dataset = dataset_of(chain, range(3))
    batches = [(t["title"].shape[1], t["beat"].shape[1], i) for t, i in dataset.as_numpy_iterator()]
    assert len(batches) == len(dataset) == 3 * 14
    passes = np.split(np.concatenate([i for *_, i in batches]), 3)
    assert all(sorted(p) == list(range(107)) for p in passes)
    assert not np.array_equal(passes[0], passes[1])
    again = [i for _, i in dataset_of(chain, range(1, 3)).skip(5).as_numpy_iterator()]  # as after a stop
    for (*_, one), other in zip(batches[14 + 5 :], again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_grouping_is_what_saves_the_padding(chain):
    real = row_lengths(chain[2], chain[1], ["beat"])

    def steps(lengths):
        found = dataset_of(chain, range(2), ["beat"], lengths=lengths).as_numpy_iterator()
        return sum(t["beat"][..., 0].size for t, _ in found) / (2 * real.sum())

    # Of forty steps, evenly spread, eight rows have one near the top; rounded up by eight, four are padding.
    assert steps(None) > 1.7
    assert steps(real) < 1.35


def test_what_is_cut_is_what_is_not_cut_without_its_padding(chain):
    for name in ("title", "beat"):
        pairs = zip(dataset_of(chain, range(1)), dataset_of(chain, range(1), trimmed=()), strict=True)
        for (cut, _), (whole, _) in pairs:
            kept = cut[name].shape[1]
            np.testing.assert_array_equal(cut[name], whole[name][:, :kept])
            assert not np.any(whole[name][:, kept:])


def test_rows_are_drawn_and_then_grouped(chain):
    """A class that comes more often than it is comes as often in buckets."""
    draw = make_draw(chain[1], "kind")
    plain, found = (
        np.concatenate([i for _, i in dataset_of(chain, range(2), draw=draw, **more).as_numpy_iterator()])
        for more in ({"lengths": None}, {})
    )
    for one, other in zip(np.split(plain, 2), np.split(found, 2), strict=True):
        assert sorted(one) == sorted(other)
        assert len(set(other)) < 107
