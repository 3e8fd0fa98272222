"""The one data chain: every row once an epoch, in an order that seed and epoch alone decide, and what is in a batch."""

import os

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import png_bytes, wav_bytes

import mm_keras.recipe as parts
from mm_keras.data.caching import Cache, fingerprint
from mm_keras.data.drawing import Epochs
from mm_keras.data.manifest import load
from mm_keras.data.pipeline import make_dataset
from mm_keras.errors import DataError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.raw import preprocess, raw_batch

COUNT = 11
CACHED, STREAMED = Cache(2**30), Cache()
ALL = ("photo", "voice", "title", "facts")


def recipe_of(augmented=False):
    image = {"shift": 0.3, "flip": True, "crop": 0.3, "brightness": 0.3, "cutout": 0.3} if augmented else {}
    audio = {"shift_ms": 30, "mask": 0.3, "snr_db": 10} if augmented else {}
    text = {"swap": 0.9, "drop": 0.3} if augmented else {}
    table = {"noise": 0.5} if augmented else {}
    return parts.Recipe(
        inputs={
            "photo": parts.Image(size=(8, 8), **image),
            "voice": parts.Audio(seconds=0.2, sampling_rate=8000, num_mel_bins=8, **audio),
            "title": parts.Text(length=6, **text),
            "facts": parts.Tabular(numeric=("number",), **table),
        },
        tasks={"kind": parts.Classification()},
    )


def make_data(folder, recipe):
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        (folder / f"{i}.png").write_bytes(png_bytes(rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)))
        (folder / f"{i}.wav").write_bytes(wav_bytes(rng.uniform(-1, 1, 1600)))
    table = pd.DataFrame({
        "photo": [f"{i}.png" for i in range(COUNT)],
        "voice": [f"{i}.wav" for i in range(COUNT)],
        "title": [f"word {i}" for i in range(COUNT)],
        "number": np.arange(COUNT),
        "kind": (["x", "y"] * COUNT)[:COUNT],
        "split": "train",
    })  # fmt: skip
    table.loc[4, ["photo", "title"]] = ""
    return load(table, recipe, root=folder)


@pytest.fixture
def chain(tmp_path):
    """Returns a function that makes the dataset of some inputs; `chain.rows` are the rows."""

    class Chain:
        rows = make_data(tmp_path, recipe_of()).rows

        def __call__(self, cache, names=("photo", "facts"), augmented=False, image=None, **options):
            specs = dict(recipe_of(augmented).inputs)
            specs["photo"] = specs["photo"].model_copy(update=image or {})
            self.preprocessors = {n: build_preprocessor(n, specs[n]) for n in names}
            for name, preprocessor in self.preprocessors.items():
                preprocessor.adapt(self.rows.cells[name])
            return make_dataset(self.preprocessors, self.rows, batch_size=4, cache=cache, **options)

    return Chain()


def numbers(dataset):
    return np.concatenate([i for _, i in dataset.as_numpy_iterator()]).tolist()


def batches(dataset):
    return list(dataset.as_numpy_iterator())


@pytest.mark.parametrize("cache", [CACHED, STREAMED])
def test_evaluation_keeps_the_order_and_the_last_partial_batch(chain, cache):
    dataset = chain(cache)
    assert numbers(dataset) == list(range(COUNT))
    assert [len(i) for _, i in dataset.as_numpy_iterator()] == [4, 4, 3]


