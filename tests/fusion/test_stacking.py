"""Stacking against scikit-learn, and what it makes of good, bad and absent inputs."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from test_fusions import as_numpy, softmax

from mm_keras.fusion.decision import DecisionMean
from mm_keras.fusion.stacking import DecisionStacking

RNG = np.random.default_rng(11)
ROWS, CLASSES = 300, 3
LABELS = RNG.integers(0, CLASSES, ROWS)
ONE_HOT = np.eye(CLASSES, dtype=np.float32)[LABELS]
# A good witness, a poor one and one that takes the second class for the third.
LOGITS = {
    "good": (3 * ONE_HOT + RNG.normal(0, 1, (ROWS, CLASSES))).astype(np.float32),
    "poor": (0.3 * ONE_HOT + RNG.normal(0, 3, (ROWS, CLASSES))).astype(np.float32),
    "swapped": (3 * ONE_HOT[:, [0, 2, 1]] + RNG.normal(0, 1, (ROWS, CLASSES))).astype(np.float32),
}
PRESENT = {n: np.ones((ROWS, 1), np.float32) for n in LOGITS}
WEIGHTS = np.ones(ROWS, np.float32)


class DrawnToZero(DecisionStacking):
    """As scikit-learn's."""

    def _pool_kernel(self):
        return np.zeros(self.kernel.shape)


def stacker(logits=LOGITS, probabilities=True, kind=DecisionStacking):
    layer = kind(probabilities=probabilities)
    layer(logits)
    return layer


def every_subset(said, rows):
    """Yields `(features, share)` of the rows whole and without some inputs, inputs in the order of names."""
    names = sorted(said)
    for kept in itertools.product((0, 1), repeat=len(names)):
        if any(kept):
            pairs = [(said[n] * k, np.full((rows, 1), k)) for n, k in zip(names, kept, strict=True)]
            features = np.concatenate([*itertools.chain(*pairs), np.ones((rows, 1))], 1)
            yield features, 0.5 if all(kept) else 0.5 / (2 ** len(said) - 2)


def test_it_is_the_logistic_regression_of_scikit_learn():
    layer = stacker(kind=DrawnToZero)
    assert layer.fit_on(LOGITS, PRESENT, ONE_HOT, WEIGHTS) == ROWS
    said = {n: np.log(softmax(z.astype(float))) for n, z in LOGITS.items()}
    features, shares = zip(*every_subset(said, ROWS), strict=True)
    sklearn = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-8, max_iter=5000)
    sklearn.fit(np.concatenate(features), np.tile(LABELS, 7), np.repeat(shares, ROWS))
    expected = sklearn.predict_proba(features[-1])
    np.testing.assert_allclose(softmax(as_numpy(layer(LOGITS, PRESENT))), expected, atol=1e-3)
    np.testing.assert_allclose(as_numpy(layer.kernel), sklearn.coef_.T[:-1], atol=1e-2)


def test_values_are_the_ridge_regression_of_scikit_learn():
    target = RNG.normal(0, 1, (ROWS, 1))
    values = {n: (k * target + RNG.normal(0, 1, (ROWS, 1))).astype(np.float32) for n, k in (("a", 1), ("b", -2))}
    present = {n: PRESENT["good"] for n in values}
    layer = stacker(values, probabilities=False, kind=DrawnToZero)
    layer.fit_on(values, present, target, WEIGHTS)
    features, shares = zip(*every_subset(values, ROWS), strict=True)
    ridge = Ridge(alpha=1.0, fit_intercept=False)
    ridge.fit(np.concatenate(features), np.tile(target, (3, 1)), np.repeat(shares, ROWS))
    np.testing.assert_allclose(as_numpy(layer(values, present)), ridge.predict(features[-1]).reshape(-1, 1), atol=1e-4)


def test_a_bad_witness_is_put_right():
    before = softmax(as_numpy(stacker()(LOGITS, PRESENT))).argmax(1)
    layer = stacker()
    layer.fit_on(*({n: x[:200] for n, x in part.items()} for part in (LOGITS, PRESENT)), ONE_HOT[:200], WEIGHTS[:200])
    fitted = as_numpy(layer(LOGITS, PRESENT)).argmax(1)
    alone = as_numpy(layer(LOGITS, PRESENT | {n: 0 * PRESENT[n] for n in ("good", "poor")})).argmax(1)
    mean = as_numpy(DecisionMean()(LOGITS, PRESENT)).argmax(1)
    rest = slice(200, None)
    right = {n: float((y[rest] == LABELS[rest]).mean()) for n, y in
             {"pool": before, "mean": mean, "stacked": fitted, "swapped alone": alone}.items()}  # fmt: skip
    assert right["stacked"] > 0.97 > max(right["pool"], right["mean"])
    assert right["swapped alone"] > 0.9  # fitted without the others too
    assert (LOGITS["swapped"].argmax(1) == LABELS).mean() < 0.45


def test_until_it_is_fitted_the_pool_answers_and_training_is_the_mean():
    layer, present = stacker(), PRESENT | {"poor": 0 * PRESENT["poor"]}
    logs = [np.log(softmax(LOGITS[n])) for n in ("good", "swapped")]
    np.testing.assert_allclose(as_numpy(layer(LOGITS, present)), sum(logs) / 3, atol=1e-5)
    trained = as_numpy(layer(LOGITS, present, training=True))
    np.testing.assert_array_equal(trained, as_numpy(DecisionMean()(LOGITS, present)))
    assert layer.trainable_weights == []


def test_few_rows_leave_it_near_the_pool():
    layer, pool = stacker(), stacker()
    rows = {n: x[:1] for n, x in LOGITS.items()}, {n: x[:1] for n, x in PRESENT.items()}
    assert layer.fit_on(*rows, ONE_HOT[:1], WEIGHTS[:1]) == 1
    moved = np.abs(as_numpy(layer.kernel) - as_numpy(pool.kernel)).max()
    assert 0 < moved < 0.5


def test_rows_that_say_nothing_are_left_out():
    weights = WEIGHTS.copy()
    weights[100:] = 0  # unlabelled
    present = {n: p.copy() for n, p in PRESENT.items()}
    for p in present.values():
        p[:10] = 0
    layer, same = stacker(), stacker()
    assert layer.fit_on(LOGITS, present, ONE_HOT, weights) == 90
    part = slice(10, 100)
    same.fit_on(*({n: x[part] for n, x in p.items()} for p in (LOGITS, PRESENT)), ONE_HOT[part], WEIGHTS[part])
    np.testing.assert_array_equal(as_numpy(layer.kernel), as_numpy(same.kernel))
    assert stacker().fit_on(LOGITS, present, ONE_HOT, 0 * weights) == 0


@pytest.mark.parametrize("count", [1, 7])
def test_any_number_of_inputs(count):
    logits = {f"i{i}": LOGITS["good"][:50] + np.float32(i) for i in range(count)}
    present = {n: PRESENT["good"][:50] for n in logits}
    layer, again = stacker(logits), stacker(logits)
    for one in (layer, again):
        one.fit_on(logits, present, ONE_HOT[:50], WEIGHTS[:50])
    np.testing.assert_array_equal(as_numpy(layer.kernel), as_numpy(again.kernel))
    assert (as_numpy(layer(logits, present)).argmax(1) == LABELS[:50]).mean() > 0.95
