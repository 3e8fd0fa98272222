"""Splits by hand count: shares, classes in proportion, whole groups, seeds."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.data.splits import draw_splits
from mm_keras.errors import DataError

RECIPE = parts.Recipe(inputs={"words": parts.Text()}, tasks={"kind": parts.Classification()})


def test_classes_stay_in_proportion():
    labels = np.array(["a"] * 70 + ["b"] * 20 + ["c"] * 10, dtype=object)
    splits = draw_splits(100, (0.8, 0.1, 0.1), seed=0, labels=labels)
    assert Counter(zip(labels, splits, strict=True)) == {
        ("a", "train"): 56, ("a", "validation"): 7, ("a", "test"): 7,
        ("b", "train"): 16, ("b", "validation"): 2, ("b", "test"): 2,
        ("c", "train"): 8, ("c", "validation"): 1, ("c", "test"): 1,
    }  # fmt: skip


def test_the_seed_alone_decides():
    one, again, other = (draw_splits(50, (0.6, 0.2, 0.2), seed) for seed in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()
    assert Counter(one) == Counter(other) == {"train": 30, "validation": 10, "test": 10}


def test_a_share_of_zero_gives_none():
    assert Counter(draw_splits(10, (0.7, 0.0, 0.3), 0)) == {"train": 7, "test": 3}
    assert Counter(draw_splits(10, (1.0, 0.0, 0.0), 0)) == {"train": 10}


def test_a_class_of_one_row_does_not_undo_the_proportion_of_the_others():
    labels = np.array(["a"] * 50 + ["b"] * 49 + ["c"], dtype=object)
    splits = draw_splits(100, (0.8, 0.0, 0.2), seed=0, labels=labels)
    test = Counter(labels[splits == "test"])
    assert test["a"] + test["c"] == 10  # the single row counts with the commonest class
    assert test["b"] == 10


def test_more_classes_than_test_rows():
    labels = np.array([str(i // 2) for i in range(40)], dtype=object)
    assert Counter(draw_splits(40, (0.8, 0.1, 0.1), 0, labels)) == {"train": 32, "validation": 4, "test": 4}


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.2, 0.2, 0.6), (0.5, 0.0, 0.5)])
def test_groups_stay_whole_and_classes_in_proportion(shares):
    rng = np.random.default_rng(0)
    groups = np.array([f"g{i}" for i in rng.integers(0, 60, 600)], dtype=object)
    labels = rng.choice(np.array(["a", "b"], dtype=object), 600, p=[0.7, 0.3])
    splits = draw_splits(600, shares, 0, labels, groups)
    assert all(len(set(splits[groups == g])) == 1 for g in set(groups))
    for name, share in zip(("train", "validation", "test"), shares, strict=True):
        for label in "ab":
            count, whole = ((splits == name) & (labels == label)).sum(), (labels == label).sum()
            assert abs(count - share * whole) <= 10  # a group holds ten rows on average
    assert splits.tolist() == draw_splits(600, shares, 0, labels, groups).tolist()
    assert splits.tolist() != draw_splits(600, shares, 1, labels, groups).tolist()


def test_rows_without_a_group_are_groups_of_their_own():
    groups = np.array([""] * 90 + ["g"] * 10, dtype=object)
    splits = draw_splits(100, (0.8, 0.0, 0.2), 0, groups=groups)
    assert Counter(splits) == {"train": 80, "test": 20}
    assert len(set(splits[90:])) == 1


def test_two_large_groups_are_never_both_taken():
    groups = np.array(["g"] * 5 + ["h"] * 5, dtype=object)
    assert set(draw_splits(10, (0.1, 0.0, 0.9), 0, groups=groups)) == {"train", "test"}
    assert set(draw_splits(10, (0.9, 0.0, 0.1), 0, groups=groups)) == {"train", "test"}


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.8, 0.1, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_shares_that_are_none(shares):
    with pytest.raises(DataError, match="three shares that sum to 1"):
        draw_splits(10, shares, 0)


def test_too_little_to_split():
    with pytest.raises(DataError, match="1 rows are too few"):
        draw_splits(1, (0.8, 0.1, 0.1), 0)
    with pytest.raises(DataError, match="all 4 rows are of one group, 'g'"):
        draw_splits(4, (0.8, 0.1, 0.1), 0, groups=np.array(["g"] * 4, dtype=object))


def table(**columns):
    return pd.DataFrame({"words": list("abcdefgh"), "kind": list("xyxyxyxy"), **columns})


def test_synonyms_in_the_split_column():
    words = ["train", "Training", "VAL", "valid", "validation", "dev", "test", "testing"]
    splits = load(table(split=words), RECIPE).rows.splits
    assert splits.tolist() == ["train"] * 2 + ["validation"] * 4 + ["test"] * 2


def test_an_unknown_split_is_a_bad_row():
    words = ["train"] * 5 + ["holdout", "", "test"]
    data = load(table(split=words), RECIPE, max_bad=0.5)
    assert data.quarantine[["row", "column", "value"]].to_numpy().tolist() == [
        [6, "split", "holdout"],
        [7, "split", ""],
    ]
    assert "'dev'" in data.quarantine["reason"][0]


def test_the_group_column_is_used():
    groups = list("ppqqrrss")
    rows = load(table(group=groups), RECIPE, split=(0.5, 0.25, 0.25)).rows
    assert rows.splits[::2].tolist() == rows.splits[1::2].tolist()
    assert Counter(rows.splits) == {"train": 4, "validation": 2, "test": 2}


def test_no_split_makes_test_rows():
    recipe = RECIPE.model_copy(update={"tasks": {"kind": parts.Classification(classes=("x", "y"))}})
    assert set(load(table(), recipe, split=None).rows.splits) == {"test"}


def test_the_recipes_seed_is_the_default():
    drawn = {
        seed: load(table(), RECIPE.model_copy(update={"training": parts.Training(seed=seed)}), split=(0.5, 0, 0.5))
        for seed in range(4)
    }
    assert len({tuple(d.rows.splits) for d in drawn.values()}) > 1
    again = load(table(), RECIPE, split=(0.5, 0, 0.5), seed=3)
    assert again.rows.splits.tolist() == drawn[3].rows.splits.tolist()
