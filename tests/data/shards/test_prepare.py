"""Shards hold what the manifest names, the same bytes however they are made, and what is bad is named."""

import io
import os
import random
import subprocess
import sys
import time

import fsspec
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import png_bytes, wav_bytes
from PIL import Image as Picture
from typer.testing import CliRunner

import mm_keras.recipe as parts
from mm_keras import load, open_shards, prepare
from mm_keras.cli import app
from mm_keras.data.shards.workers import share_cores
from mm_keras.errors import DataError

soundfile = pytest.importorskip("soundfile")  # an extra; `.[dev]` has it
ROWS = 40


def content(folder):
    """`{file: bytes}` of a local shards folder."""
    return {f.name: f.read_bytes() for f in sorted(folder.iterdir()) if f.is_file()}


def records(shards):
    """`{split: [tf.train.Example]}`."""
    found = {}
    for split, own in shards.info["splits"].items():
        paths = [shards.place.location(s["file"]) for s in own["shards"]]
        found[split] = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(paths)] if paths else []
    return found


def value(example, name):
    feature = example.features.feature[name]
    found = list(getattr(feature, feature.WhichOneof("kind")).value)
    return found[0] if len(found) == 1 else found


RECIPE = parts.Recipe(
    inputs={
        "photo": parts.Image(size=(8, 8)),
        "voice": parts.Audio(seconds=0.1, sampling_rate=8000, num_mel_bins=8),
        "title": parts.Text(length=4),
        "facts": parts.Tabular(numeric=("price",), categorical=("colour",)),
        "features": parts.Vector(),
        "series": parts.Vector(steps=3),
    },
    tasks={"kind": parts.Classification(), "rating": parts.Regression()},
)
FACTS = parts.Recipe(inputs={"facts": RECIPE.inputs["facts"]}, tasks=RECIPE.tasks)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Rows of every kind of cell, files beside them, without a fault."""
    folder, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    lines = []
    for row in range(ROWS):
        (folder / f"{row}.png").write_bytes(png_bytes(rng.integers(1, 256, (10, 12, 3), dtype=np.uint8)))
        (folder / f"{row}.wav").write_bytes(wav_bytes(0.3 * rng.standard_normal(800)))
        line = {"id": f"r{row}", "photo": str(folder / f"{row}.png"), "voice": str(folder / f"{row}.wav")}
        line |= {
            "title": f"words of {row} ü",
            "price": float(row) / 3,
            "colour": "rg"[row % 2],
            "group": f"g{row // 2}",
        }
        line |= {"features": [float(row), 1.0], "series": [[row, 0.5]] * (1 + row % 3)}
        lines.append(line | {"kind": "ab"[row % 2], "rating": row / 7})
    return pd.DataFrame(lines)


def test_every_row_is_in_the_shards_as_the_manifest_has_it(table, tmp_path):
    data = load(table, RECIPE)
    shards = prepare(table, RECIPE, tmp_path / "out", processes=1, shard_rows=7).verify()
    assert shards.rows == data.counts
    for split, examples in records(shards).items():
        rows = data.rows.split(split)
        by_id = {value(e, "id").decode(): e for e in examples}
        assert len(by_id) == len(examples)
        assert sorted(by_id) == sorted(rows.ids)  # the very rows that `load` draws for the split
        for at, row_id in enumerate(rows.ids):
            own = by_id[row_id]
            assert value(own, "row") == rows.numbers[at]
            assert value(own, "group").decode() == rows.groups[at]
            for name in ("photo", "voice"):
                with open(rows.cells[name][at], "rb") as file:
                    assert value(own, f"input/{name}") == file.read()
            assert value(own, "input/title").decode() == rows.cells["title"][at]
            assert value(own, "input/facts/colour").decode() == rows.cells["facts"]["colour"][at]
            assert np.float32(value(own, "input/facts/price")) == rows.cells["facts"]["price"][at]
            for name in ("features", "series"):
                np.testing.assert_array_equal(value(own, f"input/{name}"), rows.cells[name][at].ravel())
            assert value(own, "label/kind").decode() == rows.labels["kind"][at]
            assert np.float32(value(own, "label/rating")) == np.float32(rows.labels["rating"][at])
    # The order is that of the seed, not of the table.
    assert [value(e, "row") for e in records(shards)["train"]] != sorted(data.train.numbers)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "dataset.json",
        "quarantine.csv",
        *(s["file"] for s in shards.files),
    }
    assert open_shards(tmp_path / "out").info == shards.info


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "frame"])
def test_every_form_of_a_table_gives_the_same_shards(table, tmp_path, kind):
    own = table[["id", "price", "colour", "kind", "rating"]]
    source = tmp_path / f"m.{kind}"
    if kind in ("csv", "tsv"):
        own.to_csv(source, index=False, sep="\t" if kind == "tsv" else ",")
    elif kind == "jsonl":
        own.to_json(source, orient="records", lines=True, double_precision=15)
    elif kind == "parquet":
        own.to_parquet(source)
    else:
        source = own
    prepare(own, FACTS, tmp_path / "expected", processes=1)
    prepare(source, FACTS, tmp_path / "out", processes=1)
    expected, found = content(tmp_path / "expected"), content(tmp_path / "out")
    del expected["dataset.json"], found["dataset.json"]  # which names the manifest
    assert found == expected


def test_seed_and_size_shape_the_shards_and_nothing_else(table, tmp_path):
    first = prepare(table, FACTS, tmp_path / "a", processes=1, shard_rows=5, seed=1)
    prepare(table, FACTS, tmp_path / "b", processes=1, shard_rows=5, seed=1)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    other = prepare(table, FACTS, tmp_path / "c", processes=1, shard_rows=5, seed=2)
    assert [s["sha256"] for s in first.files] != [s["sha256"] for s in other.files]
    assert max(s["rows"] for s in first.files) <= 5
    assert prepare(table, FACTS, tmp_path / "a", processes=1, shard_rows=5, seed=1).info == first.info  # as it is
    for options, word in (({"seed": 2}, "options"), ({"seed": 1, "image_side": 9}, "options")):
        with pytest.raises(DataError, match=rf"holds shards of another kind; these differ: \['{word}'\]"):
            prepare(table, FACTS, tmp_path / "a", processes=1, shard_rows=5, **options)
    with pytest.raises(DataError, match=r"these differ: \['rows_sha256'\]"):
        prepare(table.assign(price=1.0), FACTS, tmp_path / "a", processes=1, shard_rows=5, seed=1)
    with pytest.raises(DataError, match=r"these differ: \['recipe_sha256', 'rows_sha256'\]"):
        prepare(table, RECIPE, tmp_path / "a", processes=1, shard_rows=5, seed=1)


def test_only_whole_shards_count_when_it_goes_on(table, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, shards, rows):
        if done == 3:
            raise Stop

    out, options = tmp_path / "out", {"processes": 1, "shard_rows": 2}
    prepare(table, FACTS, tmp_path / "whole", **options)
    shards = len(list((tmp_path / "whole").glob("*.tfrecord")))
    with pytest.raises(Stop):
        prepare(table, FACTS, out, progress=stop, **options)
    made = sorted(out.glob("*.tfrecord"))
    assert 3 <= len(made) < shards  # some more are made while the third is told
    with pytest.raises(DataError, match=r"it holds no dataset\.json"):
        open_shards(out)
    with made[1].open("r+b") as file:  # a shard that the disk lost
        file.seek(20)
        file.write(b"\0\0\0\0")
    (out / ".work" / "train-00009-of-00009.tfrecord.1.part").write_bytes(b"half")
    kept = made[0].stat().st_mtime_ns
    prepare(table, FACTS, out, **options).verify()
    assert content(out) == content(tmp_path / "whole")
    assert made[0].stat().st_mtime_ns == kept  # not made again
    assert not (out / ".work").exists()


KILLS = int(os.environ.get("MM_KERAS_KILLS", "2"))


@pytest.mark.slow
def test_killed_at_random_moments_the_shards_are_the_same(table, tmp_path):
    manifest, out = tmp_path / "m.jsonl", tmp_path / "out"
    pd.concat([table.assign(id=table["id"] + f"-{i}", group=f"{i}") for i in range(10)]).to_json(
        manifest, orient="records", lines=True
    )
    RECIPE.save(tmp_path / "recipe.yaml")
    call = f"prepare({str(manifest)!r}, {str(tmp_path / 'recipe.yaml')!r}, {{!r}}, processes={{}}, shard_rows=8)"
    code = "from mm_keras import prepare\n" + call
    subprocess.run([sys.executable, "-c", code.format(str(tmp_path / "whole"), 2)], check=True)
    shards, killed = len(list((tmp_path / "whole").glob("*.tfrecord"))), 0
    for wanted in sorted(random.Random(0).sample(range(1, shards // 2), KILLS)):
        run = subprocess.Popen([sys.executable, "-c", code.format(str(out), 2)])
        while run.poll() is None and len(list(out.glob("*.tfrecord"))) < wanted:
            time.sleep(0.002)
        killed += run.poll() is None
        run.kill()
        run.wait()
    assert killed
    prepare(manifest, tmp_path / "recipe.yaml", out, processes=1, shard_rows=8).verify()
    assert content(out) == content(tmp_path / "whole")


def test_bad_rows_are_those_of_load(table, tmp_path):
    bad = table.astype(object)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(png_bytes(np.ones((9, 9, 3), np.uint8))[:60])
    (tmp_path / "text.wav").write_text("no sound at all, and no header either: much too short to be one")
    faults = {
        1: ("photo", str(tmp_path / "none.png")),
        2: ("photo", str(tmp_path / "empty.png")),
        3: ("photo", str(tmp_path / "cut.png")),
        4: ("photo", str(tmp_path)),
        5: ("price", "many"),
        6: ("features", [1.0]),
        7: ("series", [[1.0, np.inf]]),
        8: ("kind", "never seen"),
        9: ("id", "r0"),
        10: ("id", ""),
        11: ("rating", "high"),
        13: ("voice", str(tmp_path / "text.wav")),
    }
    for row, (column, cell) in faults.items():
        bad.at[row, column] = cell
    bad["split"] = ["test" if row == 8 else "dev" if row % 5 == 4 else "train" for row in range(ROWS)]
    bad.at[12, "split"] = "elsewhere"
    expected = load(bad, RECIPE, max_bad=0.5).quarantine
    shards = prepare(bad, RECIPE, tmp_path / "out", processes=1, max_bad=0.5, shard_rows=6)
    found = shards.quarantine()
    columns = ["row", "id", "column", "reason"]
    # Of sound that is none the message names the converter too, which was asked.
    sound = found["column"] == "voice"
    assert list(found["reason"][sound].str.startswith("not a WAV file, and soundfile cannot read it")) == [True]
    assert list(expected["reason"][expected["column"] == "voice"]) == ["not a WAVE file"]
    found.loc[sound, "reason"] = "not a WAVE file"
    pd.testing.assert_frame_equal(found[columns], expected[columns].reset_index(drop=True), check_dtype=False)
    assert shards.info["quarantine"]["rows"] == len(faults) + 1
    assert sum(shards.rows.values()) == ROWS - len(faults) - 1
    with pytest.raises(DataError, match=r"rows are bad, more than max_bad=0.05 allows"):
        prepare(bad, FACTS, tmp_path / "few", processes=1)


@pytest.mark.slow
def test_each_bad_jpeg_among_good_ones_is_found(tmp_path):
    rng = np.random.default_rng(0)
    whole = png_bytes(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8), "JPEG", quality=90)
    at = whole.index(b"\xff\xc0") + 5  # height and width in the frame's header
    bad = {row: whole[: len(whole) * share // 100] for row, share in {2: 99, 9: 50, 10: 3}.items()}
    bad |= {17: b"\xff\xd8\xff and no picture", 18: whole[:at] + b"\xff" * 4 + whole[at + 4 :]}
    for row in range(45):  # five times eight, and five
        (tmp_path / f"{row}.jpg").write_bytes(bad.get(row, whole))
    frame = pd.DataFrame({"photo": [f"{row}.jpg" for row in range(45)], "kind": ["a", "b", "a"] * 15})
    recipe = parts.Recipe(inputs={"photo": parts.Image(size=(8, 8))}, tasks={"kind": parts.Classification()})
    options = {"root": tmp_path, "split": None, "max_bad": 0.2}
    frame["split"] = ["train", "train", "test"] * 15
    found = prepare(frame, recipe, tmp_path / "out", **options)
    assert list(found.quarantine()["row"]) == [row + 1 for row in sorted(bad)]
    pd.testing.assert_frame_equal(found.quarantine(), load(frame, recipe, **options).quarantine, check_dtype=False)
    assert sum(found.rows.values()) == 40


@pytest.mark.slow
def test_processes_and_threads_change_no_byte(table, tmp_path):
    prepare(table, RECIPE, tmp_path / "alone", processes=1, shard_rows=3)
    prepare(table, RECIPE, tmp_path / "many", processes=2, shard_rows=3)
    assert content(tmp_path / "alone") == content(tmp_path / "many")


@pytest.mark.parametrize("cores", [1, 2, 4, 5, 16])
def test_cores_are_shared(cores, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    expected = {1: (1, 2), 2: (1, 4), 4: (1, 8), 5: (2, 6), 16: (4, 8)}
    assert share_cores(RECIPE) == expected[cores]
    assert share_cores(FACTS) == (cores, 1)  # no file, no thread
    assert share_cores(RECIPE, 1) == (1, 2 * cores)
    assert share_cores(RECIPE, 32) == (32, 2)


def test_sound_of_other_codes_becomes_wav(tmp_path):
    wave = np.sin(np.arange(4000) * 0.2)[:, None] * [0.5, 0.25]
    kinds = {"flac16": ("FLAC", "PCM_16"), "flac24": ("FLAC", "PCM_24"), "ogg": ("OGG", "VORBIS"), "mp3": ("MP3", None)}
    for name, (form, code) in kinds.items():
        soundfile.write(tmp_path / name, wave, 8000, format=form, subtype=code)
    frame = pd.DataFrame({"voice": list(kinds) * 3, "kind": ["a", "b"] * 6})
    recipe = parts.Recipe(inputs={"voice": RECIPE.inputs["voice"]}, tasks={"kind": parts.Classification()})
    shards = prepare(frame, recipe, tmp_path / "out", root=tmp_path, processes=1)
    assert shards.info["quarantine"]["rows"] == 0
    seen = set()
    for example in (e for own in records(shards).values() for e in own):
        name = list(kinds)[(value(example, "row") - 1) % 4]
        with soundfile.SoundFile(io.BytesIO(value(example, "input/voice"))) as sound:
            assert (sound.format, sound.samplerate, sound.channels) == ("WAV", 8000, 2)
            assert sound.subtype == ("PCM_24" if name == "flac24" else "PCM_16")
            samples = sound.read()
        original = soundfile.read(tmp_path / name)[0]
        # Lossless codes to the bit, others to half a step of 16 bits.
        np.testing.assert_allclose(samples, original, atol=0 if "flac" in name else 1.01 / 32767)
        seen.add(name)
    assert seen == set(kinds)


def test_pictures_are_made_smaller_once(tmp_path):
    rng = np.random.default_rng(0)
    smooth = np.asarray(Picture.fromarray(rng.integers(0, 256, (5, 8, 3), dtype=np.uint8)).resize((160, 100)))
    (tmp_path / "big.jpg").write_bytes(png_bytes(smooth, "JPEG", quality=95))
    (tmp_path / "small.png").write_bytes(png_bytes(smooth[:20, :30]))
    (tmp_path / "clear.png").write_bytes(png_bytes(np.dstack([smooth, smooth[..., 0]])))
    frame = pd.DataFrame({"photo": ["big.jpg", "small.png", "clear.png"] * 4, "kind": ["a", "b"] * 6})
    recipe = parts.Recipe(inputs={"photo": parts.Image(size=(8, 8))}, tasks={"kind": parts.Classification()})
    shards = prepare(frame, recipe, tmp_path / "out", root=tmp_path, processes=1, image_side=40)
    for example in (e for own in records(shards).values() for e in own):
        name = frame["photo"][value(example, "row") - 1]
        stored = value(example, "input/photo")
        with Picture.open(io.BytesIO(stored)) as picture:
            found = picture.format, picture.mode, picture.size
        assert (
            found
            == {
                "big.jpg": ("JPEG", "RGB", (40, 25)),
                "small.png": ("PNG", "RGB", (30, 20)),
                "clear.png": ("PNG", "RGBA", (40, 25)),
            }[name]
        )
        if name == "small.png":
            assert stored == (tmp_path / name).read_bytes()


def test_a_tree_of_folders(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            for i in range(4):
                place = tmp_path / "tree" / split / name / f"{i}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(png_bytes(rng.integers(1, 256, (6, 6, 3), dtype=np.uint8)))
    recipe = parts.Recipe(inputs={"photo": parts.Image(size=(8, 8))}, tasks={"kind": parts.Classification()})
    shards = prepare(tmp_path / "tree", recipe, tmp_path / "out", processes=1)
    assert shards.rows == {"train": 8, "validation": 8, "test": 0}
    for split, own in records(shards).items():
        for example in own:
            path = tmp_path / "tree" / value(example, "id").decode()
            assert path.parts[-3] == {"validation": "val"}.get(split, split)
            assert path.parts[-2] == value(example, "label/kind").decode()
            assert path.read_bytes() == value(example, "input/photo")
    # Without folders of splits they are drawn.
    shards = prepare(tmp_path / "tree" / "train", recipe, tmp_path / "drawn", processes=1, split=(0.5, 0.25, 0.25))
    assert shards.rows == {"train": 4, "validation": 2, "test": 2}
    with pytest.raises(DataError, match="a folder tree gives one input of files and one classification"):
        prepare(tmp_path / "tree", FACTS, tmp_path / "no", processes=1)


def test_addresses_as_source_and_target(table, tmp_path):
    system = fsspec.filesystem("memory")
    own = table[["id", "photo", "title", "kind"]].copy()
    for row, path in enumerate(own["photo"]):
        with open(path, "rb") as file:
            system.pipe_file(f"/raw/files/{row}.png", file.read())
        own.loc[row, "photo"] = f"files/{row}.png"
    system.pipe_file("/raw/m.csv", own.to_csv(index=False).encode())
    inputs = {n: RECIPE.inputs[n] for n in ("photo", "title")}
    recipe = parts.Recipe(inputs=inputs, tasks={"kind": parts.Classification()})
    prepare(table, recipe, tmp_path / "local", processes=1, shard_rows=9)
    shards = prepare("memory://raw/m.csv", recipe, "memory://out/shards", processes=1, shard_rows=9).verify()
    local = open_shards(tmp_path / "local")
    # Groups are not in this table, so that its splits are its own; the rows are the same.
    assert sum(shards.rows.values()) == sum(local.rows.values()) == ROWS
    data = load("memory://out/shards", recipe)
    assert sorted(data.rows.ids) == sorted(table["id"])
    example = data.train.example(0)
    row = int(np.asarray(data.train.ids)[0][1:])
    with open(table["photo"][row], "rb") as file:
        assert example["photo"] == file.read()
    system.rm("/raw/files/3.png")
    found = prepare("memory://raw/m.csv", recipe, f"file://{tmp_path}/files", processes=1, shard_rows=9)
    assert list(found.quarantine()["reason"]) == ["there is no such file"]
    assert (tmp_path / "files" / "dataset.json").is_file()


def test_what_is_absent_is_named(table, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="there is no such file"):
        prepare(tmp_path / "none.csv", FACTS, tmp_path / "out", processes=1)
    with pytest.raises(DataError, match="needs the column 'price', which the table lacks"):
        prepare(table.drop(columns="price"), FACTS, tmp_path / "out", processes=1)
    with pytest.raises(DataError, match=r"nothing://m\.csv: Protocol not known"):
        prepare("nothing://m.csv", FACTS, tmp_path / "out", processes=1)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(DataError, match=r"fsspec, which is absent: pip install 'mm_keras\[remote\]'"):
        prepare(table, FACTS, "memory://x", processes=1)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(DataError, match=r"Apache Beam is absent: pip install 'mm_keras\[beam\]'"):
        prepare(table, FACTS, tmp_path / "beam", beam=["--runner=DirectRunner"])
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.flac").write_bytes(b"fLaC and more")
    frame = table.assign(voice=str(tmp_path / "a.flac"))
    with pytest.raises(DataError, match=r"soundfile, which is absent: pip install 'mm_keras\[audio\]'"):
        prepare(frame, RECIPE, tmp_path / "sound", processes=1)


def test_the_command_line(table, tmp_path):
    table[["id", "price", "colour", "kind", "rating"]].to_csv(tmp_path / "m.csv", index=False)
    FACTS.save(tmp_path / "recipe.yaml")
    arguments = ["prepare", str(tmp_path / "m.csv"), str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--processes", "1", "--shard-rows", "9"])
    assert result.exit_code == 0
    assert "train=32, validation=4, test=4, shards=6" in result.output
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "0 bad rows are left out; every checksum is right" in result.output
    assert "input/facts/price" in result.output


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Beam's own
def test_beam_makes_the_same_shards(table, tmp_path):
    pytest.importorskip("apache_beam")  # holds other packages back: installed by hand
    prepare(table, RECIPE, tmp_path / "here", processes=1, shard_rows=9)
    prepare(table, RECIPE, tmp_path / "beam", shard_rows=9, beam=["--runner=DirectRunner"])
    assert content(tmp_path / "beam") == content(tmp_path / "here")
