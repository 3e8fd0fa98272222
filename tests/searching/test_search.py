"""`mm.search`: trainings of a recipe with other settings, and the best of them."""

import json
import subprocess
import sys
import time

import pandas as pd
import pytest
from typer.testing import CliRunner

import mm_keras as mm
from mm_keras.cli import app, main
from mm_keras.evaluation.judge import Judge
from mm_keras.searching.changes import changed
from mm_keras.searching.training import train_trial
from mm_keras.training.learn import learn_tasks

RATE, KIND = "training.learning_rate", "fusion.kind"
SPACE = {RATE: [0.01, 1e30], KIND: "gated,concat"}  # no network survives the second rate


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """`(recipe, manifest)` of 200 rows: `colour` and `shape` tell half of the label each; two epochs."""
    manifest = mm.make_distractor(tmp_path_factory.mktemp("distractor"), rows=200)
    recipe = mm.load_recipe(manifest.parent / "recipe.yaml").without("noise")
    return changed(recipe, {"training.epochs": 2, RATE: 0.003}), manifest


@pytest.fixture(scope="module")
def found(planted, tmp_path_factory):
    """Three trials and their folder."""
    out = tmp_path_factory.mktemp("searches") / "out"
    return mm.search(*planted, out, SPACE, trials=3, verbose=False), out


@pytest.mark.slow
def test_the_first_trial_is_the_recipe_and_the_best_is_a_whole_recipe(found, planted):
    search, out = found
    recipe, _ = planted
    lines = search.trials
    assert lines.loc[0, [RATE, KIND]].tolist() == [0.003, "gated"]
    assert sorted(lines["state"]) == ["failed", "finished", "finished"]
    failed = lines[lines["state"] == "failed"].iloc[0]
    assert failed[RATE] == 1e30
    assert failed["reason"].startswith("FloatingPointError: the val_loss is nan in epoch 1.")
    assert search.number == lines["score"].idxmax()
    line = lines.loc[search.number]
    assert mm.load_recipe(out / "best.yaml") == search.best == changed(recipe, {RATE: line[RATE], KIND: line[KIND]})
    given, best = search.scores["given"], search.scores["best"]
    assert (given["score"]["value"], best["score"]["value"]) == pytest.approx((lines["score"][0], lines["score"].max()))
    assert best["gain"]["value"] == pytest.approx(lines["score"].max() - lines["score"][0])
    assert best["label accuracy"] == best["score"]
    assert search.n == 40  # a fifth of the rows validates, and no row of the test split is counted


@pytest.mark.slow
def test_results_are_files_and_sentences(found):
    search, out = found
    content = json.loads((out / "search.json").read_text())
    assert content["sentences"] == list(search.sentences)
    assert content["trials"]["0"]["score"] == search.trials["score"][0]
    assert mm.load_recipe(content["best"]) == search.best
    assert pd.read_csv(out / "search.csv")["trial"].tolist() == [0, 1, 2]
    assert (out / "search.png").read_bytes()[:4] == b"\x89PNG"
    assert search.sentences[0] in (out / "search.html").read_text().replace("&#43;", "+")
    assert search.sentences[-1] == "3 trials: 2 finished, 1 failed."
    assert f"Trial {search.number} is best on 40 validation rows" in search.sentences[0]
    assert "over the recipe as given" in search.sentences[0]
    assert "evaluate it on test rows" in search.sentences[1]
    assert search.table().index[0] == search.number
    assert RATE in search.changes().index
    assert "<table" in search._repr_html_()
    with pytest.raises(mm.DataError, match="a search is saved as"):
        search.save(out / "search.txt")


@pytest.mark.slow
def test_what_is_kept_is_not_trained_again(found, planted, tmp_path):
    search, out = found
    recipe, manifest = planted
    logs = {p: p.stat().st_mtime_ns for p in (out / "trials").rglob("events*")}
    assert logs
    file = tmp_path / "recipe.yaml"
    recipe.save(file)
    words = ["--set", f"{RATE}=0.01,1e30", "--set", f"{KIND}=gated, concat"]
    asked = ["search", str(file), str(manifest), "--out", str(out), "--trials", "3", *words]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "3 of 3 trials are kept" in result.output
    assert search.sentences[0][:30] in result.output
    assert {p: p.stat().st_mtime_ns for p in (out / "trials").rglob("events*")} == logs


@pytest.mark.slow
def test_another_search_needs_another_folder(found, planted):
    recipe, manifest = planted
    with pytest.raises(mm.DataError, match=r"holds another search; these differ: \['space'\]"):
        mm.search(recipe, manifest, found[1], {KIND: "gated,concat"}, verbose=False)
    with pytest.raises(mm.DataError, match=r"these differ: \['prune', 'recipe'\]"):
        mm.search(changed(recipe, {"fusion.units": 8}), manifest, found[1], SPACE, prune=False, verbose=False)


