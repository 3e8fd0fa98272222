"""The parts of a comparison by hand: folds, candidates, ensembles, intervals and words."""

import numpy as np
import pytest

import mm_keras as mm
from mm_keras.comparison.candidates import find_candidates
from mm_keras.comparison.cells import Cell, load_cell
from mm_keras.comparison.folds import fold_data
from mm_keras.comparison.scores import compare_gains, gains_of, pooled
from mm_keras.comparison.verdict import addition, difference, headline, judge
from mm_keras.data.manifest import Data
from mm_keras.data.rows import Rows
from mm_keras.evaluation.metrics import score_classification
from mm_keras.registry import FUSIONS


def rows_of(labels, groups=None):
    count = len(labels)
    ids = np.array([f"r{i}" for i in range(count)], object)
    splits = np.full(count, "train", object)
    groups = None if groups is None else np.array(groups, object)
    return Rows(ids, {}, {"kind": np.array(labels, object)}, splits, np.arange(count) + 1, groups)


def data_of(labels, groups=None):
    return Data("hand.csv", rows_of(labels, groups), None, {"kind": sorted(set(labels))}, {})


def test_folds_test_each_row_once_and_keep_classes_in_proportion():
    labels = ["a"] * 60 + ["b"] * 30
    parts = fold_data(data_of(labels), 3, "kind", 0)
    tested = np.concatenate([p.test.ids for p in parts])
    assert sorted(tested) == sorted(parts[0].rows.ids)
    for part in parts:
        assert (len(part.train), len(part.validation), len(part.test)) == (54, 6, 30)
        assert (part.test.labels["kind"] == "a").sum() == 20
        assert (part.validation.labels["kind"] == "a").sum() == 4


def test_groups_stay_whole():
    groups = [f"g{i // 5}" if i < 60 else "" for i in range(90)]
    parts = fold_data(data_of(["a", "b", "b"] * 30, groups), 3, "kind", 0)
    for part in parts:
        places = {}
        for group, split in zip(part.rows.groups, part.rows.splits, strict=True):
            places.setdefault(group, set()).add(split)
        assert all(len(s) == 1 for g, s in places.items() if g)
        assert min(len(part.train), len(part.validation), len(part.test)) > 0
    assert sum(len(p.test) for p in parts) == 90


@pytest.mark.parametrize("folds", [1, 4])
def test_more_folds_than_groups_are_refused(folds):
    with pytest.raises(mm.DataError, match="between 2 and 3, the number of groups"):
        fold_data(data_of(["a", "b"] * 3, ["x", "x", "y", "y", "z", "z"]), folds, "kind", 0)


def recipe_of(count, fusion="gated"):
    names = ("one", "two", "three", *(f"more{i}" for i in range(count)))[:count]
    inputs = {n: mm.Vector(prefix=n) for n in names}
    return mm.Recipe(inputs=inputs, tasks={"kind": mm.Classification()}, fusion=fusion)


def test_candidates_are_each_alone_the_fusions_the_ensembles_and_all_but_one():
    found, refused = find_candidates(recipe_of(3), ["concat", "gated"], True)
    assert [(c.name, c.role) for c in found] == [
        ("one", "alone"), ("two", "alone"), ("three", "alone"), ("gated", "fusion"), ("concat", "fusion"),
        ("ensemble_mean", "ensemble"), ("ensemble_product", "ensemble"),
        ("gated without one", "without"), ("gated without two", "without"), ("gated without three", "without"),
    ]  # fmt: skip
    assert refused == {}
    assert [list(c.recipe.inputs) for c in found if c.role == "without"] == [
        ["two", "three"], ["one", "three"], ["one", "two"],
    ]  # fmt: skip
    two, _ = find_candidates(recipe_of(2), None, True)
    assert [c.role for c in two] == ["alone", "alone", "fusion", "ensemble", "ensemble"]  # all but one is one alone


def test_a_fusion_that_cannot_hold_the_inputs_is_left_out_with_the_reason():
    found, refused = find_candidates(recipe_of(20), "all", False)
    assert {c.role for c in found} == {"fusion"}
    assert [found[0].name, len(found) + len(refused)] == ["gated", len(FUSIONS)]
    assert list(refused) == ["tensor"]
    assert "Leave some inputs out" in refused["tensor"]


