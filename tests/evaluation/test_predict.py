"""Predictions as a table: one line an example, in order, with its id, and bad rows named."""

import numpy as np
import pandas as pd
import pytest

from mm_keras.errors import DataError
from mm_keras.evaluation.predict import predict

CLASSES = [f"digit_{i}" for i in range(10)]
COLUMNS = ["id", "digit", "digit_probability", *CLASSES, "magnitude", "magnitude_low", "magnitude_high", "error"]


@pytest.fixture(scope="module")
def manifest(digits_folder):
    """The first 30 rows, paths absolute, without labels and splits."""
    table = pd.read_csv(digits_folder / "manifest.csv", dtype=str, keep_default_na=False).iloc[:30]
    for column in ("scan", "tone"):
        table[column] = [str(digits_folder / path) for path in table[column]]
    return table.drop(columns=["digit", "magnitude", "split"])


@pytest.fixture(scope="module")
def predicted(digits_run, manifest):
    return predict(digits_run, manifest)


def test_the_columns_and_what_they_hold(predicted, manifest):
    assert list(predicted) == COLUMNS
    assert predicted["id"].tolist() == manifest["id"].tolist()
    assert (predicted["error"] == "").all()
    probabilities = predicted[CLASSES].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert predicted["digit"].tolist() == [str(i) for i in probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(predicted["digit_probability"], probabilities.max(axis=1))


def test_examples_and_rows_and_manifests_agree(digits_run, digits_data, manifest, predicted):
    at = [digits_data.rows.position(i) for i in manifest["id"]]
    examples = [digits_data.rows.example(i) for i in at]
    for table in (
        predict(digits_run, examples),
        predict(digits_run, examples, batch_size=7),
        predict(digits_run, digits_data.rows.take(at)),
        predict(digits_run.folder, manifest),
    ):
        assert list(table) == COLUMNS
        np.testing.assert_allclose(
            table[[*CLASSES, "magnitude"]].astype(float), predicted[[*CLASSES, "magnitude"]], rtol=1e-5, atol=1e-5
        )
    assert predict(digits_run, examples[0])["id"].tolist() == ["0"]


def test_any_subset_of_inputs(digits_run, digits_data):
    example = digits_data.test.example(0)
    given = [{}, {"word": example.get("word", "five")}, {**example, "word": None, "seconds": float("nan")}]
    table = predict(digits_run, given)
    assert np.isfinite(table[CLASSES].to_numpy()).all()
    assert (table["error"] == "").all()
    assert table["digit_probability"].nunique() == 3


def test_a_bad_value_counts_as_missing_and_is_named(digits_run, digits_data):
    example = digits_data.test.example(1)
    without = {k: v for k, v in example.items() if k != "scan"}
    table = predict(digits_run, [example, {**example, "scan": b"no picture"}, without])
    assert table["error"].tolist() == ["", "scan: not a JPEG, PNG, GIF or BMP; ", ""]
    np.testing.assert_allclose(table.loc[1, CLASSES].astype(float), table.loc[2, CLASSES].astype(float), atol=1e-6)


def test_bad_rows_of_a_manifest_keep_their_place(digits_run, manifest, predicted, tmp_path):
    table = manifest.copy()
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    table.loc[2, "scan"] = str(tmp_path / "gone.png")
    table.loc[5, "tone"] = str(tmp_path / "bad.wav")
    table.loc[5, "seconds"] = "soon"
    table.loc[8, "id"] = table.loc[7, "id"]
    table = table.assign(split="whatever")  # of no interest here
    table.to_csv(tmp_path / "manifest.csv", index=False)
    got = predict(digits_run, tmp_path / "manifest.csv")
    assert got["id"].tolist() == table["id"].tolist()
    assert got["error"][2] == "scan: there is no such file"
    assert got["error"][5].startswith("tone: ")
    assert got["error"][5].endswith("; seconds: not a finite number")
    assert got["error"][8] == "id: an earlier row has this id"
    bad = [2, 5, 8]
    assert got.loc[bad, ["digit", *CLASSES, "magnitude"]].isna().all(axis=None)
    good = got.drop(index=bad)
    assert (good["error"] == "").all()
    np.testing.assert_allclose(good[CLASSES].astype(float), predicted.drop(index=bad)[CLASSES], rtol=0, atol=1e-6)


def test_a_file_that_is_gone_keeps_its_place(digits_run, digits_data, tmp_path):
    rows = digits_data.test.take(np.arange(4))
    rows.cells["scan"][1] = str(tmp_path / "gone.png")
    table = predict(digits_run, rows)
    assert table["id"].tolist() == rows.ids.tolist()
    assert table["error"].tolist() == ["", "a file can no longer be read", "", ""]
    assert table[CLASSES].isna().all(axis=1).tolist() == [False, True, False, False]


def test_what_is_refused(digits_run, manifest):
    with pytest.raises(DataError, match="no examples to predict"):
        predict(digits_run, [])
    with pytest.raises(DataError, match=r"example 0: unknown field 'scam'\. Did you mean 'scan'"):
        predict(digits_run, {"scam": b""})
    with pytest.raises(DataError, match=r"inputs\.tone needs the column 'tone'"):
        predict(digits_run, manifest.drop(columns="tone"))
