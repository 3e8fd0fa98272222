"""Evidence-weighted decisions against Dempster's rule by hand and written out."""

import functools
import itertools

import numpy as np
import pytest
from test_fusions import as_numpy, built, softmax

from mm_keras.fusion.evidence import DecisionEvidence

RNG = np.random.default_rng(5)
LOGITS = {n: RNG.normal(0, 3, (4, 5)).astype(np.float32) for n in "abc"}


def inverse_softplus(e):
    return np.log(np.expm1(np.asarray(e, np.float64))).astype(np.float32)


def opinion(logits):
    """Returns `(beliefs, uncertainty)` of one input."""
    evidence = np.log1p(np.exp(logits.astype(float)))
    strength = evidence.sum() + len(evidence)
    return evidence / strength, len(evidence) / strength


def dempster(one, other):
    """The reduced rule, arXiv:2102.02051, definition 4, with its conflict summed over all unequal pairs."""
    (b1, u1), (b2, u2) = one, other
    conflict = sum(b1[i] * b2[j] for i, j in itertools.permutations(range(len(b1)), 2))
    return (b1 * b2 + b1 * u2 + b2 * u1) / (1 - conflict), u1 * u2 / (1 - conflict)


def expected_alpha(opinions):
    beliefs, uncertainty = functools.reduce(dempster, opinions)
    return beliefs * len(beliefs) / uncertainty + 1


def test_two_opinions_by_hand():
    """Evidence (2, 0) and (0, 1) of two classes: opinions (1/2, 0; 1/2) and (0, 1/3; 2/3).

    Conflict 1/6; beliefs (1/3, 1/6) / (5/6) = (2/5, 1/5), uncertainty (1/3) / (5/6) = 2/5; so the strength is 5, the
    joint evidence (2, 1) and alpha (3, 2).
    """
    logits = {"a": inverse_softplus([[2.0, 1e-7]]), "b": inverse_softplus([[1e-7, 1.0]])}
    np.testing.assert_allclose(np.exp(as_numpy(DecisionEvidence()(logits))), [[3.0, 2.0]], rtol=1e-5)
    np.testing.assert_allclose(softmax(as_numpy(DecisionEvidence()(logits))), [[0.6, 0.4]], rtol=1e-5)


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
def test_it_is_dempsters_rule_in_any_order(order):
    got = np.exp(as_numpy(DecisionEvidence()(LOGITS)))
    for row in range(4):
        expected = expected_alpha([opinion(LOGITS[n][row]) for n in order])
        np.testing.assert_allclose(got[row], expected, rtol=1e-4)


def test_an_absent_input_changes_nothing():
    present = {n: np.array([[1], [1], [0], [0]], np.float32) for n in "ab"} | {"c": np.ones((4, 1), np.float32)}
    present["b"] = np.array([[0], [1], [1], [0]], np.float32)
    got = as_numpy(DecisionEvidence()(LOGITS, present))
    for row, names in enumerate(("ac", "abc", "bc", "c")):
        own = DecisionEvidence()({n: LOGITS[n][row : row + 1] for n in names})
        np.testing.assert_allclose(got[row : row + 1], as_numpy(own), atol=1e-6)


def test_with_none_present_all_is_uncertain():
    got = np.exp(as_numpy(DecisionEvidence()(LOGITS, {n: np.zeros((4, 1), np.float32) for n in LOGITS})))
    np.testing.assert_allclose(got, np.ones((4, 5)), atol=1e-6)
    assert 5 / got.sum(-1)[0] == pytest.approx(1.0)  # the uncertainty


def test_one_input_keeps_its_own_dirichlet():
    got = np.exp(as_numpy(DecisionEvidence()({"a": LOGITS["a"]})))
    np.testing.assert_allclose(got, np.log1p(np.exp(LOGITS["a"].astype(float))) + 1, rtol=1e-5)


def test_agreement_lowers_the_uncertainty_and_conflict_raises_it_again():
    def uncertainty(*logits):
        alpha = np.exp(as_numpy(DecisionEvidence()({f"i{i}": np.array([x], np.float32) for i, x in enumerate(logits)})))
        return float(2 / alpha.sum())

    alone, agree, conflict = uncertainty([4, -4]), uncertainty([4, -4], [4, -4]), uncertainty([4, -4], [-4, 4])
    assert agree < conflict < alone


def test_strong_evidence_is_finite():
    strong = {n: np.array([[1e6, -1e6, 0.0]], np.float32) for n in "abcdefgh"}
    got = as_numpy(DecisionEvidence()(strong))
    assert np.isfinite(got).all()
    np.testing.assert_allclose(softmax(got), [[1, 0, 0]], atol=1e-6)


def test_values_are_meaned_by_precision():
    values = {"a": np.array([[1.0], [2], [3]], np.float32), "b": np.array([[5.0], [6], [7]], np.float32)}
    present = {"a": np.array([[1], [1], [0]], np.float32), "b": np.array([[1], [0], [0]], np.float32)}
    fusion = built(DecisionEvidence(probabilities=False), values, present)
    fusion.scores.assign(inverse_softplus([[3.0, 1.0]]))  # three times as precise
    np.testing.assert_allclose(as_numpy(fusion(values, present)), [[2.0], [2.0], [0.75 * 3 + 0.25 * 7]], rtol=1e-5)
    np.testing.assert_allclose(as_numpy(fusion(values)), [[2.0], [3.0], [4.0]], rtol=1e-5)
