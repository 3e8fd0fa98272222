"""What streams from shards is what the manifest gives: the same tensors, each row once, resumed exactly."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import card_recipe, five_input_examples, five_input_recipe, png_bytes

import mm_keras.recipe as parts
from mm_keras import evaluate, fit, inspect, load, load_run, predict, prepare
from mm_keras.data.checking.check import check_data
from mm_keras.data.drawing import Epochs
from mm_keras.data.joining import mix
from mm_keras.data.pipeline import make_dataset
from mm_keras.data.shards.sharded import named
from mm_keras.data.shards.stream import numbered_records
from mm_keras.errors import DataError
from mm_keras.preprocessing.statistics import Moments, mean_and_deviation
from mm_keras.training.examples import load_rows, save_rows
from mm_keras.training.learn import learn, loss_labels, targets_and_weights

ROWS = 60


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """`(recipe, data of a manifest, data of its shards, preprocessors and tasks learned from the manifest)`."""
    # Sound takes longest to trace, and goes the way of pictures; `test_sound_streams` is about it.
    folder, recipe, lines = tmp_path_factory.mktemp("both"), five_input_recipe().without("voice"), []
    for row, example in enumerate(five_input_examples(ROWS)):
        (folder / f"{row}.png").write_bytes(example["photo"])
        del example["voice"]
        example["photo"] = f"{row}.png" if row % 7 else ""
        lines.append(example | {"category": "abc"[row % 3] if row % 11 else "", "rating": row / 3})
    frame = pd.DataFrame(lines)
    frame["features"] = [list(map(float, v)) for v in frame["features"]]
    frame.loc[5, "price"] = np.nan
    data = load(frame, recipe, root=folder)
    prepare(frame, recipe, folder / "shards", root=folder, processes=1, shard_rows=8)
    return recipe, data, load(folder / "shards", recipe), learn(recipe, data)


def batches(rows, preprocessors, labels=None, epochs=None, batch_size=16):
    return make_dataset(preprocessors, rows, batch_size=batch_size, labels=labels, epochs=epochs)


def few(learned):
    """A picture and a text: both ways of a record into a batch, and quick to trace."""
    return {name: learned[0][name] for name in ("photo", "title")}


def test_tensors_targets_and_weights_are_those_of_the_manifest(both):
    _, data, sharded, learned = both
    assert sharded.counts == data.counts
    assert "train=" in repr(sharded)
    for split in ("validation", "test"):
        assert sorted(sharded.rows.split(split).ids) == sorted(data.rows.split(split).ids)
    heads, (preprocessors, tasks) = {"category": "category", "rating": "rating"}, learned
    ids = {row_id: at for at, row_id in enumerate(data.train.ids)}
    order = np.array([ids[i] for i in sharded.train.ids])
    assert sorted(order) == list(range(len(data.train)))
    whole = make_dataset(
        preprocessors, data.train, batch_size=64, labels=targets_and_weights(tasks, data.train)
    ).get_single_element()
    streamed = batches(sharded.train, preprocessors, loss_labels(tasks, heads, sharded.train))
    at = 0
    for batch in streamed:
        rows = order[at : at + 16]
        expected = tf.nest.map_structure(lambda values, rows=rows: values.numpy()[rows], whole)
        tf.nest.map_structure(np.testing.assert_array_equal, batch, expected)
        at += len(rows)
    assert at == len(data.train)
    assert {0.0, 1.0} == set(whole[2]["category"].numpy())  # rows without a label were among them


def test_each_epoch_has_every_row_once_in_an_order_of_its_own(both):
    _, _, sharded, learned = both
    rows = sharded.train

    def orders(numbers, seed=3):
        seen = [i for _, i in batches(rows, few(learned), epochs=Epochs(numbers, seed)).as_numpy_iterator()]
        return np.concatenate(seen).reshape(len(numbers), -1)

    first = orders(range(3))
    for epoch in first:
        assert sorted(epoch) == list(range(len(rows)))
    assert not (first[0] == first[1]).all()
    assert not (first[0] == np.arange(len(rows))).all()
    np.testing.assert_array_equal(orders(range(2, 3)), first[2:])  # any epoch on its own
    assert not (orders(range(1), seed=4) == first[0]).all()
    # Neighbours in a shard are no neighbours in the pass.
    assert (np.abs(np.diff(first[0])) == 1).mean() < 0.2


def test_skip_goes_on_exactly_where_it_ended(both):
    _, _, sharded, learned = both
    labels = loss_labels(learned[1], {"category": "category", "rating": "rating"}, sharded.train)

    def steps(skipped, stop=None):
        dataset = batches(sharded.train, few(learned), labels, Epochs(range(2), 1, mixup=0.3), batch_size=10)
        return list(itertools.islice(dataset.skip(skipped).as_numpy_iterator(), stop))

    whole = steps(0)
    assert len(whole) == 2 * -(-len(sharded.train) // 10)
    for ours, theirs in zip([*steps(0, 3), *steps(3)], whole, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, ours, theirs)


def test_what_is_learned_from_a_stream_is_what_is_learned_from_the_table(both):
    recipe, _, sharded, learned = both
    preprocessors, tasks = learn(recipe, sharded)
    assert preprocessors["title"].state == learned[0]["title"].state
    for name in ("facts", "features"):
        expected, found = learned[0][name].state, preprocessors[name].state
        assert expected.keys() == found.keys()
        for key in ("mean", "deviation"):
            pick = (lambda v: list(v.values())) if isinstance(expected[key], dict) else list
            np.testing.assert_allclose(pick(found[key]), pick(expected[key]), rtol=1e-12)
    assert preprocessors["facts"].state["categories"] == learned[0]["facts"].state["categories"]
    assert tasks["category"].state == learned[1]["category"].state
    np.testing.assert_allclose(tasks["rating"].state["mean"], learned[1]["rating"].state["mean"], rtol=1e-6)


def test_sound_streams(tmp_path):
    recipe = five_input_recipe()
    recipe = recipe.without(*(name for name in recipe.inputs if name != "voice"))
    for row, example in enumerate(five_input_examples(12)):
        (tmp_path / f"{row}.wav").write_bytes(example["voice"])
    cells = [f"{row}.wav" for row in range(12)]
    frame = pd.DataFrame({"voice": cells, "category": list("abc") * 4, "rating": 1.0, "split": "train"})
    prepare(frame, recipe, tmp_path / "out", root=tmp_path, processes=1)
    data, sharded = load(frame, recipe, root=tmp_path), load(tmp_path / "out", recipe)
    (expected, _), (found, _) = learn(recipe, data), learn(recipe, sharded)
    for key in ("mean", "deviation"):  # of all clips of so few rows, in another order, in float32
        np.testing.assert_allclose(found["voice"].state[key], expected["voice"].state[key], rtol=1e-4)
    whole = make_dataset(expected, data.train, batch_size=12).get_single_element()[0]["voice"].numpy()
    streamed = make_dataset(expected, sharded.train, batch_size=12).get_single_element()[0]["voice"].numpy()
    order = np.asarray(sharded.train.numbers) - 1
    np.testing.assert_array_equal(streamed, whole[order])


def test_moments_of_parts():
    rng = np.random.default_rng(0)
    values = rng.normal(1e6, 2.0, (1000, 3))  # a mean far from zero, where sums of squares lose all digits
    whole = Moments()
    whole.add(values)
    for ours, theirs in zip(whole.result(), mean_and_deviation(values), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    cut = Moments()
    for part in np.split(values, [0, 1, 400, 400, 999]):
        cut.add(part)
    assert cut.count == 1000
    for ours, theirs in zip(cut.result(), mean_and_deviation(values), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert Moments().result() == (0.0, 1.0)


def test_rows_by_place_and_by_id(both):
    recipe, data, sharded, learned = both
    rows = sharded.test
    ids = list(rows.ids)
    for at in (0, len(rows) - 1):
        expected = data.test.example(ids[at])
        found = rows.example(ids[at])
        assert found.keys() == expected.keys() == rows.example(at).keys()
        assert found["title"] == expected["title"]
        if "photo" in expected:
            with open(expected["photo"], "rb") as file:
                assert found["photo"] == file.read()
        np.testing.assert_array_equal(found["features"], expected["features"])
    some = sharded.train.take([1, 9, 30])
    assert list(some.ids) == [np.asarray(sharded.train.ids)[i] for i in (1, 9, 30)]
    seen = [i for _, i in batches(some, few(learned)).as_numpy_iterator()]
    np.testing.assert_array_equal(np.concatenate(seen), [0, 1, 2])
    assert len(some.take(np.array([False, True, False]))) == 1
    assert list(numbered_records(some.take([])).as_numpy_iterator()) == []
    for wrong, message in (([3, 1], "are taken in their order"), ("nobody", "no row has the id 'nobody'")):
        with pytest.raises(DataError, match=message):
            rows.take(wrong) if isinstance(wrong, list) else rows.example(wrong)
    with pytest.raises(DataError, match="rows that stream from shards are not mixed"):
        mix({"a": sharded, "b": sharded}, {"a": 1, "b": 1})
    with pytest.raises(DataError, match="rows stream from shards, and the checks look at all of them at once"):
        check_data(sharded, recipe)


def test_splits_and_groups_are_those_of_the_table(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [f"r{i}" for i in range(50)], "x": rng.normal(size=50), "label": list("ab") * 25})
    frame["group"] = [f"g{i // 4}" if i % 8 else "" for i in range(50)]
    recipe = parts.Recipe(inputs={"x": parts.Tabular(numeric=["x"])}, tasks={"label": parts.Classification()})
    data = load(frame, recipe)
    for name, table in (("grouped", frame), ("plain", frame.drop(columns="group"))):
        prepare(table, recipe, tmp_path / name, processes=1, shard_rows=8)
    rows = load(tmp_path / "grouped", recipe).rows
    assert dict(zip(rows.ids, rows.splits, strict=True)) == dict(zip(data.rows.ids, data.rows.splits, strict=True))
    assert dict(zip(rows.ids, rows.groups, strict=True)) == dict(zip(data.rows.ids, data.rows.groups, strict=True))
    some = rows.take([1, 20, 49])
    assert [some.splits.tolist(), some.groups.tolist()] == [r[[1, 20, 49]].tolist() for r in (rows.splits, rows.groups)]
    assert load(tmp_path / "plain", recipe).rows.groups is None


def test_rows_in_other_splits(both, tmp_path):
    recipe, data, sharded, learned = both
    rows, splits = sharded.rows, np.array(["train", "test", "train", "validation"] * (ROWS // 4), object)
    other = replace(sharded, rows=rows.resplit(splits))
    assert other.counts == {"train": 30, "validation": 15, "test": 15}
    ids = np.asarray(rows.ids)
    for split in ("train", "validation", "test"):
        assert list(getattr(other, split).ids) == ids[splits == split].tolist()
    # A row is drawn once in an epoch, with the tensors that the manifest's row gives.
    train, place = other.train, {i: at for at, i in enumerate(data.rows.ids)}
    whole = next(batches(data.rows, few(learned), batch_size=ROWS).as_numpy_iterator())[0]
    seen = []
    for tensors, at in batches(train, few(learned), epochs=Epochs(range(1), 0)).as_numpy_iterator():
        own = [place[i] for i in np.asarray(train.ids)[at]]
        for name, values in tensors.items():
            np.testing.assert_array_equal(values, whole[name][own])
        seen += at.tolist()
    assert seen != sorted(seen)
    assert sorted(seen) == list(range(30))
    assert rows.digest == rows.shards.info["rows_sha256"] != other.rows.digest
    # What a run remembers of them.
    recipe.save(tmp_path / "recipe.yaml")
    save_rows(tmp_path, recipe, other)
    assert list(load_rows(tmp_path, "validation").ids) == list(other.validation.ids)


def test_shards_and_recipe_must_fit(both):
    recipe, _, sharded, _ = both
    place = str(sharded.rows.shards.place)
    other = {**recipe.inputs, "more": parts.Text()}
    with pytest.raises(DataError, match="the shards lack 'input/more'"):
        load(place, recipe.model_copy(update={"inputs": other}))
    views = {**recipe.inputs, "photo": parts.Image(size=(16, 16), views=2)}
    with pytest.raises(DataError, match=r"the shards hold 'input/photo' as .* and the recipe takes"):
        load(place, recipe.model_copy(update={"inputs": views}))
    tasks = {"category": parts.Classification(classes=("a", "b")), "rating": parts.Regression()}
    with pytest.raises(DataError, match=r"hold labels outside the recipe's classes: \['c'\]"):
        load(place, recipe.model_copy(update={"tasks": tasks}))
    # Sizes and encoders may be others: shards hold raw values.
    larger = {**recipe.inputs, "photo": parts.Image(size=(20, 24))}
    assert len(load(place, recipe.model_copy(update={"inputs": larger})).train) == len(sharded.train)


@pytest.fixture(scope="module")
def card_run(digits_folder, once):
    """A run of the card of the digits, trained from shards in two epochs, and its shards."""

    def train(folder):
        recipe = card_recipe(epochs=2)
        prepare(digits_folder / "manifest.csv", recipe, folder / "shards", processes=1, shard_rows=32)
        fit(recipe, load(folder / "shards", recipe), folder / "run", verbose=False)

    return once("sharded", train)[0]


def test_fit_evaluate_and_predict(card_run, digits_folder):
    run, shards = load_run(card_run / "run"), card_run / "shards"
    assert run.info["rows"] == {s: own["rows"] for s, own in inspect(shards)["splits"].items()}
    assert not (card_run / "run" / "rows.parquet").exists()
    own = evaluate(run, subsets=False).metrics
    assert own == evaluate(run, shards, subsets=False).metrics
    table = predict(run, shards)
    assert len(table) == 200
    rows = load(digits_folder / "manifest.csv", run.recipe).rows
    from_files = predict(run, rows).set_index("id").loc[table["id"]]
    np.testing.assert_allclose(table["magnitude"], from_files["magnitude"], rtol=1e-5)
    examples = run.examples()
    assert len(examples) == run.info["rows"]["train"] + run.info["rows"]["validation"]
    assert run.example(str(examples.ids[0]))["holes"] == examples.example(0)["holes"]


def test_a_bad_shard_is_named(card_run, digits_folder, tmp_path):
    recipe = card_recipe()
    shards = prepare(digits_folder / "manifest.csv", recipe, tmp_path / "shards", processes=1, shard_rows=32)
    path = tmp_path / "shards" / shards.files[2]["file"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    data = load(tmp_path / "shards", recipe)  # sizes alone are looked at
    name = f"{path.name}: the shard is corrupt"
    with pytest.raises(DataError, match=name):
        inspect(tmp_path / "shards")
    with pytest.raises(DataError, match=name):
        fit(recipe, data, tmp_path / "run", verbose=False)
    with pytest.raises(DataError, match=name):
        predict(load_run(card_run / "run"), data.train)
    path.write_bytes(content[:-40])
    with pytest.raises(
        DataError, match=f"{path.name}: the shard has {len(content) - 40} bytes, not the {len(content)}"
    ):
        load(tmp_path / "shards", recipe)
    path.unlink()
    with pytest.raises(DataError, match=f"{path.name}: the shard is gone"):
        load(tmp_path / "shards", recipe)


def test_pictures_that_cannot_be_decoded_are_no_blank_rows(tmp_path):
    """Of shards nothing is left out in silence: what was proven at `prepare` is an error when it is not so."""
    (tmp_path / "a.png").write_bytes(png_bytes(np.ones((4, 4, 3), np.uint8)))
    frame = pd.DataFrame({"photo": "a.png", "kind": list("abababab") * 2})
    recipe = parts.Recipe(inputs={"photo": parts.Image(size=(4, 4))}, tasks={"kind": parts.Classification()})
    prepare(frame, recipe, tmp_path / "out", root=tmp_path, processes=1)
    data = load(tmp_path / "out", recipe)
    path = next((tmp_path / "out").glob("test-*"))
    records = [r.numpy() for r in tf.data.TFRecordDataset(str(path))]
    with tf.io.TFRecordWriter(str(path)) as writer:  # whole records, other bytes
        for record in records:
            writer.write(record.replace(b"\x89PNG", b"\x89PNX"))
    preprocessors, _ = learn(recipe, data)
    with pytest.raises(DataError, match="the shard is corrupt"):
        list(named(data.test, batches(data.test, preprocessors)))
