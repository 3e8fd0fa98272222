"""`mm.compare`: does it tell a useful input from noise, and does it go on where it was stopped?"""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import mm_keras as mm
from mm_keras.cli import app
from mm_keras.comparison.cells import load_cell


@pytest.fixture(scope="module")
def distractor(tmp_path_factory):
    """`(recipe, manifest)` of 900 rows: `colour` and `shape` tell half each, `noise` nothing; five epochs."""
    manifest = mm.make_distractor(tmp_path_factory.mktemp("distractor"), rows=900)
    recipe = mm.load_recipe(manifest.parent / "recipe.yaml")
    return with_training(recipe, epochs=5), manifest


def with_training(recipe, **fields):
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=fields)})


@pytest.fixture(scope="module")
def pair(distractor):
    """The two inputs that tell something."""
    return distractor[0].without("noise"), distractor[1]


@pytest.fixture(scope="module")
def useful(pair, tmp_path_factory):
    out = tmp_path_factory.mktemp("useful")
    return mm.compare(*pair, out, folds=0, exports=False, jobs=1, verbose=False), out


@pytest.mark.slow
def test_two_inputs_that_tell_half_each_are_worth_it(useful):
    found, _ = useful
    assert found.verdict == "worth it"
    assert found.lines.loc["gated", "value"] >= 0.9
    assert found.lines.loc[["colour", "shape"], "value"].between(0.4, 0.6).all()  # each tells one of two bits
    assert found.adds["colour"]["low"] > 0.3
    assert found.sentences[0].startswith("Fusion is worth it: ")
    assert found.warnings == () or "trained together" in found.warnings[0]


@pytest.mark.long
def test_of_three_inputs_the_noise_adds_nothing(distractor, tmp_path):
    found = mm.compare(*distractor, tmp_path, folds=0, exports=False, jobs=1, verbose=False)
    assert found.verdict == "worth it"
    assert found.lines.loc["noise", "value"] <= 0.35
    assert found.adds["colour"]["low"] > 0.3
    assert found.adds["noise"]["low"] <= 0 <= found.adds["noise"]["high"] + 0.01
    assert any(s.startswith("Adding noise to colour + shape: ") for s in found.sentences)