def cell(answers, present, classes=("a", "b")):
    ids = np.array([f"r{i}" for i in range(len(answers))])
    there = {n: np.array(p, bool) for n, p in present.items()}
    return Cell({"test": {"kind": np.array(answers)}}, {"test": ids}, {"test": there}, {"classes": {"kind": classes}})


def test_ensembles_count_the_inputs_that_are_there():
    cells = {
        "one": cell([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4]], {"one": [1, 0, 0]}),
        "two": cell([[0.3, 0.7], [0.3, 0.7], [0.1, 0.9]], {"two": [1, 1, 0]}),
    }
    np.testing.assert_allclose(pooled(cells, "test", "kind", False), [[0.55, 0.45], [0.3, 0.7], [0.35, 0.65]])
    product = np.exp(pooled(cells, "test", "kind", True))
    np.testing.assert_allclose(product[0], np.sqrt([0.24, 0.14]))


def test_gains_are_of_labelled_rows_alone():
    rows = rows_of(["a", "b", "", "b"])
    own = cell([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], {})
    assert gains_of(own, "test", rows, "kind") == {"r0": 1.0, "r1": 0.0, "r3": 1.0}
    assert gains_of(own, "validation", rows, "kind") == {}


def test_intervals_are_those_of_the_scores():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    gains = {"m": (probabilities.argmax(1) == labels).astype(float)}
    assert compare_gains(gains, [])["m"] == pytest.approx(score_classification(labels, probabilities)["accuracy"])


def test_a_difference_is_of_the_same_rows():
    rng = np.random.default_rng(1)
    one = rng.random(400) < 0.5
    other = np.where(rng.random(400) < 0.05, ~one, one)
    found = compare_gains({"one": one.astype(float), "other": other.astype(float)}, [("one", "other")])
    gap = found["one", "other"]
    assert gap["value"] == pytest.approx(one.mean() - other.mean())
    # Its standard error is that of the rows' differences, far below that of two samples.
    error = np.std(one.astype(float) - other) / 20
    assert gap["high"] - gap["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_whole_groups_are_drawn():
    gains, groups = np.repeat([0.0, 1.0], 50), np.repeat(np.arange(10), 10)
    alone = compare_gains({"m": gains}, [])["m"]
    grouped = compare_gains({"m": gains}, [], groups)["m"]
    ratio = (grouped["high"] - grouped["low"]) / (alone["high"] - alone["low"])
    assert ratio == pytest.approx(np.sqrt(10), rel=0.15)  # ten equal rows tell as much as one


def interval(value, low, high):
    return {"value": value, "low": low, "high": high}


@pytest.mark.parametrize(
    ("gap", "verdict", "words"),
    [
        (
            interval(0.031, 0.019, 0.044),
            "worth it",
            "worth it: gated beats text, the best single input, by +3.1 points",
        ),
        (interval(0.002, -0.01, 0.014), "not worth it", "text alone is as good"),
        (interval(-0.03, -0.05, -0.01), "worse", "stays behind text alone by -3.0 points [-5.0, -1.0]"),
        (interval(0.04, -0.01, 0.09), "not shown", "40 rows do not tell"),
    ],
)
def test_verdicts(gap, verdict, words):
    assert judge(gap, 0.01) == verdict
    assert words in headline(verdict, "gated", "text", gap, "accuracy", 40)


def test_words_of_differences():
    assert addition("audio", ["text"], interval(0.031, 0.019, 0.044), "accuracy") == (
        "Adding audio to text: +3.1 points [+1.9, +4.4]."
    )
    # An error that falls by 0.5 is a gain of 0.5.
    assert difference(interval(0.5, 0.25, 0.75), "mae") == "-0.5 of mae [-0.75, -0.25]"


def test_cells_come_back_as_they_were(tmp_path):
    own = cell([[0.9, 0.1]], {"one": [1]})
    own.save(tmp_path / "c.npz")
    back = load_cell(tmp_path / "c.npz")
    np.testing.assert_array_equal(back.outputs["test"]["kind"], own.outputs["test"]["kind"])
    assert back.ids["test"].tolist() == ["r0"]
    assert back.present["test"]["one"].tolist() == [True]
    assert back.facts == {"classes": {"kind": ["a", "b"]}}
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]