def test_what_cannot_be_searched_is_told_before_anything_trains(planted, tmp_path, monkeypatch, capsys):
    recipe, manifest = planted
    out = tmp_path / "out"
    with pytest.raises(mm.RecipeError, match=r"Did you mean 'training.learning_rate'"):
        mm.search(recipe, manifest, out, {"training.learning_rat": "1..2"})
    with pytest.raises(mm.DataError, match=r"`trials` must be at least 1. Received: 0"):
        mm.search(recipe, manifest, out, trials=0)
    bare = tmp_path / "bare.csv"
    table = pd.read_csv(manifest)
    table.assign(split=table["split"].replace("validation", "train")).to_csv(bare, index=False)
    with pytest.raises(mm.DataError, match="no validation rows, by which a search chooses"):
        mm.search(recipe, bare, out, SPACE)
    file = tmp_path / "recipe.yaml"
    recipe.save(file)
    asked = ["search", str(file), str(manifest), "--out", str(out), "--set", "fusion.kind=gated,concatt"]
    monkeypatch.setattr("sys.argv", ["mm-keras", *asked])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "RecipeError: space: fusion.kind: must be one of" in said
    assert "Traceback" not in said
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(mm.DataError, match=r"a search needs Optuna.*pip install 'mm_keras\[search\]'"):
        mm.search(recipe, manifest, out, SPACE)
    assert not out.exists()


@pytest.mark.slow
def test_fitting_the_best_recipe_gives_the_model_that_was_judged(found, planted, tmp_path):
    search, out = found
    run = mm.fit(out / "best.yaml", mm.load(planted[1], out / "best.yaml"), tmp_path / "run", verbose=False)
    scored = mm.evaluate(run, run.rows("validation"), subsets=False, out=tmp_path)
    assert scored.metrics["label"]["accuracy"]["value"] == pytest.approx(search.scores["best"]["score"]["value"])
    assert run.info["epochs"] == search.trials["epochs"][search.number]


@pytest.mark.slow
def test_a_training_that_is_behind_ends_and_one_that_is_not_keeps_its_best_epoch(planted, tmp_path):
    recipe, manifest = changed(planted[0], {"training.epochs": 4}), planted[1]
    data = mm.load(manifest, recipe)
    judge, scores = Judge(recipe, learn_tasks(recipe, data), data.validation), []
    assert train_trial(recipe, data, judge, tmp_path / "behind", lambda score, epoch: epoch == 1) == (None, 2)
    logits, epochs = train_trial(recipe, data, judge, tmp_path / "whole", lambda score, epoch: scores.append(score))
    assert epochs == len(scores) == 4
    assert judge.score(logits) in scores
    # The rate is far too low for four epochs to be enough: the last one is best.
    assert judge.score(logits) == scores[-1] == max(scores)


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_to_the_same_trials(found, planted, tmp_path):
    recipe, manifest = planted
    recipe.save(tmp_path / "recipe.yaml")
    out, main = tmp_path / "out", "from mm_keras.cli import main; main()"
    words = ["search", tmp_path / "recipe.yaml", manifest, "--out", out, "--trials", "3"]
    words += ["--set", f"{RATE}=0.01,1e30", "--set", f"{KIND}=gated,concat"]
    process = subprocess.Popen([sys.executable, "-c", main, *map(str, words)], stdout=subprocess.DEVNULL)
    try:
        while not (out / "trials" / "1").is_dir():  # the logs of its training
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert not (out / "search.json").exists()
    first = (out / "trials" / "0" / "answers.npz").stat().st_mtime_ns
    again = mm.search(recipe, manifest, out, SPACE, trials=3, verbose=False)
    assert (out / "trials" / "0" / "answers.npz").stat().st_mtime_ns == first
    kept = again.trials.drop(columns="seconds")
    pd.testing.assert_frame_equal(kept, found[0].trials.drop(columns="seconds"))
    assert again.scores == found[0].scores


@pytest.mark.slow
def test_shards_are_searched_as_they_are_trained_on(planted, tmp_path):
    recipe, manifest = planted
    mm.prepare(manifest, recipe, tmp_path / "shards", processes=1, shard_rows=32)
    search = mm.search(recipe, tmp_path / "shards", tmp_path / "out", {RATE: [0.003, 0.02]}, trials=2, verbose=False)
    assert search.n == 40
    assert (search.trials["state"] == "finished").all()
    run = mm.fit(search.best, tmp_path / "shards", tmp_path / "run", verbose=False)
    held = mm.evaluate(run, run.rows("validation"), subsets=False, out=tmp_path)
    assert held.metrics["label"]["accuracy"]["value"] == pytest.approx(search.scores["best"]["score"]["value"])