@pytest.mark.slow
def test_differences_are_paired(useful, distractor):
    found, out = useful
    lines = found.lines
    np.testing.assert_allclose(lines["gain"], lines["value"] - lines.loc[found.single, "value"], atol=1e-12)
    assert lines.loc[found.single, ["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]
    assert (lines["gain_low"] <= lines["gain"]).all()
    assert (lines["gain"] <= lines["gain_high"]).all()
    # By hand, from the kept answers.
    kept = load_cell(out / "trainings" / "fusion-gated-0.npz")
    truth = pd.read_csv(distractor[1], dtype=str).set_index("id").loc[kept.ids["test"], "label"]
    classes = np.array(kept.facts["classes"]["label"])
    share = (classes[kept.outputs["test"]["label"].argmax(axis=1)] == truth).mean()
    assert lines.loc["gated", "value"] == pytest.approx(share)


@pytest.mark.slow
def test_results_are_files(useful):
    found, out = useful
    content = json.loads((out / "comparison.json").read_text())
    assert content["verdict"] == "worth it"
    assert content["lines"]["gated"]["value"] == found.lines.loc["gated", "value"]
    assert pd.read_csv(out / "comparison.csv")["candidate"].tolist() == list(found.lines.index)
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert found.sentences[0] in page
    assert page.count("<tr>") == len(found.lines) + 1
    assert (out / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(mm.DataError, match="is saved as"):
        found.save(out / "comparison.txt")


@pytest.fixture(scope="module")
def useless(distractor, tmp_path_factory):
    recipe, manifest = distractor
    out = tmp_path_factory.mktemp("useless")
    return mm.compare(recipe.without("shape"), manifest, out, folds=0, exports=False, jobs=1, verbose=False)


@pytest.mark.slow
def test_noise_is_not_worth_it(useless):
    found = useless
    assert found.verdict in ("not worth it", "worse")
    assert found.single == "colour"
    assert "colour alone" in found.sentences[0]
    assert "not beaten" in found.warnings[0]


@pytest.mark.slow
def test_what_is_kept_is_not_trained_again(useful, pair, capsys):
    found, out = useful
    before = {p: p.stat().st_mtime_ns for p in (out / "trainings").iterdir()}
    again = mm.compare(*pair, out, folds=0, exports=False, jobs=1)
    assert {p: p.stat().st_mtime_ns for p in (out / "trainings").iterdir()} == before
    pd.testing.assert_frame_equal(again.lines, found.lines)
    assert f"{len(before)} of {len(before)} trainings are kept" in capsys.readouterr().out


@pytest.mark.slow
def test_another_recipe_needs_another_folder(useful, pair):
    recipe, manifest = pair
    with pytest.raises(mm.DataError, match="holds another comparison"):
        mm.compare(with_training(recipe, epochs=6), manifest, useful[1], folds=0, exports=False, verbose=False)


def test_what_cannot_be_compared_is_told(distractor, tmp_path):
    recipe, manifest = distractor
    for fault, match in (
        ({"fusions": ["gatet"]}, "unknown fusion 'gatet'.*Did you mean"),
        ({"folds": 1}, "between 2 and 900"),
        ({"task": "lable"}, "unknown task 'lable'.*Did you mean"),
    ):
        with pytest.raises((mm.DataError, mm.RecipeError), match=match):
            mm.compare(recipe, manifest, tmp_path / "out", verbose=False, **fault)
    with pytest.raises(mm.RecipeError, match="nothing to fuse"):
        mm.compare(recipe.without("shape", "noise"), manifest, tmp_path / "out", verbose=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_says_it_too(distractor, tmp_path):
    recipe, manifest = distractor
    file, out = tmp_path / "recipe.yaml", tmp_path / "out"
    with_training(recipe.without("shape"), epochs=1).save(file)
    asked = ["compare", str(file), str(manifest), "--out", str(out), "--folds", "0", "--no-exports", "--jobs", "1"]
    result = CliRunner().invoke(app, [*asked, "--fusion", "concat", "--fusion", "sum"])
    assert result.exit_code == 0, result.output
    assert "ensemble_mean" in result.output
    assert "Adding noise to colour" in result.output
    assert {"concat", "sum"} <= json.loads((out / "comparison.json").read_text())["lines"].keys()


@pytest.mark.long
def test_killed_and_started_again_it_ends_with_the_same_table(distractor, tmp_path):
    recipe, manifest = distractor
    with_training(recipe.without("shape"), epochs=2).save(tmp_path / "recipe.yaml")
    options = ["--folds", "0", "--no-exports", "--jobs", "1"]

    def start(out):
        words = ["compare", str(tmp_path / "recipe.yaml"), str(manifest), "--out", str(out), *options]
        program = [sys.executable, "-c", "from mm_keras.cli import main; main()"]
        return subprocess.Popen([*program, *words], stdout=subprocess.DEVNULL)

    whole, halved = tmp_path / "whole", tmp_path / "halved"
    assert start(whole).wait() == 0
    child = start(halved)
    while len(list((halved / "trainings").glob("*.npz"))) < 1:
        assert child.poll() is None
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (halved / "comparison.json").exists()
    assert start(halved).wait() == 0
    tables = [pd.read_csv(f / "comparison.csv", index_col=0).drop(columns="step_ms") for f in (whole, halved)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.long
def test_side_by_side_and_exported(distractor, useless, tmp_path):
    recipe, manifest = distractor
    recipe, one = with_training(recipe.without("shape"), epochs=1), useless
    apart = mm.compare(recipe, manifest, tmp_path / "a", folds=0, jobs=2, verbose=False)
    assert apart.lines["parameters"].to_dict() == one.lines["parameters"].to_dict()
    assert (apart.lines["latency_ms"] > 0).all()
    assert apart.lines.loc["ensemble_mean", "bytes"] == apart.lines.loc[["colour", "noise"], "bytes"].sum()
    assert one.lines["bytes"].isna().all()


@pytest.mark.slow
def test_of_shards_every_row_is_tested_once(pair, tmp_path):
    recipe, manifest = with_training(pair[0], epochs=2), pair[1]
    mm.prepare(manifest, recipe, tmp_path / "shards", processes=1, shard_rows=128)
    found = mm.compare(recipe, tmp_path / "shards", tmp_path / "out", folds=2, exports=False, verbose=False)
    assert found.n == 900
    cells = [load_cell(tmp_path / "out" / "trainings" / f"fusion-gated-{fold}.npz") for fold in (0, 1)]
    tested = np.concatenate([c.ids["test"] for c in cells])
    truth = pd.read_csv(manifest, dtype=str).set_index("id")["label"]
    assert sorted(tested) == sorted(truth.index)
    right = [
        np.array(c.facts["classes"]["label"])[c.outputs["test"]["label"].argmax(axis=1)] == truth.loc[c.ids["test"]]
        for c in cells
    ]
    assert found.lines.loc["gated", "value"] == pytest.approx(np.concatenate(right).mean())
