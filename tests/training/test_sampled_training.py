"""Drawn rows in a whole training: two sets mixed on the command line, with balanced classes and a cache on disk."""

import json

import numpy as np
import pandas as pd
from typer.testing import CliRunner

import mm_keras as mm
from mm_keras.cli import app


def test_two_manifests_are_mixed_on_the_command_line(digits_folder, tmp_path):
    recipe = mm.load_recipe(digits_folder / "recipe.yaml").without("tone", "word", "scan")
    training = mm.Training(epochs=1, sampling="balanced", sampling_task="digit", cache="disk")
    recipe.model_copy(update={"training": training}).save(tmp_path / "recipe.yaml")
    table = pd.read_csv(digits_folder / "manifest.csv", dtype=str, keep_default_na=False)
    for name, part in (("one", table[:150]), ("two", table[150:])):
        part.to_csv(digits_folder / f"{name}.csv", index=False)
    one, two = (str(digits_folder / f"{name}.csv") for name in ("one", "two"))
    words = ["fit", str(tmp_path / "recipe.yaml"), one, "--out", str(tmp_path / "run"), "--mix", f"{two}:0.4"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    rows = pd.read_parquet(tmp_path / "run" / "rows.parquet")
    assert dict(rows["source"].value_counts()) == {"one": 150, "two": 50}
    assert sorted(rows["id"].str.split("/").str[1]) == sorted(table["id"])
    assert json.loads((tmp_path / "run" / "run.json").read_text())["rows"]["train"] == (table["split"] == "train").sum()
    assert np.isfinite(pd.read_csv(tmp_path / "run" / "history.csv")["loss"]).all()
    for words[-1], fault in (
        (two, "MANIFEST:SHARE"),
        (f"{two}:1.5", "MANIFEST:SHARE"),
        (f"{one}:0.5", "two manifests"),
    ):
        result = CliRunner().invoke(app, words)
        assert result.exit_code != 0
        assert fault in str(result.exception)