@pytest.mark.parametrize("cache", [CACHED, STREAMED])
def test_each_epoch_holds_every_row_once_in_an_order_of_its_own(chain, cache):
    dataset = chain(cache, epochs=Epochs(range(3), seed=1))
    assert len(dataset) == 9
    assert [len(i) for _, i in dataset.as_numpy_iterator()] == [4, 4, 3] * 3
    orders = [order.tolist() for order in np.split(np.array(numbers(dataset)), 3)]
    orders.append(numbers(chain(cache, epochs=Epochs(range(1), seed=1))))
    assert numbers(chain(cache, epochs=Epochs(range(2, 3), seed=1))) == orders[2]  # as after a stop
    assert all(sorted(order) == list(range(COUNT)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders[0] == orders[3]  # nothing but the epoch's number decides
    assert numbers(chain(cache, epochs=Epochs(range(1), seed=2))) != orders[0]
    assert list(range(COUNT)) not in orders


@pytest.mark.parametrize("epochs", [None, Epochs(range(2))])
def test_no_chain_is_tuned_nor_what_is_made_of_it(chain, epochs):
    """The tuner of TensorFlow 2.21 may hold up whoever lets go of an iterator; see `untuned`."""
    made = chain(STREAMED, epochs=epochs)
    for dataset in (made, made.skip(1).map(lambda tensors, i: i), made.take(2).batch(1)):
        assert dataset.options().autotune.enabled is False


def same(left, right):
    tf.nest.map_structure(np.testing.assert_array_equal, left, right)


@pytest.mark.slow
def test_cached_and_streamed_augmentation_is_the_same_and_differs_by_epoch(chain):
    options = {"names": ALL, "augmented": True, "epochs": Epochs(range(3, 5), seed=1)}
    cached = batches(chain(CACHED, **options))
    same(cached, batches(chain(STREAMED, **options)))
    third, fourth = cached[:3], cached[3:]
    plain = batches(chain(CACHED, ALL))
    same(plain, batches(chain(STREAMED, ALL)))
    whole = {n: np.concatenate([b[0][n] for b in plain]) for n in plain[0][0]}
    for tensors, rows in third:
        assert not np.array_equal(tensors["photo"], whole["photo"][rows])
        assert not np.array_equal(tensors["voice"], whole["voice"][rows])
        assert not np.array_equal(tensors["title"], whole["title"][rows])
        assert not np.array_equal(tensors["facts"], whole["facts"][rows])
        for name, tensor in tensors.items():  # what is missing stays so, and nothing goes missing as a whole
            held, before = (t.reshape(len(t), -1).any(axis=1) for t in (tensor, whole[name][rows]))
            np.testing.assert_array_equal(held, before)
    fourth = {int(r): x for t, i in fourth for r, x in zip(i, t["photo"], strict=True)}
    changed = [not np.array_equal(fourth[int(r)], x) for t, i in third for r, x in zip(i, t["photo"], strict=True)]
    assert np.mean(changed) > 0.8  # shifts of up to two pixels and a mirror: a few agree by chance


def test_two_inputs_of_one_kind_are_changed_independently(chain):
    """Two pictures of a row, alike but for their names."""
    chain.rows.cells["other"] = chain.rows.cells["photo"]
    spec = recipe_of(True).inputs["photo"]
    both = {n: build_preprocessor(n, spec) for n in ("photo", "other")}
    options = {"batch_size": COUNT, "epochs": Epochs(range(1)), "cache": CACHED}
    tensors, rows = batches(make_dataset(both, chain.rows, **options))[0]
    same = [np.array_equal(a, b) for a, b in zip(tensors["photo"], tensors["other"], strict=True)]
    assert sum(same) == sum(rows == 4)  # the missing one


def labels_of_rows():
    return {"kind": np.eye(COUNT, dtype=np.float32)}, {"kind": np.ones(COUNT, np.float32)}


@pytest.mark.parametrize(
    "alphas",
    [pytest.param({"mixup": 0.8}, marks=pytest.mark.slow), pytest.param({"cutmix": 0.8}, marks=pytest.mark.long)],
)
def test_mixing_repeats_by_epoch(chain, alphas):
    options = {"names": ALL, "labels": labels_of_rows()}
    unmixed = batches(chain(CACHED, **options, epochs=Epochs(range(1), seed=1)))
    assert {tuple(row) for _, targets, _ in unmixed for row in targets["kind"]} == {tuple(row) for row in np.eye(COUNT)}
    epochs = Epochs(range(3, 5), seed=1, **alphas)
    cached, streamed = (batches(chain(c, **options, epochs=epochs)) for c in (CACHED, STREAMED))
    same(cached, streamed)
    third, fourth = cached[:3], cached[3:]
    shares = np.concatenate([t["kind"] for _, t, _ in third])
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert ((shares > 0).sum(1) == 2).sum() > COUNT / 2
    assert (shares[:, 4] > 0).sum() == 1  # the one row without a picture and a title is mixed with none
    assert not np.array_equal(np.concatenate([t["kind"] for _, t, _ in fourth]), shares)


def test_a_bad_file_is_mixed_with_nothing(chain, tmp_path):
    (tmp_path / "7.png").unlink()
    whole = batches(chain(CACHED, labels=labels_of_rows(), epochs=Epochs(range(1), mixup=1.0)))
    shares, weights = (np.concatenate([b[part]["kind"] for b in whole]) for part in (1, 2))
    assert sorted(weights)[:2] == [0, pytest.approx(1)]
    assert not shares[weights > 0][:, 7].any()
    assert shares[weights == 0].max() == 1


def test_batches_equal_the_served_preprocessing_row_by_row(chain):
    got = batches(chain(STREAMED, ALL, augmented=True))  # not in training, whatever the recipe says of it
    got = {n: np.concatenate([t[n] for t, _ in got]) for n in got[0][0]}
    for row in (0, 4, COUNT - 1):
        raw = raw_batch(chain.preprocessors, [chain.rows.example(row)])
        tensors, fine = preprocess(chain.preprocessors, {f: tf.convert_to_tensor(v) for f, v in raw.items()})
        assert all(ok.numpy().all() for ok in fine.values())
        for name, tensor in tensors.items():
            np.testing.assert_allclose(got[name][row], tensor[0], rtol=1e-5, atol=2e-5)  # order of float sums
    assert not got["photo"][4].any()  # missing
    assert not got["title"][4].any()


@pytest.mark.parametrize("cache", [CACHED, STREAMED])
def test_a_file_that_has_gone_bad_is_left_out_of_numbers_and_loss(chain, cache, tmp_path):
    (tmp_path / "7.png").unlink()
    (tmp_path / "9.png").write_bytes(b"\x89PNG")
    rest = sorted(set(range(COUNT)) - {7, 9})
    got = numbers(chain(cache))
    assert sorted(got) == [-1, -1, *rest]
    assert [i for i in got if i >= 0] == rest

    target = {"kind": np.eye(2, dtype=np.float32)[np.arange(COUNT) % 2]}
    weight = {"kind": np.arange(1, COUNT + 1, dtype=np.float32)}
    for epochs in (None, Epochs(range(2, 3))):
        got = batches(chain(cache, epochs=epochs, labels=(target, weight)))
        weights = np.concatenate([w["kind"] for _, _, w in got])
        assert sorted(weights) == [0, 0, *(i + 1 for i in rest)]


def test_targets_and_weights_stay_with_their_row(chain):
    target = {"kind": np.arange(COUNT, dtype=np.float32)[:, None]}
    weight = {"kind": np.arange(COUNT, dtype=np.float32) / 2}
    dataset = chain(STREAMED, epochs=Epochs(range(1), seed=5), labels=(target, weight))
    mean, deviation = (chain.preprocessors["facts"].state[k]["number"] for k in ("mean", "deviation"))
    for tensors, targets, weights in batches(dataset):
        row = np.rint(tensors["facts"][:, 0] * deviation + mean)  # the number is the row
        np.testing.assert_array_equal(targets["kind"][:, 0], row)
        np.testing.assert_array_equal(weights["kind"], row / 2)


def test_nothing_is_held_in_a_shuffle_buffer(chain):
    """The order is computed, so a billion rows cost as much as ten."""
    ops = []

    def walk(dataset):
        ops.append(type(dataset).__name__)
        for inner in dataset._inputs():
            walk(inner)

    walk(chain(STREAMED))
    walk(chain(STREAMED, epochs=Epochs(range(2))))
    assert len(ops) > 8
    assert not [op for op in ops if "Shuffle" in op or "Cache" in op]


def test_a_text_far_longer_than_the_others_does_not_widen_them(monkeypatch):
    """As a string array, these rows would take 4 GB. Tokens are made of a whole batch at once, not of rows."""
    texts = np.array(["word"] * 20_000, dtype=object)
    texts[0] = "long " * 10_000
    recipe = parts.Recipe(inputs={"title": parts.Text(length=4)}, tasks={"kind": parts.Classification()})
    rows = load(pd.DataFrame({"title": texts, "kind": ["x", "y"] * 10_000, "split": "train"}), recipe).rows
    preprocessor = build_preprocessor(
        "title", recipe.inputs["title"], {"vocabulary": ["[PAD]", "[UNK]", "word", "long"]}
    )
    tokenized, finish = [], preprocessor.finish
    monkeypatch.setattr(preprocessor, "finish", lambda texts: tokenized.append(texts.shape.rank) or finish(texts))
    tensors, _ = next(make_dataset({"title": preprocessor}, rows, batch_size=2).as_numpy_iterator())
    assert tokenized == [1]
    np.testing.assert_array_equal(tensors["title"], [[3, 3, 3, 3], [2, 0, 0, 0]])


def on_disk(folder):
    return Cache(2**30, "disk", None if folder is None else str(folder))


def test_a_cache_on_disk_gives_what_memory_gives_and_knows_what_it_holds(chain, tmp_path):
    folder = tmp_path / "cache"
    (tmp_path / "7.png").unlink()
    whole = batches(chain(CACHED))
    same(whole, batches(chain(on_disk(None))))
    same(whole, batches(chain(on_disk(folder))))
    [place] = folder.iterdir()
    assert sorted(f.name for f in place.iterdir()) == ["good.npy", "photo.bin"]
    assert (place / "photo.bin").stat().st_size == COUNT * 8 * 8 * 3 * 4
    # Found again, not decoded again: a changed byte in the cache is seen.
    kept = np.memmap(place / "photo.bin", np.float32, "r+", shape=(COUNT, 8, 8, 3))
    kept[2] = 0.5
    kept.flush()
    assert (batches(chain(on_disk(folder)))[0][0]["photo"][2] == 0.5).all()
    # A file that changed, or another setting, is another cache: the stale one is not used.
    os.utime(tmp_path / "2.png", ns=(1, 1))
    same(whole, batches(chain(on_disk(folder))))
    assert len(list(folder.iterdir())) == 2
    before = fingerprint({"photo": chain.preprocessors["photo"]}, chain.rows)
    chain(STREAMED, image={"background": 3})
    assert fingerprint({"photo": chain.preprocessors["photo"]}, chain.rows) != before


def test_half_a_cache_is_never_found(chain, tmp_path, monkeypatch):
    """The disk fills up, or the process ends, while it is written."""
    from mm_keras.data import caching

    def fails(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(caching.np, "save", fails)
        with pytest.raises(DataError, match="No space left"):
            batches(chain(on_disk(tmp_path / "cache")))
    assert list((tmp_path / "cache").iterdir()) == []
    same(batches(chain(CACHED)), batches(chain(on_disk(tmp_path / "cache"))))


def test_whole_levels_are_bytes_until_the_batch_and_what_is_served(chain):
    """Of pictures of their own size nothing changes; of others, each pixel by half a level at most."""
    plain = batches(chain(CACHED))
    levels = batches(chain(CACHED, image={"whole_levels": True}))
    same(levels, batches(chain(STREAMED, image={"whole_levels": True})))
    pixels = np.concatenate([b[0]["photo"] for b in levels])
    np.testing.assert_allclose(255 * pixels, np.rint(255 * pixels), atol=1e-4)
    difference = np.abs(pixels - np.concatenate([b[0]["photo"] for b in plain]))
    assert 0.3 / 255 < difference.max() < 0.5001 / 255  # files are 8 x 9, the input 8 x 8
    raw = raw_batch(chain.preprocessors, [_shown(chain.rows.example(i)) for i in range(COUNT)])
    tensors, _ = preprocess(chain.preprocessors, {f: tf.convert_to_tensor(v) for f, v in raw.items()})
    np.testing.assert_array_equal(tensors["photo"], pixels)


def _shown(example):
    return {field: value for field, value in example.items() if field in ("photo", "number")}
