"""One table in every form it comes in, and what is wrong with others."""

import json

import numpy as np
import pandas as pd
import pytest

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.data.tables import as_numbers, as_text, read_table
from mm_keras.errors import DataError

ROWS = [
    {"id": "a", "words": 'red, and "big"', "price": 1.1, "colour": "grün", "kind": 1, "split": "train"},
    {"id": "b", "words": "", "price": None, "colour": "blue", "kind": 2, "split": "train"},
    {"id": "c", "words": "two\nlines", "price": 1 / 3, "colour": None, "kind": 1, "split": "val"},
    {"id": "d", "words": "青い", "price": -2.0, "colour": "blue", "kind": None, "split": "test"},
    {"id": "e", "words": "last", "price": 3e-5, "colour": "red", "kind": 2, "split": "TEST"},
]
RECIPE = parts.Recipe(
    inputs={"words": parts.Text(), "facts": parts.Tabular(numeric=("price",), categorical=("colour",))},
    tasks={"kind": parts.Classification(), "price_too": parts.Regression(column="price")},
)


def write(folder, form):
    """Writes ROWS in one form; returns what `load` takes."""
    table, path = pd.DataFrame(ROWS), folder / f"table.{form}"
    if form == "frame":
        return table
    if form == "index":
        return table.set_index("id")
    if form in ("csv", "tsv"):
        text = table.assign(kind=table["kind"].astype("Int64"))
        text.to_csv(path, index=False, sep="\t" if form == "tsv" else ",", encoding="utf-8-sig")
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    else:
        table.to_parquet(path, index=False)
    return path


def same_rows(left, right):
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_array_equal(left.splits, right.splits)
    np.testing.assert_array_equal(left.cells["words"], right.cells["words"])
    for field in ("price", "colour"):
        np.testing.assert_array_equal(left.cells["facts"][field], right.cells["facts"][field])
    for task in ("kind", "price_too"):
        np.testing.assert_array_equal(left.labels[task], right.labels[task])


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet", "frame", "index"])
def test_every_form_gives_the_same_rows(tmp_path, form):
    data = load(write(tmp_path, form), RECIPE)
    rows = data.rows
    assert rows.ids.tolist() == ["a", "b", "c", "d", "e"]
    assert rows.numbers.tolist() == [1, 2, 3, 4, 5]
    assert rows.splits.tolist() == ["train", "train", "validation", "test", "test"]
    assert rows.cells["words"].tolist() == [r["words"] for r in ROWS]
    assert rows.cells["facts"]["colour"].tolist() == ["grün", "blue", "", "blue", "red"]
    np.testing.assert_array_equal(rows.cells["facts"]["price"], np.array([1.1, np.nan, 1 / 3, -2.0, 3e-5], np.float32))
    # Beside a missing cell, pandas holds whole numbers as floats; the class is still "1".
    assert rows.labels["kind"].tolist() == ["1", "2", "1", "", "2"]
    np.testing.assert_array_equal(rows.labels["price_too"], [1.1, np.nan, 1 / 3, -2.0, 3e-5])  # to the last bit
    assert data.classes == {"kind": ("1", "2")}
    assert data.quarantine.empty
    same_rows(rows, load(pd.DataFrame(ROWS), RECIPE).rows)


def test_large_whole_numbers_beside_a_missing_one_stay_exact(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 9007199254740993}\n{"id": null}\n')
    assert as_text(read_table(path)[0]["id"]).tolist() == ["9007199254740993", ""]


def test_numbers_of_every_spelling():
    column = pd.Series(["1", " 2.5 ", "1e3", "", "nan", "NaN", "x", "1,5", "inf", "1e39", "1_0", None])
    values, bad = as_numbers(column)
    np.testing.assert_array_equal(values[:6], [1, 2.5, 1000, np.nan, np.nan, np.nan])
    assert bad.tolist() == [False] * 6 + [True] * 5 + [False]
    values, bad = as_numbers(pd.array([1, None, 3], dtype="Int64").to_numpy(dtype=object))
    np.testing.assert_array_equal(values, [1, np.nan, 3])
    # Beyond float32, in which everything is computed.
    assert as_numbers(pd.Series([1e38, 1e39, np.inf, np.nan]))[1].tolist() == [False, True, True, False]


def test_a_ragged_line_is_quarantined_with_its_line(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('words,price,colour,kind\n"two\nlines",1,red,1\nb,2,red,2,9\nc,3\n\nd,4,red,1\ne,5,red,2\n')
    data = load(path, RECIPE, split=(1.0, 0.0, 0.0), max_bad=0.5)
    assert data.rows.ids.tolist() == ["1", "4", "5"]
    assert data.quarantine[["row", "reason"]].to_numpy().tolist() == [
        [2, "line 4 has 5 cells, the header 4"],
        [3, "line 5 has 2 cells, the header 4"],
    ]


def test_a_line_that_is_no_json_is_quarantined(tmp_path):
    path = tmp_path / "table.jsonl"
    lines = [json.dumps(row) for row in ROWS]
    path.write_text("\n".join([*lines[:2], '{"id": ', "[1]", *lines[2:]]), encoding="utf-8")
    data = load(path, RECIPE, max_bad=0.5)
    assert data.rows.ids.tolist() == ["a", "b", "c", "d", "e"]
    assert data.rows.numbers.tolist() == [1, 2, 5, 6, 7]
    assert data.quarantine["row"].tolist() == [3, 4]
    assert data.quarantine["reason"][0].startswith("line 3: Expecting value")
    assert data.quarantine["reason"][1] == "line 4: expected an object. Received: list"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "cannot be read as csv: the file is empty"),
        ("a.csv", b"words,price\n", "the table has no rows"),
        ("a.csv", b'words,price\n"open,1\nb,2\n', "line 3: unexpected end of data"),
        ("a.csv", b"words,price\n\xff\xfe,1\n", "cannot be read as csv: 'utf-8' codec can't decode"),
        ("a.csv", b"words,words\na,b\n", r"columns of one name stand twice: \['words'\]"),
        ("a.parquet", b"words,price\n", "cannot be read as parquet"),
        ("a.xlsx", b"PK", r"a manifest ends in one of \['.csv', '.jsonl', '.parquet', '.tsv'\]"),
    ],
)
def test_files_that_are_no_table(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / name, RECIPE)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: there is no such file"):
        load(tmp_path / "gone.csv", RECIPE)


def test_a_cell_longer_than_the_readers_own_limit(tmp_path):
    long = "word " * 100_000
    path = tmp_path / "table.csv"
    path.write_text(f"words,price,colour,kind\n{long},1,red,1\nb,2,red,2\n")
    assert read_table(path)[0]["words"].tolist() == [long, "b"]
