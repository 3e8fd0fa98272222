"""Every cell is checked: what is bad is named, what is missing is not bad."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import png_bytes, wav_bytes

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.errors import DataError

WORDS = parts.Recipe(
    inputs={"words": parts.Text(), "facts": parts.Tabular(numeric=("price",), categorical=("colour",))},
    tasks={"kind": parts.Classification(), "rating": parts.Regression()},
)


def table(count=10, **changes):
    """Good rows, with some cells changed: `price={3: "x"}`."""
    columns = {
        "words": [f"word {i}" for i in range(count)],
        "price": [str(i) for i in range(count)],
        "colour": ["red", "blue"] * (count // 2),
        "kind": ["x", "y"] * (count // 2),
        "rating": [str(i / 2) for i in range(count)],
        "split": ["train"] * (count - 2) + ["validation", "test"],
    }
    for column, cells in changes.items():
        columns.setdefault(column, [f"{column}{i}" for i in range(count)])
        for row, value in cells.items():
            columns[column][row] = value
    return pd.DataFrame(columns)


def faults(data):
    return data.quarantine[["row", "id", "column", "value", "reason"]].to_numpy().tolist()


def test_good_rows_all_pass():
    data = load(table(), WORDS)
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 1, 1)
    assert repr(data) == "Data('table', train=8, validation=1, test=1, quarantined=0)"
    assert data.rows.example("4") == {
        "words": "word 3", "price": 3.0, "colour": "blue",
    }  # fmt: skip


def test_an_absent_column_names_those_there_are_and_the_nearest():
    with pytest.raises(DataError) as caught:
        load(table().rename(columns={"colour": "color"}), WORDS)
    assert str(caught.value) == (
        "table: inputs.facts needs the column 'colour', which the table lacks. Did you mean 'color'? "
        "Columns: ['words', 'price', 'color', 'kind', 'rating', 'split']"
    )
    with pytest.raises(DataError, match=r"tasks\.rating needs the column 'rating'"):
        load(table().drop(columns="rating"), WORDS)
    # Labels are not needed for prediction.
    assert len(load(table().drop(columns=["rating", "kind"]), WORDS, with_labels=False).rows) == 10


def test_numbers_that_are_none():
    data = load(table(price={1: "many", 2: "", 3: "nan"}, rating={4: "inf", 5: "1e39"}), WORDS, max_bad=0.3)
    assert faults(data) == [
        [2, "2", "price", "many", "not a finite number"],
        [5, "5", "rating", "inf", "not a finite number"],
        [6, "6", "rating", "1e39", "not a finite number"],
    ]
    np.testing.assert_array_equal(data.rows.cells["facts"]["price"][:3], [0, np.nan, np.nan])


def test_labels_outside_the_training_rows():
    data = load(table(kind={9: "z"}), WORDS, max_bad=0.1)
    reason = "unknown label: it is not among the classes of the training rows"
    assert faults(data) == [[10, "10", "kind", "z", reason]]
    assert data.classes == {"kind": ("x", "y")}


def test_labels_outside_the_declared_classes():
    tasks = {"kind": parts.Classification(classes=("y", "x"))}
    data = load(table(kind={0: "z"}), WORDS.model_copy(update={"tasks": tasks}), max_bad=0.1)
    reason = "unknown label: it is not among the classes of the recipe"
    assert faults(data) == [[1, "1", "kind", "z", reason]]
    assert data.classes == {"kind": ("y", "x")}


def test_class_names_are_sorted_as_numbers_when_they_are():
    data = load(
        table(kind={i: str(v) for i, v in enumerate((10, 9, 100, 2, 10, 9, 100, 2))}, split={}), WORDS, max_bad=0.2
    )
    assert data.classes["kind"] == ("2", "9", "10", "100")


def test_ids_twice_and_empty():
    data = load(table(id={2: "id0", 5: "id0", 7: "", 8: ""}), WORDS, max_bad=0.5)
    assert [(f[0], f[4]) for f in faults(data)] == [
        (3, "an earlier row has this id"),
        (6, "an earlier row has this id"),
        (8, "the id is empty"),
        (9, "the id is empty"),
    ]
    assert data.rows.ids.tolist() == ["id0", "id1", "id3", "id4", "id6", "id9"]


def test_a_row_without_any_input_and_one_without_any_label():
    blank = {"words": {3: "  ", 4: ""}, "price": {3: "", 4: ""}, "colour": {3: ""}}
    data = load(table(**blank, kind={6: "", 7: ""}, rating={6: "", 8: ""}), WORDS, max_bad=0.2)
    # Row 5 still has its colour, row 8 its rating and row 9 its class.
    assert [(f[0], f[4]) for f in faults(data)] == [(4, "every input is missing"), (7, "the row has no label")]
    assert data.rows.labels["kind"].tolist() == ["x", "y", "x", "x", "y", "", "x", "y"]


def test_a_row_with_several_faults_has_a_line_for_each_and_counts_once():
    data = load(table(price={1: "x"}, rating={1: "y"}), WORDS, max_bad=0.1)
    assert [(f[0], f[2]) for f in faults(data)] == [(2, "price"), (2, "rating")]
    assert repr(data).endswith("quarantined=1)")


def test_half_a_surrogate_pair(tmp_path):
    lines = table().to_dict("records")
    lines[1]["words"] = "half \ud83d"
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    data = load(tmp_path / "a.jsonl", WORDS, max_bad=0.1)
    assert faults(data) == [[2, "2", "words", "'half \\ud83d'", "the text holds half a surrogate pair"]]


def test_too_many_bad_rows():
    cells = {i: "x" for i in range(7)}
    with pytest.raises(DataError) as caught:
        load(table(price=cells), WORDS, max_bad=0.5)
    assert str(caught.value).startswith(
        "table: 7 of 10 rows are bad, more than max_bad=0.5 allows. First: row 1 (1), price: not a finite number; row 2"
    )
    assert str(caught.value).count("; ") == 4  # five faults
    assert len(load(table(price=cells), WORDS, max_bad=0.7, with_labels=False).rows) == 3


def test_nothing_left_and_nothing_there():
    with pytest.raises(DataError, match=r"no good row is left\. First: row 1 \(1\), price: not a finite number"):
        load(table(price={i: "x" for i in range(10)}), WORDS, max_bad=1.0, with_labels=False)
    with pytest.raises(DataError, match="the table has no rows"):
        load(table().iloc[:0], WORDS)


def test_one_class_is_none():
    with pytest.raises(DataError, match=r"tasks\.kind: the training rows need at least two classes. Received: \['x'\]"):
        load(table(kind={i: "x" for i in range(10)}), WORDS)


FILES = parts.Recipe(
    inputs={
        "photo": parts.Image(size=(8, 8), column="picture"),
        "voice": parts.Audio(seconds=0.1, sampling_rate=8000, num_mel_bins=8),
    },
    tasks={"kind": parts.Classification()},
)


@pytest.fixture
def folder(tmp_path):
    """Eight pictures and sounds, the paths relative to the manifest."""
    rng = np.random.default_rng(0)
    (tmp_path / "files").mkdir()
    for i in range(8):
        (tmp_path / f"files/{i}.png").write_bytes(png_bytes(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)))
        (tmp_path / f"files/{i}.wav").write_bytes(wav_bytes(rng.uniform(-1, 1, 800)))
    pd.DataFrame({
        "picture": [f"files/{i}.png" for i in range(8)],
        "voice": [f"files/{i}.wav" for i in range(8)],
        "kind": list("xyxyxyxy"),
        "split": "train",
    }).to_csv(tmp_path / "manifest.csv", index=False)  # fmt: skip
    return tmp_path


def test_paths_are_relative_to_the_manifest(folder, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    data = load(os.path.relpath(folder / "manifest.csv"), FILES)
    assert data.quarantine.empty
    assert data.rows.cells["photo"].tolist() == [str((folder / f"files/{i}.png").resolve()) for i in range(8)]
    frame = pd.read_csv(folder / "manifest.csv")
    assert load(frame, FILES, root=folder).rows.cells["voice"].tolist() == data.rows.cells["voice"].tolist()
    with pytest.raises(DataError, match=r"8 of 8 rows are bad.*there is no such file"):
        load(frame, FILES)  # a frame's paths are relative to the working directory
    monkeypatch.chdir(folder)
    assert len(load(frame, FILES).rows) == 8


def test_every_fault_of_a_file_is_named(folder):
    files = folder / "files"
    picture, sound = (files / "0.png").read_bytes(), (files / "0.wav").read_bytes()
    (files / "0.png").unlink()
    (files / "1.png").write_bytes(b"")
    (files / "2.png").write_bytes(picture[: len(picture) // 2])
    (files / "3.png").write_bytes(sound)
    (files / "4.wav").write_bytes(sound[:-100])
    (files / "5.wav").write_bytes(picture)
    (files / "6.wav").unlink()
    (files / "6.wav").mkdir()
    table = pd.read_csv(folder / "manifest.csv")
    table.loc[7, "picture"] = "x" * 5000
    table.to_csv(folder / "manifest.csv", index=False)
    with pytest.raises(DataError, match="8 of 8 rows are bad"):
        load(folder / "manifest.csv", FILES)
    table.loc[8] = ["", "files/7.wav", "x", "train"]  # a missing picture is no fault
    table.loc[9] = ["files/7.png", "", "y", "train"]
    table.to_csv(folder / "manifest.csv", index=False)
    data = load(folder / "manifest.csv", FILES, max_bad=0.9)
    assert data.rows.ids.tolist() == ["9", "10"]
    found = {row: (column, Path(value).name, reason) for row, _, column, value, reason in faults(data)}
    assert found[1] == ("picture", "0.png", "there is no such file")
    assert found[2] == ("picture", "1.png", "the file is empty")
    assert found[3][:2] == ("picture", "2.png")
    assert found[4][:2] == ("picture", "3.png")
    assert found[5] == ("voice", "4.wav", f"WAVE data is cut: bytes declared, present 1600 {1600 - 100}")
    assert found[6] == ("voice", "5.wav", "not a WAVE file")
    assert found[7] == ("voice", "6.wav", "this is no file")
    assert found[8][2] == "cannot be read: File name too long"
    for row in (3, 4):
        assert found[row][2]
        assert not set("{}[]") & set(found[row][2])  # no names of graph nodes


def vector(cells, **options):
    recipe = parts.Recipe(inputs={"features": parts.Vector()}, tasks={"kind": parts.Classification()})
    kinds = (["x", "y"] * len(cells))[: len(cells)]
    frame = pd.DataFrame({"features": pd.Series(cells, dtype=object), "kind": kinds, "split": "train"})
    return load(frame, recipe, max_bad=0.9, **options)


def test_vectors_from_lists():
    cells = [[1, 2, 3], np.array([4.0, 5.0, 6.0]), None, float("nan"), [7, 8], [1, float("nan"), 2], [], [1, "x", 2], 5]
    with pytest.raises(DataError, match="rows are bad"):
        load(pd.DataFrame({"features": cells, "kind": "x"}), parts.Recipe(
            inputs={"features": parts.Vector()}, tasks={"kind": parts.Classification()}))  # fmt: skip
    data = vector(cells)
    np.testing.assert_array_equal(data.rows.cells["features"], [[1, 2, 3], [4, 5, 6]])
    reasons = dict(zip(data.quarantine["row"], data.quarantine["reason"], strict=True))
    assert reasons == {
        3: "every input is missing",
        4: "every input is missing",
        5: "expected 3 numbers, as in the first good row. Received: 2",
        6: "the vector holds NaN or infinity",
        7: "the vector is empty",
        8: "expected numbers. Received: <U21",
        9: "expected 3 numbers, as in the first good row. Received: 1",
    }


def test_a_bad_first_row_does_not_set_the_length():
    data = vector([[1, float("inf"), 2, 3], [1, 2], [3, 4]])
    assert data.quarantine["row"].tolist() == [1]
    assert vector([[1, 2, 3], [1, 2], [3, 4]], lengths={"features": 2}).quarantine["row"].tolist() == [1]


def test_vectors_through_parquet_and_jsonl(tmp_path):
    recipe = parts.Recipe(inputs={"features": parts.Vector()}, tasks={"kind": parts.Classification()})
    frame = pd.DataFrame({"features": [[0.1, 2], [3, 4], None], "kind": ["x", "y", "x"], "split": "train"})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    for name in ("a.parquet", "a.jsonl"):
        data = load(tmp_path / name, recipe, max_bad=0.5)
        np.testing.assert_array_equal(data.rows.cells["features"], np.array([[0.1, 2], [3, 4]], np.float32))
        assert data.quarantine["reason"].tolist() == ["every input is missing"]


def test_vectors_from_npy_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.arange(3.0))
    np.save("b.npy", np.arange(3, dtype=np.int64)[None])  # (1, 3) as many extractors write
    np.save("long.npy", np.arange(4.0))
    np.save("nan.npy", np.array([1, np.nan, 2]))
    np.save("object.npy", np.array([{}, 1, 2], dtype=object), allow_pickle=True)
    np.save("text.npy", np.array(["a", "b", "c"]))
    np.savez("zip.npz", np.arange(3.0))
    Path("cut.npy").write_bytes(Path("a.npy").read_bytes()[:-5])
    Path("cut.npz").write_bytes(Path("zip.npz").read_bytes()[:50])
    Path("empty.npy").write_bytes(b"")
    names = ["a.npy", "b.npy", "long.npy", "nan.npy", "object.npy", "text.npy", "cut.npy", "cut.npz", "empty.npy",
             "gone.npy", "zip.npz"]  # fmt: skip
    data = vector(names)
    np.testing.assert_array_equal(data.rows.cells["features"], [[0, 1, 2], [0, 1, 2]])
    reasons = dict(zip(data.quarantine["value"], data.quarantine["reason"], strict=True))
    assert list(reasons) == names[2:]
    assert "Received: 4" in reasons["long.npy"]
    assert "NaN" in reasons["nan.npy"]
    assert "allow_pickle=False" in reasons["object.npy"]
    assert "magic string is not correct" in reasons["cut.npz"]
    assert "expected numbers" in reasons["text.npy"]
    assert "No such file" in reasons["gone.npy"]


def test_vectors_from_columns():
    frame = pd.DataFrame({"f_0": ["1", "2", "", "4", "x"], "g": 0, "f_1": ["5", "", "", "8", "9"],
                          "kind": list("xyxyx"), "split": "train", "words": "w"})  # fmt: skip
    tasks = {"kind": parts.Classification()}
    recipe = parts.Recipe(inputs={"v": parts.Vector(prefix="f_"), "words": parts.Text()}, tasks=tasks)
    data = load(frame, recipe, max_bad=0.5)
    np.testing.assert_array_equal(data.rows.cells["v"], [[1, 5], [np.nan, np.nan], [4, 8]])
    assert data.vectors == {"v": ["f_0", "f_1"]}
    assert faults(data) == [
        [2, "2", "v", "f_1", "some numbers of the vector are missing; give all or none"],
        [5, "5", "f_0", "x", "not a finite number"],
    ]
    recipe = parts.Recipe(inputs={"v": parts.Vector(columns=("f_1", "f_0"))}, tasks=tasks)
    np.testing.assert_array_equal(load(frame, recipe, max_bad=0.9).rows.cells["v"], [[5, 1], [8, 4]])
    recipe = parts.Recipe(inputs={"v": parts.Vector(prefix="h_")}, tasks=tasks)
    with pytest.raises(DataError, match=r"inputs\.v: no column begins with 'h_'"):
        load(frame, recipe)


def test_positions_and_ids(folder):
    rows = load(folder / "manifest.csv", FILES).rows
    assert rows.position("3") == 2
    assert rows.position(-1) == 7
    with pytest.raises(DataError, match=r"no row has the id '33'"):
        rows.position("33")
    with pytest.raises(DataError, match=r"row must be between 0 and 7\. Received: 8"):
        rows.position(8)
    assert rows.take([5, 1]).numbers.tolist() == [6, 2]
