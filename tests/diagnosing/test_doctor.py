"""Where the time goes: a planted slow input and a planted slow model are told apart and named."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import png_bytes
from typer.testing import CliRunner

import mm_keras as mm
from mm_keras.cli import app
from mm_keras.diagnosing.advice import advice_for

ROWS = 12


def recipe_of(size, encoder, **training):
    return mm.Recipe(
        inputs={"photo": mm.Image(size=(size, size), encoder=encoder), "facts": mm.Tabular(numeric=["number"])},
        tasks={"kind": mm.Classification()},
        training=mm.Training(batch_size=4, **training),
    )


def write(folder, side):
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.repeat(rng.integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8), 16, 0), 16, 1)
    (folder / "a.jpg").write_bytes(png_bytes(pixels, "JPEG"))
    table = pd.DataFrame({"photo": ["a.jpg"] * ROWS, "number": range(ROWS), "kind": ["x", "y"] * (ROWS // 2)})
    table.assign(split="train").to_csv(folder / "train.csv", index=False)
    return folder / "train.csv"


@pytest.mark.slow
def test_a_slow_input_is_named_and_what_to_change(tmp_path):
    manifest = write(tmp_path, 1600)
    found = mm.doctor(recipe_of(16, {"size": "tiny"}, cache_gb=1e-6), manifest, seconds=0.5)
    assert found.verdict == "input-bound"
    table = found.table()
    assert table.loc[("photo", "decode"), "share"] > 0.6
    assert table["share"].sum() == pytest.approx(1)
    assert list(table.loc["facts"].index) == ["finish"]
    whole = " ".join(found.sentences)
    assert "Decode of 'photo' takes" in whole
    assert "1600 x 1600 for an input of 16 x 16: `mm.Image(fast_decode=True)`" in whole
    assert "`cache_gb: 1e-06` is too small" in whole
    assert found.together > 2 * found.step
    kept = json.loads(found.save(tmp_path / "found.json").read_text())
    assert kept["verdict"] == "input-bound"
    assert kept["rates"]["model"]["rows_per_second"] == pytest.approx(4 / found.step)
    assert found.save(tmp_path / "found.png").stat().st_size > 5000
    assert "input-bound" in found.to_html().lower()


@pytest.mark.long
def test_a_slow_model_is_named(tmp_path):
    manifest = write(tmp_path, 32)
    recipe_of(64, {"kind": "cnn", "size": "base"}).save(tmp_path / "recipe.yaml")
    words = ["doctor", str(tmp_path / "recipe.yaml"), str(manifest), "--seconds", "0.5"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "found.json")])
    assert result.exit_code == 0, result.output
    assert "Compute-bound: the data chain, kept decoded, gives" in result.output
    assert "The files are quick enough" in result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["verdict"], found["cached"]) == ("compute-bound", True)
    rates = {part: line["rows_per_second"] for part, line in found["rates"].items()}
    assert rates["data chain"] > 2 * rates["model"]
    assert list(found["stages"]) == ["photo read", "photo decode", "photo finish", "facts finish"]


def test_advice_names_the_rate_of_sounds_and_the_size_of_a_cache(tmp_path):
    from conftest import wav_bytes

    from mm_keras.data.rows import Rows

    (tmp_path / "a.wav").write_bytes(wav_bytes(np.zeros(100), 44_100))
    recipe = mm.Recipe(inputs={"voice": mm.Audio(sampling_rate=16_000)}, tasks={"kind": mm.Classification()})
    rows = Rows(np.array(["1"], object), {"voice": np.array([str(tmp_path / "a.wav")], object)})
    seconds = {"voice": {"read": 1e-5, "decode": 9e-4, "finish": 9e-5}}
    lines = advice_for("input-bound", recipe, rows, seconds, 3 * 2**30, False, 0.1)
    assert lines == [
        "`cache_gb: 1` is too small for the 3.00 GB that the training rows take decoded: raise it to 3.06, with "
        "`cache: disk` where that is more than memory.",
        "Decode of 'voice' takes 90% of the reading time; the files have 44100 Hz for an input of 16000: "
        "resample once.",
    ]
    assert "resample" not in " ".join(advice_for("input-bound", recipe, rows, seconds, 0, True, 0.1))
