"""Balanced classes and mixed sets: the counts of a pass against expectation, and the same draw for the same seed."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mm_keras.recipe as parts
from mm_keras.data.drawing import Draw, Epochs, make_draw
from mm_keras.data.joining import mix
from mm_keras.data.manifest import load
from mm_keras.data.pipeline import make_dataset
from mm_keras.errors import DataError, RecipeError
from mm_keras.preprocessing import build_preprocessor


def recipe_of(**training):
    return parts.Recipe(
        inputs={"facts": parts.Tabular(numeric=("number",))},
        tasks={"kind": parts.Classification(), "size": parts.Regression()},
        training=parts.Training(**training),
    )


def make_data(counts, start=0, validation=2):
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    table = pd.DataFrame({"number": np.arange(start, start + len(kinds)), "kind": kinds, "size": 1.0, "split": "train"})
    table.loc[table.index[-validation:], "split"] = "validation"
    return load(table, recipe_of())


def drawn(rows, draw, epochs, seed=1, batch_size=5):
    """Returns the row numbers of each pass, as the data chain gives them."""
    preprocessor = build_preprocessor("facts", recipe_of().inputs["facts"])
    preprocessor.adapt(rows.cells["facts"])
    dataset = make_dataset({"facts": preprocessor}, rows, batch_size=batch_size, epochs=Epochs(epochs, seed, draw=draw))
    found = [i for _, i in dataset.as_numpy_iterator()]
    assert len(dataset) == len(found)
    return np.split(np.concatenate(found), len(epochs))


def test_every_class_comes_equally_often_and_its_rows_too():
    rows = make_data({"a": 40, "b": 16, "c": 6, "": 4}, validation=2).train
    assert len(rows) == 64
    draw = make_draw(rows, "kind")
    passes = drawn(rows, draw, range(3))
    kinds = rows.labels["kind"]
    for at in passes:
        assert len(at) == 64
        found = dict(zip(*np.unique(kinds[at], return_counts=True), strict=True))
        assert sorted(found) == ["a", "b", "c"]  # without a label, a row is not drawn
        assert all(abs(n - 64 / 3) < 1 for n in found.values())
        assert sorted(found.values()) == sorted(draw.counts(64))
        for kind in "abc":
            times = np.bincount(at, minlength=64)[kinds == kind]
            assert times.max() - times.min() <= 1
    assert set(passes[0]) != set(passes[1])  # another part of the large class
    assert len(set(np.concatenate(passes)) & set(np.flatnonzero(kinds == "a"))) > 30
    np.testing.assert_array_equal(passes[1], drawn(rows, draw, range(1, 2))[0])  # as after a stop
    assert not np.array_equal(passes[0], drawn(rows, draw, range(1), seed=2)[0])
    first = kinds[passes[0]]
    assert 0.2 < np.mean(first[1:] == first[:-1]) < 0.5  # classes are shuffled: a third of the neighbours agree


def test_counts_are_the_rounded_shares():
    draw = Draw((np.arange(3), np.arange(3, 4), np.arange(4, 50)), (0.5, 0.25, 0.25))
    np.testing.assert_array_equal(draw.counts(10), [5, 3, 2])  # cumulated 5, 7.5, 10
    epochs = Epochs(range(1), draw=draw, shuffle=False)
    at = [int(epochs.row(tf.constant(i, tf.int64), 10, tf.constant(0, tf.int64))) for i in range(10)]
    assert at[5:8] == [3, 3, 3]
    assert sorted(at[:3]) == [0, 1, 2]
    assert all(row >= 4 for row in at[8:])


def test_mixed_sets_come_by_their_weights_whatever_their_sizes():
    large, small = make_data({"a": 30, "b": 30}), make_data({"b": 5, "c": 7}, start=100)
    data = mix({"large": large, "small": small}, {"large": 3, "small": 1})
    assert data.classes["kind"] == ("a", "b", "c")
    assert data.rows.ids[0] == "large/1"
    assert data.rows.ids[-1] == "small/12"
    rows = data.train
    assert (len(rows), len(data.validation)) == (68, 4)
    at = drawn(rows, make_draw(rows), range(1))[0]
    counts = {name: int((rows.sources[at] == name).sum()) for name in ("large", "small")}
    assert counts == {"large": 51, "small": 17}
    both = make_draw(rows, "kind")  # and by class, within each set
    at = drawn(rows, both, range(1))[0]
    assert int((rows.sources[at] == "small").sum()) == 17
    small_kinds = rows.labels["kind"][at][rows.sources[at] == "small"]
    assert abs((small_kinds == "b").sum() - 8.5) <= 1
    assert make_draw(large.train) is None


def test_sets_that_do_not_fit_are_refused():
    one = make_data({"a": 5, "b": 5})
    with pytest.raises(DataError, match="two sets or more"):
        mix({"one": one}, {"one": 1})
    with pytest.raises(DataError, match=r"each of \['one', 'two'\]"):
        mix({"one": one, "two": one}, {"one": 1, "two": 0})
    other = parts.Recipe(inputs={"title": parts.Text()}, tasks={"kind": parts.Classification()})
    titles = load(pd.DataFrame({"title": ["x", "y"] * 9, "kind": ["a", "b"] * 9}), other)
    with pytest.raises(DataError, match="same inputs"):
        mix({"one": one, "two": titles}, {"one": 1, "two": 1})


def test_balanced_needs_a_classification():
    assert recipe_of(sampling="balanced").sampling_task == "kind"
    assert recipe_of().sampling_task is None
    with pytest.raises(RecipeError, match="needs a classification"):
        recipe_of(sampling="balanced", sampling_task="size")
    with pytest.raises(RecipeError, match="`sampling` is 'as_is'"):
        recipe_of(sampling_task="kind")
    with pytest.raises(RecipeError, match="`cache` is 'memory'"):
        recipe_of(cache_folder="x")
