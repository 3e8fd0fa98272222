"""Scores of a run: what is written, on which rows, with which inputs."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import evaluate
from mm_keras.evaluation.metrics import score_classification
from mm_keras.training.fit import fit


@pytest.fixture(scope="module")
def evaluation(digits_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    return evaluate(digits_run, out=folder), folder


def outputs_of(run, rows, inputs):
    """The model's answers to raw examples with only these inputs given, by the served preprocessing."""
    fields = {f for name in inputs for f in run.preprocessors[name].raw_specs}
    examples = [{f: v for f, v in rows.example(i).items() if f in fields} for i in range(len(rows))]
    return {t: v.numpy() for t, v in run.forward(run.encode(examples)[0]).items()}


def test_the_files_have_exactly_the_stated_form(evaluation, digits_run):
    scores, folder = evaluation
    metrics = json.loads((folder / "metrics.json").read_text())
    subsets = json.loads((folder / "subsets.json").read_text())
    assert (metrics, subsets) == (scores.metrics, scores.subsets)
    names = ["scan", "tone", "word", "card"]
    assert list(subsets) == ["+".join(c) for n in range(1, 5) for c in itertools.combinations(names, n)]
    assert len(subsets) == 15
    assert subsets["scan+tone+word+card"] == metrics
    for scored in (metrics, *subsets.values()):
        assert scored["n"] == 40
        assert set(scored) == {"n", "digit", "magnitude"}
        sure = {"brier", "ece", "adaptive_ece"}
        assert set(scored["digit"]) == {"accuracy", "balanced_accuracy", "macro_f1", "log_loss"} | sure
        assert set(scored["magnitude"]) == {"mae", "rmse", "r2", "coverage"}
        for task in ("digit", "magnitude"):
            for score in scored[task].values():
                assert set(score) == {"value", "low", "high"}
                assert score["low"] <= score["value"] <= score["high"]
    assert not (folder / "not_scored.csv").exists()


@pytest.mark.parametrize("inputs", [("scan", "tone", "word", "card"), ("card",), ("tone", "word")])
def test_a_subset_scores_as_examples_without_the_other_inputs(evaluation, digits_run, digits_data, inputs):
    rows = digits_data.test
    outputs = outputs_of(digits_run, rows, inputs)
    scores = evaluation[0].subsets["+".join(inputs)]
    labels = digits_run.tasks["digit"].encode(rows.labels["digit"])
    expected = score_classification(labels, outputs["digit"])
    for metric, score in expected.items():
        assert scores["digit"][metric] == pytest.approx(score, rel=1e-4)
    error = np.abs(outputs["magnitude"][:, 0] - rows.labels["magnitude"]).mean()
    assert scores["magnitude"]["mae"]["value"] == pytest.approx(error, rel=1e-4)


def test_the_table_shows_the_headlines(evaluation):
    scores, _ = evaluation
    table = scores.table()
    accuracy = scores.subsets["word"]["digit"]["accuracy"]
    assert table.loc["word", "digit accuracy"] == "{value:.3f} [{low:.3f}, {high:.3f}]".format(**accuracy)
    assert table.loc["word", "digit ece"].startswith(f"{scores.subsets['word']['digit']['ece']['value']:.3f} [")
    assert list(table) == ["digit accuracy", "digit ece", "magnitude mae", "magnitude coverage"]
    assert "40 rows" in scores._repr_html_()
    assert repr(scores).startswith("Evaluation(n=40)")


def test_a_manifest_scores_its_test_rows_or_all(evaluation, digits_run, digits_folder, tmp_path):
    scores = evaluate(digits_run, digits_folder / "manifest.csv", subsets=False, out=tmp_path)
    assert scores.metrics["n"] == 40
    assert scores.metrics["digit"]["log_loss"] == pytest.approx(evaluation[0].metrics["digit"]["log_loss"], rel=1e-5)
    assert not (tmp_path / "subsets.json").exists()
    table = pd.read_csv(digits_folder / "manifest.csv", dtype=str, keep_default_na=False)
    table = table.drop(columns="split").iloc[:30]
    for column in ("scan", "tone"):
        table[column] = [str(digits_folder / path) for path in table[column]]
    assert evaluate(digits_run, table, subsets=False, out=tmp_path).metrics["n"] == 30


