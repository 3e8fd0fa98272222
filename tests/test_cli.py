"""The command line: quick help, quiet streams, one message for an expected fault, and the whole way once through."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mm_keras.cli import app, main
from mm_keras.recipe import load_recipe

MAIN = [sys.executable, "-c", "from mm_keras.cli import main; main()"]
COMMANDS = ["demo", "fit", "preview", "extract", "evaluate", "predict", "explain", "export", "ingest", "inspect"]
COMMANDS += ["link", "doctor", "verify", "bench", "serve", "importance", "explain-quality", "calibrate", "reliability"]
COMMANDS += ["robustness", "compare", "report", "ensemble", "search", "prepare", "data-server"]


def call(*arguments):
    return subprocess.run([*MAIN, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_help_needs_no_tensorflow_and_is_quick():
    code = (
        "import sys; from mm_keras.cli import main\n"
        "sys.argv = ['mm-keras', '--help']\n"
        "try: main()\n"
        "finally:\n"
        "  heavy = {'tensorflow', 'keras', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "  assert not heavy, heavy"
    )
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - began)
    assert run.stderr == ""
    for word in COMMANDS:
        assert word in run.stdout
    print(f"mm-keras --help: median {statistics.median(seconds):.2f} s")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.fixture(scope="module")
def recipe_file(digits_folder, tmp_path_factory):
    """The word and the card alone, one epoch."""
    recipe = load_recipe(digits_folder / "recipe.yaml").without("scan", "tone")
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 1})}).save(path)
    return path


@pytest.fixture(scope="module")
def fitted(recipe_file, digits_folder, tmp_path_factory):
    """What `mm-keras fit` wrote, and its run folder."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    return call("fit", recipe_file, digits_folder / "manifest.csv", "--out", folder), folder


def test_fit_trains_and_keeps_stderr_quiet(fitted):
    done, folder = fitted
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "train=140, validation=20, test=40, quarantined=0" in done.stdout
    assert (folder / "run.json").is_file()


