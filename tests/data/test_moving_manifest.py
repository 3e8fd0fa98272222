"""Manifests with several files in a cell, folders of frames and sequences: what is read, and why a row is bad."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import gif_bytes, png_bytes

import mm_keras.recipe as parts
from mm_keras.data.caching import Cache
from mm_keras.data.manifest import load
from mm_keras.data.pipeline import make_dataset
from mm_keras.errors import DataError
from mm_keras.training.examples import load_examples, load_rows, save_examples, save_rows
from mm_keras.training.learn import learn

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(1, 256, (6, 8, 8, 3), dtype=np.uint8)


def recipe(*names):
    inputs = {
        "shots": parts.Image(views=2, size=(8, 8)),
        "clip": parts.Video(frames=3, size=(8, 8)),
        "sensor": parts.Vector(steps=3),
    }
    return parts.Recipe(
        inputs={n: inputs[n] for n in names or inputs}, tasks={"kind": parts.Classification(classes=("a", "b"))}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("files")
    for t, frame in enumerate(FRAMES):
        (place / f"{t}.png").write_bytes(png_bytes(frame))
    (place / "frames").mkdir()
    for t, frame in enumerate(FRAMES):
        (place / "frames" / f"f{t}.png").write_bytes(png_bytes(frame))
    (place / "empty").mkdir()
    (place / "walk.gif").write_bytes(gif_bytes(FRAMES))
    (place / "cut.gif").write_bytes(gif_bytes(FRAMES)[:-9])
    (place / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
    (place / "cut.png").write_bytes(png_bytes(FRAMES[0])[:-30])
    (place / "bad.png").write_bytes(b"\x89PNG nothing")  # TensorFlow's message quotes its first byte, no UTF-8
    np.save(place / "long.npy", np.arange(10.0).reshape(5, 2))
    np.save(place / "short.npy", np.array([[1.0, 2.0]]))
    np.save(place / "flat.npy", np.arange(4.0))
    np.save(place / "wide.npy", np.ones((2, 3)))
    np.save(place / "partial.npy", np.array([[1.0, np.nan], [1, 2]]))
    np.save(place / "gap.npy", np.array([[1.0, 2], [np.nan, np.nan], [3, 4]]))
    np.save(place / "infinite.npy", np.array([[1.0, np.inf]]))
    np.save(place / "nothing.npy", np.full((2, 2), np.nan))
    return place


def read(folder, recipe, rows, **options):
    return load(pd.DataFrame(rows), recipe, root=folder, split=None, max_bad=1.0, **options)


def names(paths):
    return [path.rsplit("/", 1)[-1] for path in paths]


def test_cells_by_hand(folder):
    rows = [
        {"shots": "0.png;1.png", "clip": "walk.gif", "sensor": "long.npy", "kind": "a"},
        {"shots": ["2.png"], "clip": "frames", "sensor": [[1, 2], [3, 4]], "kind": "b"},
        {"shots": ["", "3.png"], "clip": ["0.png", "1.png"], "sensor": "gap.npy", "kind": "a"},
        {"shots": None, "clip": "5.png", "sensor": None, "kind": "b"},
        {"shots": "4.png", "clip": float("nan"), "sensor": "", "kind": "b"},
    ]
    data = read(folder, recipe(), rows)
    assert len(data.rows) == 5
    shots = [["0.png", "1.png"], ["2.png", ""], ["", "3.png"], ["", ""], ["4.png", ""]]
    assert [names(p) for p in data.rows.cells["shots"]] == shots
    assert [names(p) for p in data.rows.cells["clip"]] == [
        ["walk.gif", "", ""], ["f1.png", "f3.png", "f5.png"], ["0.png", "1.png", ""], ["5.png", "", ""], ["", "", ""],
    ]  # fmt: skip
    sensor = data.rows.cells["sensor"]
    assert sensor.dtype == np.float32
    np.testing.assert_array_equal(sensor[0], [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(sensor[1], [[1, 2], [3, 4], [np.nan, np.nan]])
    np.testing.assert_array_equal(sensor[2], [[1, 2], [np.nan, np.nan], [3, 4]])
    assert np.isnan(sensor[3:]).all()
    first, last = data.rows.example(2), data.rows.example(4)
    assert names(first["shots"][1:]) == ["3.png"]
    assert names(first["clip"]) == ["0.png", "1.png"]
    np.testing.assert_array_equal(first["sensor"], [[1, 2], [np.nan, np.nan], [3, 4]])
    assert set(last) == {"shots"}


BAD = [
    ("shots", "0.png;1.png;2.png", "expected at most 2 pictures. Received: 3"),
    ("shots", 7, "expected a list of paths, or a text with ';' between them. Received: 7"),
    ("shots", ["0.png", 7], "expected paths in the list. Received: 7"),
    ("shots", "0.png;cut.png", "Invalid PNG"),
    ("shots", "0.png;bad.png", "PNG nothing"),
    ("shots", "0.png;none.png", "there is no such file"),
    ("shots", "frames", "this is no file"),
    ("clip", "empty", "the folder holds no pictures"),
    ("clip", "cut.gif", "the GIF is cut: it lacks its end"),
    ("clip", "film.mp4", "MP4, AVI and WebM are converted first: mm-keras ingest"),
    ("clip", "0.png;cut.png", "Invalid PNG"),
    ("sensor", "flat.npy", "expected numbers (steps, features). Received: float64 (4,)"),
    ("sensor", "wide.npy", "expected 2 features in a step, as in the first good row. Received: 3"),
    ("sensor", "partial.npy", "a step holds infinity, or NaN beside numbers"),
    ("sensor", "infinite.npy", "a step holds infinity, or NaN beside numbers"),
    ("sensor", "nothing.npy", "every step is NaN; leave the cell empty where there is none"),
    ("sensor", [[1, 2], [3]], "steps differ in their shape. Received: [(1,), (2,)]"),
    ("sensor", [[1, "x"]], "expected numbers (steps, features)"),
    ("sensor", [], "expected numbers (steps, features). Received: float64 (0,)"),
    ("sensor", 5.0, "expected a list of steps, or the path of a .npy file. Received: float"),
    ("sensor", "none.npy", "No such file or directory"),
]


@pytest.mark.parametrize("column", ["shots", "clip", "sensor"])
def test_bad_rows_are_quarantined_with_the_reason(folder, column):
    good = {"shots": "0.png", "clip": "walk.gif", "sensor": "short.npy", "kind": "a"}
    bad = [(value, reason) for name, value, reason in BAD if name == column]
    data = read(folder, recipe(column), [good, *({**good, column: value} for value, _ in bad), {**good, "kind": "b"}])
    assert data.rows.numbers.tolist() == [1, len(bad) + 2]
    assert data.quarantine["row"].tolist() == list(range(2, len(bad) + 2))
    assert set(data.quarantine["column"]) == {column}
    for found, (value, reason) in zip(data.quarantine["reason"], bad, strict=True):
        assert reason in found, value


def test_a_row_without_anything_is_bad(folder):
    rows = [{"shots": "0.png", "sensor": "short.npy", "kind": "a"}, {"shots": ";", "sensor": "", "kind": "a"}]
    assert read(folder, recipe("shots", "sensor"), rows).quarantine["reason"].tolist() == ["every input is missing"]


def test_all_forms_of_table_say_the_same(folder, tmp_path):
    first = {"shots": "0.png;1.png", "sensor": "long.npy", "kind": "a"}
    second = {"shots": "2.png", "sensor": "gap.npy", "kind": "b"}
    table = pd.DataFrame([first, second])
    lists = table.assign(shots=[["0.png", "1.png"], ["2.png"]])
    lists["sensor"] = [[[0.0, 1], [2, 3], [4, 5], [6, 7]], [[1.0, 2], [np.nan, np.nan], [3, 4]]]
    table.to_csv(tmp_path / "t.csv", index=False)
    lists.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(r) for r in lists.to_dict("records")))
    expected = read(folder, recipe("shots", "sensor"), table).rows
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        got = load(tmp_path / name, recipe("shots", "sensor"), root=folder, split=None, max_bad=0.0).rows
        for key in expected.cells:
            np.testing.assert_array_equal(got.cells[key], expected.cells[key])


@pytest.fixture(scope="module")
def data(folder):
    rows = [
        {"shots": "0.png;1.png", "clip": "walk.gif", "sensor": "long.npy", "kind": "a", "split": "train"},
        {"shots": "2.png", "clip": "frames", "sensor": "gap.npy", "kind": "b", "split": "train"},
        {"shots": "", "clip": "", "sensor": "short.npy", "kind": "b", "split": "validation"},
    ]
    return load(pd.DataFrame(rows), recipe(), root=folder, max_bad=0.0)


@pytest.mark.slow
def test_training_batches_are_what_single_examples_give(data):
    from mm_keras.preprocessing.raw import preprocess, raw_batch

    preprocessors, _ = learn(recipe(), data)
    assert preprocessors["sensor"].state["mean"] == pytest.approx([(0 + 2 + 4 + 1 + 3) / 5, (1 + 3 + 5 + 2 + 4) / 5])
    raw = raw_batch(preprocessors, [data.rows.example(i) for i in range(3)])
    expected, fine = preprocess(preprocessors, raw)
    assert all(ok.numpy().all() for ok in fine.values())
    for cache in (None, Cache(2**30)):
        [(tensors, _)] = list(make_dataset(preprocessors, data.rows, batch_size=3, cache=cache))
        for name, tensor in tensors.items():
            np.testing.assert_allclose(tensor, expected[name], atol=1e-6)


def test_rows_and_examples_come_back_from_disk(data, tmp_path):
    preprocessors, _ = learn(recipe(), data)
    save_rows(tmp_path, recipe(), data)
    rows = load_rows(tmp_path)
    for name, cells in data.rows.cells.items():
        np.testing.assert_array_equal(rows.cells[name], cells)
    save_examples(tmp_path, preprocessors, data)
    examples = load_examples(tmp_path)
    from mm_keras.preprocessing.raw import raw_batch

    order = [str(i) for i in examples.ids]
    got = raw_batch(preprocessors, [examples.example(i) for i in order])
    expected = raw_batch(preprocessors, [data.rows.example(i) for i in order])
    for field in expected:
        np.testing.assert_array_equal(got[field], expected[field])


def test_a_file_of_several_that_goes_bad_is_found_again(folder, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png_bytes(FRAMES[0]))
    rows = [{"shots": "a.png;b.png", "kind": "a"}, {"shots": "a.png", "kind": "b"}]
    data = read(tmp_path, recipe("shots"), rows)
    (tmp_path / "b.png").write_bytes(b"gone bad")
    again = data.recheck(recipe("shots"), max_bad=1.0)
    assert again.rows.numbers.tolist() == [2]
    assert again.quarantine["value"].tolist() == [str(tmp_path / "b.png")]
    assert again.quarantine["reason"].iloc[0].startswith("after it was checked: ")


def test_no_sequence_at_all_is_an_error(folder):
    with pytest.raises(DataError, match="column 'sensor' holds no vector"):
        read(folder, recipe("sensor"), [{"sensor": "", "kind": "a"}])
