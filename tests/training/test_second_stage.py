"""What `fit` fits once the epochs are over."""

import keras
import numpy as np
import pandas as pd
import pytest

from mm_keras import fit, load, load_recipe
from mm_keras.data.catalog.planted import make_distractor
from mm_keras.fusion.stacking import DecisionStacking
from mm_keras.recipe import Fusion, Regression

TASKS = ("label", "size")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The distractor set with a second task, its first rows short of a label and its last short of an input."""
    folder = tmp_path_factory.mktemp("planted")
    table = pd.read_csv(make_distractor(folder, rows=400))
    table["size"] = table["colour_0"] - 2 * table["shape_0"]
    table.loc[table.index[::7], "label"] = ""
    table.loc[table.index[1::9], [c for c in table if c.startswith("colour_")]] = np.nan
    recipe = load_recipe(folder / "recipe.yaml")
    return table, recipe.model_copy(
        update={
            "fusion": Fusion("decision_stacking"),
            "tasks": {**recipe.tasks, "size": Regression()},
            "training": recipe.training.model_copy(update={"epochs": 2}),
        }
    )


@pytest.fixture(scope="module")
def run(planted, tmp_path_factory):
    table, recipe = planted
    return fit(recipe, load(table, recipe), tmp_path_factory.mktemp("runs") / "stacked", verbose=False)


def answers(run, rows):
    """The logits of every input's own heads, presences, and the model's outputs, of some rows."""
    tensors, _ = run.encode([rows.example(i) for i in range(len(rows))])
    outputs = {t: {n: run.model.get_layer(f"{t}_{n}_logits").output for n in run.recipe.inputs} for t in TASKS}
    network = keras.Model(run.model.input, (outputs, run.model.output))
    logits, outputs = keras.tree.map_structure(np.asarray, network(tensors, training=False))
    present = {n: (x != 0).any(1, keepdims=True).astype(np.float32) for n, x in tensors.items()}
    return logits, present, outputs


@pytest.mark.slow
def test_stacking_is_fitted_on_the_validation_rows(run):
    rows = run.rows("validation")
    logits, present, outputs = answers(run, rows)
    assert not present["colour"].all()
    for task in TASKS:
        fitted = run.model.get_layer(f"{task}_logits")
        expected = DecisionStacking(probabilities=task == "label")
        expected(logits[task])
        pool = np.asarray(expected.kernel)
        encoded = run.tasks[task].encode(rows.labels[task])
        count = expected.fit_on(
            logits[task], present, run.tasks[task].target(encoded), run.tasks[task].weights(encoded)
        )
        assert count == (80 if task == "size" else sum(rows.labels["label"] != "")) > 60
        np.testing.assert_allclose(fitted.kernel, expected.kernel, atol=1e-3)
        assert np.abs(np.asarray(fitted.kernel) - pool).max() > 0.05
    said = run.model.get_layer("label_temperature")(run.model.get_layer("label_logits")(logits["label"], present))
    np.testing.assert_allclose(outputs["label"], keras.ops.softmax(said), atol=1e-6)


def test_it_pays(run):
    """After two epochs the heads are half trained; the fitted sum of their logarithms beats their mean."""
    rows = run.rows("test")
    logits, present, outputs = answers(run, rows)
    known = rows.labels["label"] != ""
    truth = run.tasks["label"].encode(rows.labels["label"])
    unfitted = DecisionStacking()
    pool = np.asarray(keras.ops.softmax(unfitted(logits["label"], present)))

    def loss(p):
        return -np.log(p[known, truth[known]]).mean()

    assert loss(outputs["label"]) < loss(pool) - 0.05


@pytest.mark.slow
def test_without_validation_rows_the_pool_stays_and_says_so(planted, tmp_path, capsys):
    table, recipe = planted
    table = table.assign(split=table["split"].replace("validation", "train"))
    run = fit(recipe, load(table, recipe), tmp_path / "run")
    said = capsys.readouterr().out
    assert "fusion 'decision_stacking' of 'label' stays a plain pool" in said
    kernel = np.asarray(run.model.get_layer("label_logits").kernel)
    np.testing.assert_allclose(kernel, np.tile(np.vstack([np.eye(4), np.zeros((1, 4))]) / 3, (3, 1)), atol=1e-7)
