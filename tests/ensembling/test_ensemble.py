"""`mm.ensemble`: one run made of several networks."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import mm_keras as mm
from mm_keras.cli import app


def with_training(recipe, **fields):
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=fields)})


@pytest.fixture(scope="module")
def distractor(tmp_path_factory):
    """`(recipe, manifest)` of 300 rows: `colour` and `shape` tell half of the label each; three epochs."""
    manifest = mm.make_distractor(tmp_path_factory.mktemp("distractor"), rows=300)
    recipe = mm.load_recipe(manifest.parent / "recipe.yaml").without("noise")
    return with_training(recipe, epochs=3, modality_dropout=0.2), manifest


@pytest.fixture(scope="module")
def mean(distractor, tmp_path_factory):
    out = tmp_path_factory.mktemp("ensembles") / "mean"
    return mm.ensemble(*distractor, out, members=3, kind="mean", verbose=False)


@pytest.mark.slow
def test_every_kind_is_told(mean):
    lines = mean.lines
    assert list(lines.index) == ["member", "soup", "mean", "stacking"]
    assert lines["models"].tolist() == [1, 1, 3, 3]
    assert mean.rows == {"validation": 60, "test": 60}
    assert lines.loc["mean", "parameters"] == 3 * lines.loc["member", "parameters"] + 1  # a temperature
    assert mean.run.model.count_params() == lines.loc["mean", "parameters"]
    assert lines.loc["member", "score"] == pytest.approx(mean.members["validation"].max())
    assert lines.loc["soup", "score"] >= lines.loc["member", "score"]
    np.testing.assert_allclose(lines["gain"], lines["score"] - lines.loc["member", "score"], atol=1e-12)
    assert mean.best == lines["score"].idxmax()  # the first of equal ones, which is the smallest
    assert mean.members["rows"].tolist() == [120, 120, 120]
    assert mean.kind == mean.run.info["ensemble"]["kind"] == "mean"


def test_the_scores_are_those_of_the_run(mean, tmp_path):
    found = mm.evaluate(mean.run, out=tmp_path)
    assert found.metrics["label"]["accuracy"]["value"] == pytest.approx(mean.lines.loc["mean", "test_score"])
    assert list(found.subsets) == ["colour", "shape", "colour+shape"]
    held = mm.evaluate(mean.run, mean.run.rows("validation"), subsets=False, out=tmp_path)
    assert held.metrics["label"]["accuracy"]["value"] == pytest.approx(mean.lines.loc["mean", "score"])


def test_it_is_a_run_like_any_other(mean, distractor, tmp_path):
    run = mm.load_run(mean.run.folder)
    tensors, _ = run.encode([run.rows("test").example(i) for i in range(5)])
    for task, values in run.model(tensors, training=False).items():
        np.testing.assert_array_equal(values, mean.run.model(tensors, training=False)[task])
    assert len(mm.predict(run, distractor[1])) == 300
    features = mm.extract_features(run, run.rows("test"), tmp_path / "features.parquet")
    units = {n: 3 * run.model.get_layer("member_1").get_layer(n).output.shape[-1] for n in ("fusion", "colour_missing")}
    assert features.units["fusion"] == units["fusion"]
    assert features.units["colour"] == units["colour_missing"]
    explained = mm.explain(run, run.rows("test").example(0), steps=64)
    assert sum(explained.scores.values()) == pytest.approx(explained.value - explained.base_value, abs=1e-5)
    total = sum(float(m.sum()) for m in explained.maps.values())
    assert total == pytest.approx(explained.value - explained.start_value, rel=0.01, abs=0.01)


def test_results_are_files(mean):
    folder = mean.run.folder
    content = json.loads((folder / "ensemble.json").read_text())
    assert content["lines"]["mean"]["score"] == pytest.approx(mean.lines.loc["mean", "score"])
    assert content["sentences"] == list(mean.sentences)
    assert pd.read_csv(folder / "ensemble.csv")["kind"].tolist() == list(mean.lines.index)
    assert (folder / "ensemble.png").read_bytes()[:4] == b"\x89PNG"
    assert pd.read_csv(folder / "history.csv")["member"].unique().tolist() == [1, 2, 3]
    assert set(pd.Series(mean.run.rows("train").ids)).isdisjoint(mean.run.rows("validation").ids)
    assert mean.table().index[0] == mean.lines["score"].idxmax()
    assert "<table" in mean._repr_html_()
    with pytest.raises(mm.DataError, match="is saved as"):
        mean.save(folder / "ensemble.txt")


@pytest.mark.slow
def test_members_start_from_the_same_weights_and_a_soup_is_one_network(distractor, tmp_path):
    recipe, manifest = distractor
    # A rate of nearly nothing: all stay where they started.
    still = with_training(recipe, epochs=1, learning_rate=1e-12)
    file, out = tmp_path / "recipe.yaml", tmp_path / "soup"
    still.save(file)
    asked = ["ensemble", str(file), str(manifest), "--out", str(out), "--members", "2", "--kind", "soup"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "60 validation rows" in result.output
    run = mm.load_run(out)
    scores, taken = json.loads((out / "ensemble.json").read_text()), run.info["ensemble"]["ingredients"]
    assert run.info["ensemble"] == {"kind": "soup", "best": scores["best"], "members": 2, "ingredients": taken}
    assert taken in ([1], [2], [1, 2], [2, 1])
    assert "member_1" not in [layer.name for layer in run.model.layers]
    keras.utils.set_random_seed(still.training.seed)
    fresh = run.rebuild()
    for one, other in zip(run.model.trainable_weights, fresh.trainable_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"members": 1}, "`members` must be between 2 and 180, the number of rows. Received: 1"),
        ({"members": 181}, "`members` must be between 2 and 180"),
        ({"kind": "sup"}, "`kind` must be one of .*Did you mean 'soup'"),
    ],
)
def test_what_cannot_be_made_is_told(distractor, tmp_path, options, match):
    with pytest.raises(mm.DataError, match=match):
        mm.ensemble(*distractor, tmp_path / "out", verbose=False, **options)
    assert not (tmp_path / "out").exists()


def test_refusals_that_depend_on_the_data(distractor, mean, tmp_path):
    recipe, manifest = distractor
    with pytest.raises(mm.DataError, match="already holds a run"):
        mm.ensemble(recipe, manifest, mean.run.folder, verbose=False)
    table = pd.read_csv(manifest)
    few = pd.concat([table[table["split"] == s].iloc[:n] for s, n in (("train", 30), ("validation", 4), ("test", 9))])
    with pytest.raises(mm.DataError, match="'stacking' cannot be made: it needs 5 rows of validation, and there are 4"):
        mm.ensemble(recipe, mm.load(few, recipe), tmp_path / "out", kind="stacking", verbose=False)
    encoder = recipe.inputs["colour"].encoder.model_copy(update={"weights": str(mean.run.folder)})
    inputs = dict(recipe.inputs) | {"colour": recipe.inputs["colour"].model_copy(update={"encoder": encoder})}
    with pytest.raises(mm.RecipeError, match="holds 3 networks; take an ensemble of the kind 'soup'"):
        mm.fit(recipe.model_copy(update={"inputs": inputs}), mm.load(manifest, recipe), tmp_path / "out", verbose=False)


@pytest.mark.slow
def test_a_mean_is_exported_with_parity(mean, tmp_path):
    bundle = mm.export(mean.run, tmp_path / "served", int8_max_drop=0.03, explain=True, verbose=False)
    assert {"LiteRT float32", "LiteRT int8", "SavedModel"} <= set(bundle.parity.reset_index()["artefact"])


@pytest.mark.long
def test_stacking_on_the_digits_is_exported_with_parity(digits_folder, digits_data, tmp_path):
    recipe = with_training(mm.load_recipe(digits_folder / "recipe.yaml"), epochs=1)
    found = mm.ensemble(recipe, digits_data, tmp_path / "run", members=2, kind="stacking", verbose=False)
    bundle = mm.export(found.run, tmp_path / "served", litert=("float32",), verbose=False)
    assert {"LiteRT float32", "SavedModel"} <= set(bundle.parity.reset_index()["artefact"])


@pytest.mark.slow
def test_of_shards_without_validation_rows_the_drawn_ones_are_remembered(distractor, tmp_path):
    recipe, manifest = distractor
    table = pd.read_csv(manifest, dtype=str).replace({"split": {"validation": "train"}})
    mm.prepare(table, recipe, tmp_path / "shards", root=manifest.parent, processes=1, shard_rows=32)
    made = mm.ensemble(recipe, tmp_path / "shards", tmp_path / "out", members=2, kind="mean", verbose=False)
    assert made.drawn
    run = mm.load_run(tmp_path / "out")
    assert {s: len(run.rows(s)) for s in ("train", "validation", "test")} == run.info["rows"]
    assert len(run.rows("validation")) == made.rows["validation"] == 24
    assert made.members["rows"].tolist() == [108, 108]
    for split, score in (("validation", "score"), ("test", "test_score")):
        held = mm.evaluate(run, run.rows(split), subsets=False, out=tmp_path)
        assert held.metrics["label"]["accuracy"]["value"] == pytest.approx(made.lines.loc["mean", score])
