"""What is learned comes from the training rows alone; targets and weights by hand."""

import numpy as np
import pandas as pd
import pytest

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.errors import DataError
from mm_keras.training.learn import learn, learn_tasks, targets_and_weights


@pytest.fixture(scope="module")
def learned():
    recipe = parts.Recipe(
        inputs={
            "words": parts.Text(vocabulary_size=60),
            "facts": parts.Tabular(numeric=("price",), categorical=("colour",)),
            "features": parts.Vector(prefix="f_"),
        },
        tasks={
            "kind": parts.Classification(class_weight="balanced"),
            "size": parts.Classification(classes=("s", "m", "l")),
            "rating": parts.Regression(),
        },
    )
    table = pd.DataFrame({
        "words": ["alpha beta", "alpha beta", "beta alpha", "alpha", "zebra zebra", "quokka quokka"],
        "price": [1.0, 3.0, np.nan, 5.0, 1e6, -1e6],
        "colour": ["red", "blue", "red", "", "violet", "ochre"],
        "f_0": [0.0, 2.0, 0.0, 2.0, 1e6, 1e6],
        "f_1": 7.0,
        "kind": ["x", "x", "y", "x", "y", "x"],
        "size": ["s", "m", "", "s", "l", "l"],
        "rating": [1.0, np.nan, 2.0, 3.0, 1e6, 1e6],
        "split": ["train"] * 4 + ["validation", "test"],
    })  # fmt: skip
    data = load(table, recipe)
    return data, *learn(recipe, data)


def test_words_categories_and_statistics_of_other_rows_are_not_learned(learned):
    _, preprocessors, _ = learned
    vocabulary = preprocessors["words"].state["vocabulary"]
    assert {"alpha", "beta"} <= set(vocabulary)
    assert not {"z", "q", "zebra", "quokka", "##k"} & set(vocabulary)
    facts = preprocessors["facts"].state
    assert facts["categories"] == {"colour": ["red", "blue"]}
    np.testing.assert_allclose([facts["mean"]["price"], facts["deviation"]["price"]], [3, (8 / 3) ** 0.5], rtol=1e-6)
    features = preprocessors["features"].state
    assert features["columns"] == ["f_0", "f_1"]
    np.testing.assert_allclose([features["mean"], features["deviation"]], [[1, 7], [1, 1]], rtol=1e-6)


def test_tasks_know_the_training_rows_alone(learned):
    _, _, tasks = learned
    assert tasks["kind"].state == {"classes": ["x", "y"], "counts": [3, 1]}
    assert tasks["size"].state == {"classes": ["s", "m", "l"], "counts": [2, 1, 0]}
    np.testing.assert_allclose(list(tasks["rating"].state.values()), [2, (2 / 3) ** 0.5], rtol=1e-6)


def test_targets_and_weights_by_hand(learned):
    data, _, tasks = learned
    targets, weights = targets_and_weights(tasks, data.train)
    np.testing.assert_array_equal(targets["kind"], [[1, 0], [1, 0], [0, 1], [1, 0]])
    np.testing.assert_array_equal(targets["size"], [[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(targets["rating"][:, 0], [-(1.5**0.5), 0, 0, 1.5**0.5], atol=1e-6)
    # Balanced: 4 / (2 * 3) and 4 / (2 * 1).
    np.testing.assert_allclose(weights["kind"], [2 / 3, 2 / 3, 2, 2 / 3], rtol=1e-6)
    # A row without a label of one task stays, with no say in that task's loss.
    np.testing.assert_array_equal(weights["size"], [1, 1, 0, 1])
    np.testing.assert_array_equal(weights["rating"], [1, 0, 1, 1])


@pytest.mark.parametrize(
    ("classes", "number", "column"),
    [
        (("x", "y", "probability"), "size", "kind_probability"),
        (("x", "y", "up_low"), "kind_up", "kind_up_low"),
        (("x", "y"), "kind_x", "kind_x"),
        (("x", "y", "up"), "kind_up_size", None),
    ],
)
def test_two_columns_of_one_name_are_refused(classes, number, column):
    tasks = {"kind": parts.Classification(classes=classes), number: parts.Regression()}
    recipe = parts.Recipe(inputs={"word": parts.Text()}, tasks=tasks)
    table = pd.DataFrame({"word": ["a b", "b c", "c d"], "kind": ["x", "y", "x"], number: [1.0, 2.0, 3.0]})
    data = load(table.assign(split="train"), recipe)
    if column is None:
        assert set(learn_tasks(recipe, data)) == {"kind", number}
        return
    with pytest.raises(DataError, match=f"two columns '{column}', of tasks.kind and tasks.kind"):
        learn_tasks(recipe, data)
