"""Tasks by hand: targets, weights, losses, outputs and decoding."""

import keras
import numpy as np
import pytest

import mm_keras.recipe as parts
from mm_keras.errors import DataError
from mm_keras.tasks import build_task


def breed(**options):
    task = build_task("breed", parts.Classification(**options))
    task.adapt(np.array(["cat", "dog", "cat", "", "cat", "fox"], dtype=object), ["cat", "dog", "fox"])
    return task


def test_classification_targets_by_hand():
    task = breed()
    assert task.state == {"classes": ["cat", "dog", "fox"], "counts": [3, 1, 1]}
    numbers = task.encode(["fox", "", "cat"])
    assert numbers.tolist() == [2, -1, 0]
    np.testing.assert_array_equal(task.target(numbers), [[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    assert task.weights(numbers).tolist() == [1, 0, 1]


def test_balanced_weights_by_hand():
    task = breed(class_weight="balanced")
    # n / (classes * count), with 5 labelled rows
    np.testing.assert_allclose(task.weights(np.array([0, 1, 2, -1])), [5 / 9, 5 / 3, 5 / 3, 0], rtol=1e-6)
    # The mean weight of the training rows is 1.
    np.testing.assert_allclose(task.weights(task.encode(["cat"] * 3 + ["dog", "fox"])).mean(), 1, rtol=1e-6)


def test_a_class_without_rows_does_not_change_the_other_weights():
    task = build_task("breed", parts.Classification(class_weight="balanced"))
    task.adapt(["cat", "cat", "dog"], ["cat", "dog", "fox"])
    np.testing.assert_allclose(task.weights(np.array([0, 1])), [3 / 6, 3 / 3], rtol=1e-6)


def test_a_uniform_guess_has_a_scaled_loss_of_one():
    task = breed()
    loss = task.loss()(task.target(np.array([0, 1, 2])), np.zeros((3, 3), np.float32))
    np.testing.assert_allclose(float(loss) * task.loss_scale(), 1, rtol=1e-6)


def test_label_smoothing_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1]], np.float32))
    loss = float(breed(label_smoothing=0.3).loss()(np.array([[1.0, 0, 0]], np.float32), logits))
    expected = -(0.8 * np.log(0.7) + 0.1 * np.log(0.2) + 0.1 * np.log(0.1))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_classification_output_and_decoding():
    task = breed()
    outputs = np.asarray(task.output()(np.log(np.array([[1, 1, 2], [6, 3, 1]], np.float32))))
    np.testing.assert_allclose(outputs, [[0.25, 0.25, 0.5], [0.6, 0.3, 0.1]], atol=1e-6)
    decoded = task.decode(outputs)
    assert decoded["breed"].tolist() == ["fox", "cat"]
    np.testing.assert_allclose(decoded["breed_probability"], [0.5, 0.6], atol=1e-6)
    np.testing.assert_allclose(decoded["breed_dog"], [0.25, 0.3], atol=1e-6)


def rating(cells=(1.0, 3.0, float("nan"), 5.0)):
    task = build_task("rating", parts.Regression())
    task.adapt(np.array(cells))
    return task


def test_regression_targets_by_hand():
    task = rating()
    deviation = (8 / 3) ** 0.5
    assert task.state["mean"] == 3.0
    assert task.state["deviation"] == pytest.approx(deviation)
    numbers = task.encode([3.0, float("nan"), 5.0])
    np.testing.assert_allclose(task.target(numbers), [[0], [0], [2 / deviation]], rtol=1e-6)
    assert task.weights(numbers).tolist() == [1, 0, 1]


def test_regression_output_inverts_the_target():
    task = rating()
    numbers = np.array([1.0, 4.5, -7.0], np.float32)
    outputs = np.asarray(task.output()(task.target(task.encode(numbers))))
    np.testing.assert_allclose(task.decode(outputs)["rating"], numbers, rtol=1e-5)


def test_the_mean_has_a_scaled_loss_of_one():
    task = rating()
    targets = task.target(task.encode([1.0, 3.0, 5.0]))
    np.testing.assert_allclose(float(task.loss()(targets, np.zeros_like(targets))) * task.loss_scale(), 1, rtol=1e-6)


def test_constant_and_absent_numbers():
    assert rating([0.1] * 5).state["deviation"] == 1.0
    with pytest.raises(DataError, match=r"tasks\.rating: no training row has a number"):
        rating([float("nan")])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_heads_and_outputs_are_float32_whatever_the_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        for task in (breed(), rating()):
            head, output = task.head("x_logits"), task.output()
            embedding = np.ones((2, 4), np.float16)
            assert head(embedding).dtype == output(head(embedding)).dtype == "float32"
            assert (head.name, output.name) == ("x_logits", task.name)
    finally:
        keras.config.set_dtype_policy(before)
