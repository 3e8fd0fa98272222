"""Soups, judges and second models by hand, against NumPy and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import mm_keras as mm
from mm_keras.data.manifest import Data
from mm_keras.data.rows import Rows
from mm_keras.ensembling.joins import cross_fitted, fit_stacking, mean_of, stacked, why_not_stacked
from mm_keras.ensembling.members import cut_members, with_judges
from mm_keras.ensembling.soup import greedy_soup, mean_weights
from mm_keras.evaluation.judge import Judge
from mm_keras.tasks import build_task


def test_a_soup_of_equals_is_the_member_bit_for_bit():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(7, 3)).astype(np.float32), np.array([1, 2], np.int32), np.float32(0.1)]
    for own, mean in zip(weights, mean_weights([weights] * 3), strict=True):
        np.testing.assert_array_equal(own, mean)
        assert own.dtype == mean.dtype


def test_a_soup_is_the_mean_of_weights():
    (mean,) = mean_weights([[np.float32([1, 2])], [np.float32([2, 4])], [np.float32([6, 0])]])
    np.testing.assert_array_equal(mean, [3, 2])


@pytest.mark.parametrize(
    ("members", "wanted", "taken", "mean"),
    [
        ([0.0, 5.0, 1.0], 0.4, [0, 2], 0.5),  # the second best helps: 0.5 is nearer; the third would lead away
        ([3.0, 0.5, 1.0], 0.5, [1], 0.5),  # nothing is better than right
        ([2.0, 2.0, 2.0], 1.0, [0, 1, 2], 2.0),  # no harm is enough
    ],
)
def test_a_greedy_soup_takes_what_does_no_harm(members, wanted, taken, mean):
    def score(weights):
        return -abs(float(weights[0]) - wanted)

    weights = [[np.float32(w)] for w in members]
    scores = [score(w) for w in weights]
    found, soup, best = greedy_soup(weights, scores, score)
    assert (found, float(soup[0])) == (taken, mean)
    assert best == score(soup) >= max(scores)


RECIPE = mm.Recipe(
    inputs={"one": mm.Vector()},
    tasks={"kind": mm.Classification(), "size": mm.Regression(weight=3.0)},
)
KINDS = ["a", "b", "c"]


def made(count, seed=0, groups=None):
    """Returns `(rows, tasks, said)`: rows of three kinds and a size, and what three members say of them."""
    rng = np.random.default_rng(seed)
    number, size = rng.integers(0, 3, count), rng.normal(10, 2, count)
    labels = {"kind": np.array(KINDS, object)[number], "size": size}
    ids = np.array([f"r{i}" for i in range(count)], object)
    splits = np.full(count, "train", object)
    groups = None if groups is None else np.array(groups, object)
    rows = Rows(ids, {}, labels, splits, np.arange(count) + 1, groups)
    tasks = {n: build_task(n, spec) for n, spec in RECIPE.tasks.items()}
    tasks["kind"].adapt(labels["kind"], KINDS)
    tasks["size"].adapt(labels["size"])
    standard = (size - tasks["size"].state["mean"]) / tasks["size"].state["deviation"]
    said = {}
    for member in range(3):
        logits = 1.5 * np.eye(3)[number] + rng.normal(0, 1 + 0.5 * member, (count, 3))
        value = standard[:, None] + rng.normal(0, 0.3 + 0.3 * member, (count, 1))
        said[f"member_{member + 1}"] = {"kind": logits.astype(np.float32), "size": value.astype(np.float32)}
    return rows, tasks, said


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_mean_is_of_probabilities_and_of_values():
    _, tasks, said = made(50)
    found = mean_of(said, tasks)
    wanted = np.mean([softmax(own["kind"]) for own in said.values()], axis=0)
    np.testing.assert_allclose(softmax(found["kind"]), wanted, atol=1e-6)
    np.testing.assert_allclose(found["size"], np.mean([own["size"] for own in said.values()], axis=0), atol=1e-6)


def test_stacking_is_the_logistic_regression_of_scikit_learn():
    rows, tasks, said = made(400)
    judge = Judge(RECIPE, tasks, rows)
    judge.weights["kind"] = judge.weights["kind"] * 1e4  # so many rows that what it draws to no longer counts
    found = stacked(said, fit_stacking(said, judge, tasks))["kind"]
    features = np.concatenate([np.log(softmax(own["kind"].astype(float))) for own in said.values()], axis=1)
    other = LogisticRegression(C=1e6, tol=1e-10, max_iter=10_000).fit(features, judge.targets["kind"].argmax(axis=1))
    # What is left is the pull to the mean, which scikit-learn has not.
    np.testing.assert_allclose(softmax(found), other.predict_proba(features), atol=2e-3)


def test_stacking_of_numbers_is_least_squares():
    rows, tasks, said = made(400)
    judge = Judge(RECIPE, tasks, rows)
    judge.weights["size"] = judge.weights["size"] * 1e6
    found = stacked(said, fit_stacking(said, judge, tasks))["size"]
    features = np.concatenate([np.ones((400, 1)), *(own["size"] for own in said.values())], axis=1)
    coefficients = np.linalg.lstsq(features, judge.targets["size"], rcond=None)[0]
    np.testing.assert_allclose(found, features @ coefficients, atol=1e-3)


def test_without_rows_stacking_is_the_mean_of_logarithms():
    rows, tasks, said = made(30)
    judge = Judge(RECIPE, tasks, rows)
    judge.weights["kind"] = judge.weights["kind"] * 0
    found = stacked(said, fit_stacking(said, judge, tasks))["kind"]
    wanted = np.mean([np.log(softmax(own["kind"].astype(float))) for own in said.values()], axis=0)
    np.testing.assert_allclose(softmax(found), softmax(wanted), atol=1e-5)


def test_a_row_is_never_judged_by_what_it_fitted():
    rows, tasks, said = made(60)
    strata = rows.labels["kind"].copy(), None
    before = cross_fitted(said, Judge(RECIPE, tasks, rows), tasks, *strata, 0)
    rows.labels["kind"][7] = "a" if rows.labels["kind"][7] == "b" else "b"
    rows.labels["size"][7] += 30
    after = cross_fitted(said, Judge(RECIPE, tasks, rows), tasks, *strata, 0)
    for task in tasks:
        np.testing.assert_array_equal(before[task][7], after[task][7])
        assert (before[task] != after[task]).any()


def test_scores_by_hand():
    rows, tasks, said = made(40)
    rows.labels["kind"][3], rows.labels["size"][5] = "", np.nan
    said["member_1"]["kind"][8] = np.nan  # a file that has gone bad
    judge, own = Judge(RECIPE, tasks, rows), said["member_1"]
    known = np.setdiff1d(np.arange(40), [3, 8])
    right = np.mean([KINDS[own["kind"][i].argmax()] == rows.labels["kind"][i] for i in known])
    state, known = tasks["size"].state, np.setdiff1d(np.arange(40), [5])
    values = own["size"][known, 0] * state["deviation"] + state["mean"]
    error = np.abs(values - rows.labels["size"][known]).mean() / state["deviation"]
    assert judge.score(own) == pytest.approx((right + 3 * (1 - error)) / 4, abs=1e-6)

    found = judge.intervals({"member": own, "mean": mean_of(said, tasks)}, "member", 0)
    assert found["member", "score"]["value"] == pytest.approx(judge.score(own))
    assert found["member", "gain"] == {"value": 0, "low": 0, "high": 0}
    assert found["member", "size mae"]["value"] == pytest.approx(error * state["deviation"], abs=1e-6)
    gain = found["mean", "gain"]
    assert gain["value"] == pytest.approx(found["mean", "score"]["value"] - found["member", "score"]["value"])
    assert gain["low"] < gain["value"] < gain["high"]


def data_of(rows):
    return Data("hand.csv", rows, None, {"kind": KINDS}, {})


def test_members_hold_each_training_row_once_and_groups_whole():
    groups = [f"g{i // 4}" for i in range(60)]
    rows, _, _ = made(60, groups=groups)
    rows.splits[-8:] = "validation"
    cut = cut_members(data_of(rows), 4, 0)
    held = [own.split("validation") for own in cut]
    assert sorted(np.concatenate([h.ids for h in held])) == sorted(rows.ids[:52])
    for own in cut:
        assert not set(own.split("train").groups) & set(own.split("validation").groups)


def test_data_without_validation_rows_give_a_tenth():
    rows, _, _ = made(100)
    rows.splits[80:] = "test"
    data, drawn = with_judges(data_of(rows), 0)
    assert drawn
    assert (len(data.train), len(data.validation), len(data.test)) == (72, 8, 20)
    assert (rows.splits == "validation").sum() == 0  # what was given stays as it is
    again, drawn = with_judges(data, 0)
    assert again is data
    assert not drawn


def test_stacking_needs_rows():
    assert why_not_stacked(made(5)[0]) is None
    assert why_not_stacked(made(4)[0]) == "it needs 5 rows of validation, and there are 4"
    assert "5 groups of validation, and there are 2" in why_not_stacked(made(9, groups=["x"] * 5 + ["y"] * 4)[0])
