"""Embeddings written for other recipes: equal to the model's own, in order, and loaded again as vectors."""

import numpy as np
import pandas as pd
import pytest
from conftest import card_recipe

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import evaluate
from mm_keras.evaluation.extract import extract_features
from mm_keras.evaluation.predict import predict
from mm_keras.training.fit import fit

INPUTS = ("scan", "tone", "word", "card")


@pytest.fixture(scope="module")
def manifest(digits_folder, tmp_path_factory):
    """Sixty rows: some without a word, one with a broken picture, one whose id stands twice; without splits."""
    table = pd.read_csv(digits_folder / "manifest.csv", dtype=str, keep_default_na=False)[:60]
    folder = tmp_path_factory.mktemp("manifest")
    for column in ("scan", "tone"):
        table[column] = [str(digits_folder / p) if p else "" for p in table[column]]
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    table.loc[[3, 8], "word"] = ""
    table.loc[5, "scan"] = str(folder / "broken.png")
    table.loc[7, "id"] = table.loc[6, "id"]
    table = table.drop(columns="split")[::-1]
    path = folder / "rows.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def written(digits_run, manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("features") / "features.parquet"
    return extract_features(digits_run, manifest, out), pd.read_parquet(out)


def test_rows_keep_their_order_and_bad_ones_are_reported(written, manifest):
    features, table = written
    source = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    bad = features.quarantine["row"].tolist()
    assert sorted(source["id"][np.array(bad) - 1]) == sorted(features.quarantine["id"])
    assert len(bad) == 2
    assert table["id"].tolist() == source["id"].drop(np.array(bad) - 1).tolist()
    assert table["digit"].tolist() == source["digit"].drop(np.array(bad) - 1).tolist()
    listed = pd.read_csv(features.path.with_name("features.parquet.bad.csv"))
    assert listed["row"].tolist() == bad
    assert (features.rows, list(features.units)) == (58, [*table.columns[-5:]])
    assert features.units == {"card": 32, "scan": 32, "tone": 32, "word": 32, "fusion": 64}
    assert "rows=58, bad=2" in repr(features)


@pytest.mark.slow
def test_vectors_equal_the_layers_and_absent_inputs_are_empty(written, digits_run, manifest):
    features, table = written
    rows = digits_run.load(manifest, with_labels=False, max_bad=1.0).rows
    tensors, _ = digits_run.encode([rows.example(i) for i in range(len(rows))])
    for name in INPUTS:
        present = tensors[name].reshape(len(rows), -1).any(axis=1)
        np.testing.assert_array_equal(table[name].notna(), present)
        assert features.missing[name] == (~present).sum()
        expected = digits_run.model.get_layer(f"{name}_encoder")(tensors[name], training=False)["embedding"].numpy()
        np.testing.assert_allclose(np.stack(table[name][present]), expected[present], rtol=1e-4, atol=1e-4)
        assert table[name][present].iloc[0].dtype == np.float32
    assert features.missing["word"] >= 2
    # The head on top of the fused embedding gives what the run predicts: of rows without a word too.
    logits = digits_run.model.get_layer("digit_logits")(np.stack(table["fusion"]))
    logits = digits_run.model.get_layer("digit_temperature")(logits).numpy()
    odds = np.exp(logits - logits.max(1, keepdims=True))
    told = predict(digits_run, rows)
    classes = [f"digit_{c}" for c in digits_run.tasks["digit"].classes]
    np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), told[classes], atol=1e-5)


@pytest.mark.slow
def test_what_is_written_trains_another_recipe(digits_run, tmp_path):
    """The run's own rows, with its splits; once as lists and once as files, which give the same numbers."""
    own = extract_features(digits_run, out=tmp_path / "features.parquet")
    files = extract_features(digits_run, out=tmp_path / "files")
    assert own.rows == files.rows == 200
    recipe = parts.Recipe(
        inputs={n: parts.Vector(encoder={"size": "tiny"}) for n in INPUTS}
        | {"joint": parts.Vector(column="fusion", encoder={"size": "tiny"})},
        tasks=digits_run.recipe.tasks,
        training=parts.Training(epochs=2, learning_rate=0.003, seed=1),
    )
    lists, arrays = load(own.path, recipe), load(files.path, recipe)
    assert len(lists.train) == 140
    for name in recipe.inputs:
        np.testing.assert_array_equal(lists.rows.cells[name], arrays.rows.cells[name])
    np.testing.assert_array_equal(lists.rows.splits, arrays.rows.splits)
    run = fit(recipe, lists, tmp_path / "run", verbose=False)
    before, after = evaluate(digits_run, out=tmp_path).metrics, evaluate(run).metrics
    # It starts from what the first run knows.
    assert after["digit"]["accuracy"]["value"] >= before["digit"]["accuracy"]["value"] - 0.1


@pytest.mark.slow
def test_a_fusion_of_decisions_gives_its_logits(digits_folder, tmp_path):
    recipe = card_recipe()
    inputs = {
        **recipe.inputs,
        "word": parts.Text(length=8, vocabulary_size=60, encoder={"kind": "transformer", "size": "tiny"}),
    }
    recipe = parts.Recipe(
        inputs=inputs, tasks=recipe.tasks, training=recipe.training, fusion=parts.Fusion("decision_mean")
    )
    data = load(digits_folder / "manifest.csv", recipe)
    run = fit(recipe, data, tmp_path / "run", verbose=False)
    features = extract_features(run, data.test, tmp_path / "features.parquet")
    assert features.units == {"card": 32, "word": 32, "digit_logits": 10, "magnitude_logits": 1}
    table = pd.read_parquet(features.path)
    assert table["id"].tolist() == data.test.ids.tolist()
    told = predict(run, data.test)
    assert [run.tasks["digit"].classes[int(np.argmax(v))] for v in table["digit_logits"]] == told["digit"].tolist()
    state = run.tasks["magnitude"].state
    values = np.concatenate(table["magnitude_logits"].to_list()) * state["deviation"] + state["mean"]
    np.testing.assert_allclose(values, told["magnitude"], rtol=1e-4, atol=1e-4)


def test_places_and_names_that_do_not_do_are_refused(digits_run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    for out, message in (
        (None, "`out` is a path that ends in .parquet"),
        (tmp_path / "a.csv", "written to a .parquet file or a folder"),
        (tmp_path / "full", "is a folder that holds something"),
    ):
        with pytest.raises(DataError, match=message.replace(".", r"\.")):
            extract_features(digits_run, out=out)
    tasks = {t: s.model_copy(update={"column": "word"}) for t, s in digits_run.recipe.tasks.items() if t == "digit"}
    recipe = digits_run.recipe.model_copy(update={"tasks": tasks})
    from dataclasses import replace

    with pytest.raises(DataError, match=r"two columns \['word'\]"):
        extract_features(replace(digits_run, recipe=recipe), out=tmp_path / "b.parquet")