def test_evaluate_predict_inspect_and_explain(fitted, digits_folder, tmp_path):
    _, folder = fitted
    runner = CliRunner()
    result = runner.invoke(app, ["evaluate", str(folder)])
    assert result.exit_code == 0, result.output
    metrics = json.loads((folder / "metrics.json").read_text())
    accuracy = metrics["digit"]["accuracy"]
    assert "digit accuracy: {value:.4f} [{low:.4f}, {high:.4f}]".format(**accuracy) in result.output
    assert set(json.loads((folder / "subsets.json").read_text())) == {"word", "card", "word+card"}

    out = tmp_path / "new" / "predictions.csv"
    result = runner.invoke(app, ["predict", str(folder), str(digits_folder / "manifest.csv"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "200 rows, 0 of them bad" in result.output
    table = pd.read_csv(out, dtype={"digit": str})
    truth = pd.read_csv(digits_folder / "manifest.csv", dtype=str)
    assert table["id"].tolist() == truth["id"].tolist()
    share = (table["digit"] == truth["digit"])[truth["split"] == "test"].mean()
    assert share == pytest.approx(accuracy["value"])  # the same rows, scored by hand

    result = runner.invoke(app, ["inspect", str(folder)])
    assert result.exit_code == 0, result.output
    assert '"seed": 7' in result.output
    assert "kind: gated" in result.output

    page = tmp_path / "page.html"
    result = runner.invoke(app, ["explain", str(folder), "--row", "d0003", "--out", str(page)])
    assert result.exit_code == 0, result.output
    assert "<html" in page.read_text(encoding="utf-8").lower()
    layer = ["--method", "layercam", "--layer", "word=word_encoder/embedding"]
    result = runner.invoke(app, ["explain", str(folder), "--row", "d0003", "--out", str(page), *layer])
    assert result.exit_code == 0, result.output
    assert "layercam" in page.read_text(encoding="utf-8")
    for word, fault in (("word", "expected NAME=VALUE"), ("word=word_encoder/embeding", "Did you mean")):
        layer[-1] = word
        result = runner.invoke(app, ["explain", str(folder), "--row", "d0003", "--out", str(page), *layer])
        assert result.exit_code != 0
        assert fault in result.output + str(result.exception)
    word = truth.set_index("id").loc["d0003", "word"]
    own = ["--row", "d0003", "--method", "gradient_x_input", "--baseline", f"word={word}"]
    result = runner.invoke(app, ["explain", str(folder), *own, "--out", str(tmp_path / "own.json")])
    assert result.exit_code == 0, result.output
    assert not np.any(json.loads((tmp_path / "own.json").read_text())["inputs"]["word"]["map"])


@pytest.mark.long
def test_galleries_are_of_ids_or_of_a_choice(fitted, tmp_path):
    folder, page, table, runner = str(fitted[1]), tmp_path / "g.html", tmp_path / "g.csv", CliRunner()
    result = runner.invoke(app, ["explain", folder, "--row", "d0003,d0004", "--out", str(page)])
    assert result.exit_code == 0, result.output
    assert page.read_text().count("<article") == 2
    result = runner.invoke(app, ["explain", folder, "--gallery", "worst", "--count", "3", "--out", str(table)])
    assert result.exit_code == 0, result.output
    assert len(table.read_text().splitlines()) == 4


@pytest.mark.slow
def test_importance_and_explain_quality(fitted, tmp_path):
    runner, folder = CliRunner(), str(fitted[1])
    result = runner.invoke(app, ["importance", folder, "--out", str(tmp_path / "importance.json")])
    assert result.exit_code == 0, result.output
    assert "digit: 40 rows" in result.output
    found = json.loads((tmp_path / "importance.json").read_text())
    assert set(found["inputs"]) == {"word", "card"}
    share = found["inputs"]["word"]["share"]
    assert "{value:.3g} [{low:.3g}, {high:.3g}]".format(**share) in result.output

    out = tmp_path / "quality.csv"
    arguments = ["explain-quality", folder, "--method", "integrated_gradients", "--rows", "4", "--out", str(out)]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert set(pd.read_csv(out)["method"]) == {"integrated_gradients", "random"}


@pytest.mark.slow
def test_preview_and_extract(fitted, recipe_file, digits_folder, tmp_path):
    manifest, runner = digits_folder / "manifest.csv", CliRunner()
    page = tmp_path / "new" / "preview.html"
    arguments = ["preview", str(recipe_file), str(manifest), "--out", str(page), "--rows", "2", "--draws", "1"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "Preview(2 rows, the original and 1 draws; augmentation in training: none)" in result.output
    assert page.read_text(encoding="utf-8").count("<img") == 2

    out = tmp_path / "features.parquet"
    result = runner.invoke(app, ["extract", str(fitted[1]), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "rows=200, bad=0; word[32]" in " ".join(result.output.split())
    table = pd.read_parquet(out)
    assert table.columns.tolist() == ["id", "split", "digit", "magnitude", "word", "card", "fusion"]


@pytest.mark.long
def test_a_module_of_the_users_is_imported_first(recipe_file, digits_folder, tmp_path):
    """`--import` finds what a recipe names, from the working directory; the run then finds it by itself."""
    (tmp_path / "my_kinds.py").write_text(
        "import keras\nfrom mm_keras.registry import FUSIONS\nFUSIONS['mine'] = keras.layers.Concatenate()\n"
    )
    recipe = load_recipe(recipe_file).without("word")
    text = recipe.to_yaml().replace("kind: gated", "kind: mine")
    (tmp_path / "recipe.yaml").write_text(text)
    asked = ["preview", "recipe.yaml", digits_folder / "manifest.csv", "--out", "a.html", "--rows", "1"]
    bad, good = (
        subprocess.run([*MAIN, *extra, *map(str, asked)], capture_output=True, text=True, check=False, cwd=tmp_path)
        for extra in ([], ["--import", "my_kinds"])
    )
    assert bad.returncode == 2
    assert "fusion.kind: must be one of" in bad.stderr
    assert good.returncode == 0, good.stderr


def test_doctor_names_what_there_is():
    done = call("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("python", "tensorflow", "keras backend", "GPU", "ai-edge-litert"):
        assert word in done.stdout


def test_an_expected_fault_is_one_message_and_exit_2(tmp_path):
    done = call("evaluate", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"DataError: {tmp_path}: not a run folder")
    assert done.stderr.count("\n") <= 3


def test_every_expected_fault(fitted, recipe_file, digits_folder, tmp_path, monkeypatch, capsys):
    _, run = fitted
    manifest = digits_folder / "manifest.csv"
    typo = tmp_path / "typo.yaml"
    typo.write_text(recipe_file.read_text().replace("epochs", "epoch"))
    wild = tmp_path / "wild.yaml"
    wild.write_text(recipe_file.read_text().replace("learning_rate: 0.003", "learning_rate: 1.0e+30"))
    cases = [
        (["fit", recipe_file, tmp_path / "gone.csv", "--out", tmp_path / "a"], "DataError", "there is no such file"),
        (["fit", typo, manifest, "--out", tmp_path / "a"], "RecipeError", "Did you mean 'epochs'?"),
        (["fit", recipe_file, manifest, "--out", run], "DataError", "already holds a run"),
        (["fit", wild, manifest, "--out", tmp_path / "b"], "FloatingPointError", "Lower `training.learning_rate`"),
        (["explain", run, "--row", "d9999", "--out", tmp_path / "a.html"], "DataError", "no row has the id 'd9999'"),
        (["preview", typo, manifest, "--out", tmp_path / "a.html"], "RecipeError", "Did you mean 'epochs'?"),
        (["preview", recipe_file, manifest, "--out", tmp_path / "a", "--rows", "0"], "DataError", "`rows` must be at"),
        (["extract", run, "--out", tmp_path / "a.csv"], "DataError", "written to a .parquet file or a folder"),
        (["--import", "no_such_module", "doctor"], "RecipeError", "No module named 'no_such_module'"),
        (["inspect", tmp_path / "[/nowhere]"], "ExportError", "[/nowhere]"),
    ]
    for arguments, kind, message in cases:
        monkeypatch.setattr(sys, "argv", ["mm-keras", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == 2, (arguments, said)
        assert said.startswith(f"{kind}: "), said
        assert message in " ".join(said.split())
    assert not (tmp_path / "a").exists()


def test_demo_leaves_other_files_of_its_folder_alone(tmp_path, monkeypatch):
    import mm_keras
    from mm_keras.cli.runs import demo

    class Stop(Exception):
        pass

    def stop(*_, **__):
        raise Stop

    (tmp_path / "run").mkdir()
    (tmp_path / "mine.txt").write_text("keep")
    monkeypatch.setattr(mm_keras, "fit", stop, raising=False)
    monkeypatch.setattr(mm_keras, "load", lambda *_: None, raising=False)
    with pytest.raises(Stop):
        demo(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    assert not (tmp_path / "run").exists()  # an earlier demo's
    assert Path(tmp_path / "digits/manifest.csv").is_file()
