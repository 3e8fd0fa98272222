"""Scores equal scikit-learn's; intervals equal what statistics says."""

import numpy as np
import pytest
from sklearn import metrics

from mm_keras.evaluation.metrics import score_classification, score_regression


def guesses(rows=400, classes=5, absent=(), seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice([c for c in range(classes) if c not in absent], rows)
    logits = rng.normal(0, 1, (rows, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities


def binned_gap(probabilities, labels, edges):
    """The calibration error, bin by bin as its definition reads."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    total = 0.0
    for i in range(15):
        above = confidence > edges[i] if i else confidence >= 0
        inside = above & (confidence <= edges[i + 1])
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize(("classes", "absent"), [(2, ()), (5, ()), (5, (3,)), (12, (0, 11))])
def test_classification_equals_scikit_learn(classes, absent):
    labels, probabilities = guesses(classes=classes, absent=absent)
    predicted = probabilities.argmax(axis=1)
    found = {name: s["value"] for name, s in score_classification(labels, probabilities).items()}
    seen = np.union1d(labels, predicted)
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.recall_score(labels, predicted, average="macro", labels=np.unique(labels)),
        "macro_f1": metrics.f1_score(labels, predicted, average="macro", labels=seen),
        "log_loss": metrics.log_loss(labels, probabilities, labels=range(classes)),
        "brier": ((probabilities - np.eye(classes)[labels]) ** 2).sum(axis=1).mean(),
        "ece": binned_gap(probabilities, labels, np.arange(16) / 15),
        "adaptive_ece": binned_gap(probabilities, labels, np.quantile(probabilities.max(axis=1), np.arange(16) / 15)),
    }
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_sure_and_wrong_guess_has_a_finite_loss():
    found = score_classification(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]], np.float32))
    assert found["log_loss"]["value"] == pytest.approx(-np.log(1e-7) / 2, rel=1e-6)
    assert found["accuracy"]["value"] == 0.5


def test_the_interval_of_accuracy_is_the_binomial_one():
    rows, share = 500, 0.8
    labels = np.zeros(rows, int)
    probabilities = np.tile([0.9, 0.1], (rows, 1))
    probabilities[: round(rows * (1 - share))] = [0.1, 0.9]
    accuracy = score_classification(labels, probabilities)["accuracy"]
    half = 1.96 * (share * (1 - share) / rows) ** 0.5
    assert accuracy["value"] == share
    # A thousand draws place a 2.5 % quantile within about a tenth of the half-width.
    assert accuracy["low"] == pytest.approx(share - half, abs=0.2 * half)
    assert accuracy["high"] == pytest.approx(share + half, abs=0.2 * half)


def test_the_interval_of_a_mean_error_is_the_normal_one():
    rng = np.random.default_rng(0)
    targets = rng.normal(0, 1, 800)
    values = targets + rng.uniform(0, 1, 800)
    mae = score_regression(targets, values)["mae"]
    half = 1.96 * np.std(values - targets) / 800**0.5
    assert (mae["high"] - mae["low"]) / 2 == pytest.approx(half, rel=0.15)


@pytest.mark.parametrize("offset", [0.0, 1.6e9])  # seconds since the epoch
def test_regression_equals_scikit_learn(offset):
    rng = np.random.default_rng(0)
    targets = rng.normal(0, 10, 300) + offset
    values = targets + rng.normal(1, 3, 300)
    found = score_regression(targets, values)
    expected = {
        "mae": metrics.mean_absolute_error(targets, values),
        "rmse": metrics.root_mean_squared_error(targets, values),
        "r2": metrics.r2_score(targets, values),
    }
    assert {name: s["value"] for name, s in found.items()} == pytest.approx(expected, rel=1e-7)
    assert 0.85 < found["r2"]["low"] < expected["r2"] < found["r2"]["high"] < 0.95


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_constant_targets(constant):
    targets = np.full(50, constant)
    for values, expected in ((targets, 1.0), (targets + 1, 0.0)):
        r2 = score_regression(targets, values)["r2"]
        # scikit-learn's convention, which it misses itself where the mean of 0.1 is not 0.1.
        assert r2 == {"value": expected, "low": expected, "high": expected}


def test_a_resample_without_spread_has_no_huge_r2():
    r2 = score_regression(np.array([1.0, 1.0, 1.0, 2.0]), np.array([1.1, 1.1, 1.1, 1.5]))["r2"]
    assert -1 < r2["low"] <= 0  # a third of the resamples hold ones only, whose r2 is 0


def test_one_row():
    found = score_classification(np.array([1]), np.array([[0.25, 0.75]]))
    assert found["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert score_regression(np.array([2.0]), np.array([5.0]))["mae"]["high"] == 3.0


def test_the_seed_decides_and_blocks_do_not(monkeypatch):
    labels, probabilities = guesses()
    whole = score_classification(labels, probabilities, seed=4)
    assert whole == score_classification(labels, probabilities, seed=4)
    assert whole != score_classification(labels, probabilities, seed=5)
    monkeypatch.setattr("mm_keras.evaluation.metrics.MOST_WEIGHTS", 400 * 7)
    blocks = score_classification(labels, probabilities, seed=4)
    for name, score in whole.items():
        assert blocks[name] == pytest.approx(score, rel=1e-12)


def test_many_classes_take_little_memory():
    """As whole confusion matrices, the resamples of 1000 classes would take 8 GB."""
    labels, probabilities = guesses(rows=1000, classes=1000)
    found = score_classification(labels, probabilities)
    assert found["accuracy"]["value"] == (probabilities.argmax(axis=1) == labels).mean()
