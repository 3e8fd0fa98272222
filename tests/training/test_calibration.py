"""Temperatures, intervals and thresholds: against SciPy, by hand, and by what they promise."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from mm_keras.training.calibration import (
    COLDEST,
    HOTTEST,
    calibration_error,
    describe,
    fit_half_width,
    fit_temperature,
    fit_threshold,
    inner_edges,
)


def drawn(temperature, rows, classes=5, seed=0):
    """Logits that are too large by a factor of `temperature`, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, classes))
    # The largest of these is a draw from the softmax (Gumbel).
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return temperature * logits, labels


def loss(logits, labels, temperature):
    chances = np.exp(logits / temperature - (logits / temperature).max(axis=1, keepdims=True))
    return -np.log(chances[np.arange(len(labels)), labels] / chances.sum(axis=1)).mean()


@pytest.mark.parametrize("known", [0.4, 1.0, 3.0])
def test_the_temperature_is_the_known_one_and_that_of_scipy(known):
    logits, labels = drawn(known, rows=4000)
    found = {"bounds": (0.05, 20), "method": "bounded", "options": {"xatol": 1e-8}}
    best = minimize_scalar(lambda t: loss(logits, labels, t), **found)
    assert fit_temperature(logits, labels, smoothing=0) == pytest.approx(best.x, rel=1e-5)
    # The error of 4000 rows; one row in all moves less than that.
    assert fit_temperature(logits, labels) == pytest.approx(known, rel=0.05)
    assert fit_temperature(logits, labels) == pytest.approx(best.x, rel=0.01)


def test_float32_and_a_shift_of_each_row_change_nothing():
    logits, labels = drawn(2.0, rows=200)
    shifted = (logits + np.random.default_rng(1).normal(0, 50, (200, 1))).astype(np.float32)
    assert fit_temperature(shifted, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-3)


def test_rows_that_are_all_right_do_not_make_a_model_sure_of_everything():
    """In closed form: of 40 like rows and one of any class, that share is right."""
    rows, classes = 40, 4
    logits = np.tile([9.0, 0.0, 0.0, 0.0], (rows, 1))
    share = (rows + 1 / classes) / (rows + 1)
    expected = 9.0 / np.log(share * (classes - 1) / (1 - share))
    assert fit_temperature(logits, np.zeros(rows, int)) == pytest.approx(expected, rel=1e-9)
    assert fit_temperature(logits, np.zeros(rows, int), smoothing=0) == COLDEST


def test_a_model_that_is_wrong_where_it_is_sure_says_nothing():
    logits = np.tile([9.0, 0.0, 0.0], (50, 1))
    assert fit_temperature(logits, np.ones(50, int)) == HOTTEST


CONFIDENCE = np.array([0.9, 0.9, 0.6, 0.35])
RIGHT = np.array([True, False, True, False])


def test_the_calibration_error_by_hand():
    """0.6 is the upper edge of the ninth of 15 bins, and belongs to it, as 0.55 does."""
    found = calibration_error(CONFIDENCE, RIGHT, inner_edges(CONFIDENCE))
    assert found == pytest.approx([(2 * abs(0.5 - 0.9) + abs(1 - 0.6) + abs(0 - 0.35)) / 4])
    pair = np.array([0.6, 0.55]), np.array([True, False])
    assert calibration_error(*pair, inner_edges(pair[0])) == pytest.approx([abs(0.5 - 0.575)])
    # Rows that count twice, and not at all.
    weights = np.array([[2.0, 0.0, 1.0, 1.0]])
    found = calibration_error(CONFIDENCE, RIGHT, inner_edges(CONFIDENCE), weights)
    assert found == pytest.approx([(2 * 0.1 + 0.4 + 0.35) / 4])


def test_adaptive_bins_hold_equal_numbers_of_rows():
    confidence = np.linspace(0.9, 0.99, 30)
    right = np.arange(30) % 2 == 0
    expected = np.abs(right.reshape(15, 2).mean(axis=1) - confidence.reshape(15, 2).mean(axis=1)).mean()
    assert calibration_error(confidence, right, inner_edges(confidence, adaptive=True)) == pytest.approx([expected])


def test_the_half_width_by_hand():
    errors = np.array([3, -1, 2, -5, 4, 9, -7, 6, 8.0])
    assert fit_half_width(errors, 0.9) == 9
    assert fit_half_width(errors, 0.8) == 8
    assert fit_half_width(errors, 0.5) == 5
    assert fit_half_width(errors[:8], 0.9) is None  # the ninth-smallest of eight
    assert fit_half_width(np.arange(1, 20), 0.9) == 18


@pytest.mark.parametrize("rows", [9, 50, 333])
def test_an_interval_covers_what_the_theory_says(rows):
    """Of errors uniform in [-1, 1] half the width is the coverage, whose mean is `rank / (rows + 1)`."""
    rng = np.random.default_rng(rows)
    covered = [fit_half_width(rng.uniform(-1, 1, rows), 0.9) for _ in range(1000)]
    expected = np.ceil(round(0.9 * (rows + 1), 6)) / (rows + 1)
    deviation = (expected * (1 - expected) / (rows + 2)) ** 0.5
    assert np.mean(covered) == pytest.approx(expected, abs=4 * deviation / 1000**0.5)
    assert expected >= 0.9


def test_a_threshold_keeps_its_promise():
    """Right with the chance of its confidence, uniform in [0, 1]: above t the accuracy is (1 + t) / 2."""
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        confidence = rng.uniform(size=2000)
        found.append(fit_threshold(confidence, rng.uniform(size=2000) < confidence, 0.85))
    assert sum(t is None for t in found) < 0.05 * len(found)
    found = [t for t in found if t is not None]
    assert sum((1 + t) / 2 < 0.85 for t in found) <= 0.05 * len(found)
    # 0.7 would do if the model were known; the bound of 2000 rows asks for more.
    assert 0.7 < np.median(found) < 0.85


def test_thresholds_at_the_ends():
    confidence = np.linspace(0.5, 0.9, 150)
    assert fit_threshold(confidence, np.ones(150, bool), 0.95) == pytest.approx(0.5 - 1e-6)
    assert fit_threshold(confidence, np.zeros(150, bool), 0.5) is None
    assert fit_threshold(confidence[:5], np.ones(5, bool), 0.95) is None  # five rows show little
    assert fit_threshold(np.full(150, 0.7), np.ones(150, bool), 0.95) == pytest.approx(0.7 - 1e-6)


def test_what_is_said():
    measured = {"before": {"ece": 0.1, "log_loss": 0.5}, "after": {"ece": 0.02, "log_loss": 0.4}}
    report = {"rows": 50, "temperature": 1.5, **measured}
    assert describe("pet", report) == (
        "pet: temperature 1.500 from 50 held-out rows; ece 0.100 -> 0.020, log_loss 0.500 -> 0.400"
    )
    own = {"accuracy": 0.9, "threshold": 0.71, "coverage": 0.8}
    assert describe("pet", report | {"abstention": own}).endswith("; abstains below 0.710, answers 80%")
    assert describe("pet", {"rows": 3, "temperature": 1.0}) == (
        "pet: the temperature stays 1, for 3 held-out rows are too few; its probabilities are not calibrated"
    )
    assert describe("age", {"rows": 40, "interval": {"level": 0.9, "half_width": 2.5}}) == (
        "age: 90% interval +-2.5, from 40 held-out rows"
    )
    assert describe("age", {"rows": 0}) == "age: no interval, for 0 held-out rows are too few"
