"""`mm-keras inspect` of a manifest: the same words as in Python, and one sentence where something lacks."""

import json
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from mm_keras.cli import app, main
from mm_keras.recipe import Classification, Recipe, Tabular


@pytest.fixture
def files(tmp_path):
    """A manifest whose column `code` is the label, and its recipe."""
    table = pd.DataFrame({"code": [1, 2] * 40, "size": range(80), "label": ["a", "b"] * 40})
    table["split"] = ["train"] * 60 + ["test"] * 20
    table.to_csv(tmp_path / "rows.csv", index=False)
    facts = Tabular(numeric=("code", "size"))
    Recipe(inputs={"facts": facts}, tasks={"label": Classification()}).save(tmp_path / "recipe.yaml")
    return tmp_path / "rows.csv", tmp_path / "recipe.yaml"


def test_a_manifest_is_checked_printed_and_saved(files, tmp_path):
    manifest, recipe = map(str, files)
    out = tmp_path / "new" / "check.html"
    result = CliRunner().invoke(app, ["inspect", manifest, "--recipe", recipe, "--out", str(out)])
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "60 train, 0 validation, 20 test rows" in text
    assert "warning leaks: The column 'code' alone tells 'label' in cross-validation: balanced accuracy 1.000" in text
    assert "alone tells" in out.read_text(encoding="utf-8")

    result = CliRunner().invoke(app, ["inspect", manifest, "--recipe", recipe, "--json"])
    found = json.loads(result.output)
    assert [f["check"] for f in found["findings"]] == ["leaks"]
    assert found["availability"]["train"] == {"facts": 1.0}


def test_what_lacks_is_said_in_one_sentence(files, tmp_path, monkeypatch, capsys):
    manifest, recipe = files
    (tmp_path / "bundle").mkdir()
    cases = [
        ([manifest], "DataError", "data is checked against a recipe. Give it, as --recipe"),
        ([tmp_path / "gone.csv", "--recipe", recipe], "DataError", "there is no such file"),
        ([manifest, "--recipe", tmp_path / "gone.yaml"], "RecipeError", "cannot read the recipe"),
        ([manifest, "--recipe", recipe, "--out", tmp_path / "a.png"], "DataError", "saved as .html, .json or .csv"),
        ([tmp_path / "bundle", "--out", tmp_path / "a.html"], "DataError", "give its --recipe too"),
        ([tmp_path / "bundle"], "ExportError", "not an export of mm_keras; it holds no saved_model.pb"),
        ([tmp_path / "nowhere"], "ExportError", "expected a folder: a run, or an export of mm_keras; or a manifest"),
    ]
    for arguments, kind, message in cases:
        monkeypatch.setattr(sys, "argv", ["mm-keras", "inspect", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == 2, (arguments, said)
        assert said.startswith(f"{kind}: "), said
        assert message in " ".join(said.split())
    assert not (tmp_path / "a.png").exists()