def test_bad_and_unlabelled_rows_of_a_manifest(digits_run, digits_folder, tmp_path):
    table = pd.read_csv(digits_folder / "manifest.csv", dtype=str, keep_default_na=False)
    table = table.drop(columns="split").iloc[:60]
    for column in ("scan", "tone"):
        table[column] = [str(digits_folder / path) for path in table[column]]
    table.loc[4, "digit"] = "eleven"
    table.loc[9, "scan"] = str(tmp_path / "gone.png")
    table.loc[20:29, "digit"] = ""
    scores = evaluate(digits_run, table, subsets=False, out=tmp_path)
    assert scores.metrics["n"] == 58
    assert scores.quarantine[["row", "id", "column"]].to_numpy().tolist() == [
        [5, "d0004", "digit"],
        [10, "d0009", "scan"],
    ]
    assert "unknown label" in scores.quarantine["reason"][0]
    assert pd.read_csv(tmp_path / "not_scored.csv")["row"].tolist() == [5, 10]
    # The ten rows without a digit count for the magnitude alone.
    kept = table.drop(index=[4, 9, *range(20, 30)])
    rows = load(kept, digits_run.recipe, split=None).rows
    outputs = outputs_of(digits_run, rows, digits_run.recipe.inputs)
    accuracy = (outputs["digit"].argmax(-1) == rows.labels["digit"].astype(int)).mean()
    assert scores.metrics["digit"]["accuracy"]["value"] == pytest.approx(accuracy)


def test_nothing_to_score(digits_run, digits_data):
    with pytest.raises(DataError, match="no rows to score"):
        evaluate(digits_run, digits_data.rows.take([]))


@pytest.fixture(scope="module")
def vector_run(tmp_path_factory):
    """A run on columns `f_0`, `f_1`, whose scales differ a thousandfold."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"f_0": rng.normal(0, 1, 80), "f_1": rng.normal(5000, 1000, 80)})
    table["kind"] = np.where(table["f_0"] > 0, "x", "y")
    recipe = parts.Recipe(
        inputs={"v": parts.Vector(prefix="f_", encoder={"size": "tiny"})},
        tasks={"kind": parts.Classification()},
        training=parts.Training(epochs=2),
    )
    data = load(table, recipe)
    return fit(recipe, data, tmp_path_factory.mktemp("vector") / "run", verbose=False), table, data


def test_columns_of_a_prefix_keep_the_order_of_training(vector_run, tmp_path):
    run, table, _ = vector_run
    scores = evaluate(run, table, subsets=False, out=tmp_path).metrics
    assert scores == evaluate(run, table[["kind", "f_1", "f_0"]].assign(f_2=9.0), subsets=False, out=tmp_path).metrics
    with pytest.raises(DataError, match=r"inputs\.v needs the column 'f_1'"):
        evaluate(run, table.drop(columns="f_1"), out=tmp_path)


def test_a_file_that_is_gone_is_left_out_and_named(digits_run, digits_data, tmp_path):
    rows = digits_data.test
    cells = rows.cells | {"scan": rows.cells["scan"].copy()}
    cells["scan"][3] = str(tmp_path / "gone.png")
    rows = type(rows)(rows.ids, cells, rows.labels, rows.splits, rows.numbers)
    scores = evaluate(digits_run, rows, subsets=False, out=tmp_path)
    assert scores.metrics["n"] == 39
    assert scores.quarantine[["row", "id", "reason"]].to_numpy().tolist() == [
        [rows.numbers[3], rows.ids[3], "a file can no longer be read"]
    ]
