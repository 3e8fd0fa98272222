"""Faults planted in the built-in sets are found, with the right rows; clean sets are called clean."""

import html
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Picture

import mm_keras as mm
from mm_keras.recipe import Tabular

ROWS = 240  # of the planted set: 144 train, 24 validation, 72 test


def found_by(checked, check, name=None):
    """The only finding of a check, of an input or task when one is named."""
    (finding,) = [f for f in checked.findings if f.check == check and (name is None or name in f.inputs)]
    return finding


def encoded(path, kind="PNG", scale=1.0, pixel=False):
    picture = Picture.open(path)
    if scale != 1:
        picture = picture.resize([round(scale * side) for side in picture.size], Picture.Resampling.BICUBIC)
    if pixel:
        picture.putpixel((5, 9), (64, 64, 64))  # twice what the noise has at most
    file = io.BytesIO()
    picture.save(file, kind, **({"quality": 85} if kind == "JPEG" else {}))
    return file.getvalue()


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The built-in planted set: its folder, and its table as text."""
    folder = mm.make_planted(tmp_path_factory.mktemp("planted"), rows=ROWS).parent
    return folder, pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def spoilt(planted, tmp_path_factory):
    """The set with one of each fault, and what `inspect` says of it."""
    folder, table = planted[0], planted[1].copy()
    out = shutil.copytree(folder, tmp_path_factory.mktemp("spoilt") / "set")
    train, test = table.index[table["split"] == "train"], table.index[table["split"] == "test"]

    # Pictures of training rows 0..3 in test rows 0..3, each disguised.
    disguises = ({"kind": "JPEG"}, {"scale": 1.5}, {"pixel": True}, {"kind": "BMP"})
    for k, disguise in enumerate(disguises):
        source = out / table.loc[train[k], "photo"]
        name = f"photo/again{k}.{'jpg' if disguise.get('kind') == 'JPEG' else 'img'}"
        (out / name).write_bytes(encoded(source, **disguise))
        table.loc[test[k], "photo"] = name
    # The bytes of one sound under another name.
    shutil.copy(out / table.loc[train[4], "voice"], out / "voice" / "again.wav")
    table.loc[test[4], "voice"] = "voice/again.wav"
    # A title with a typing error, other case and punctuation; the longest, of which one letter is little.
    longest = table.loc[train, "title"].str.len().idxmax()
    title = table.loc[longest, "title"]
    table.loc[test[5], "title"] = title[:40].upper() + "x" + title[41:] + "!"
    # A whole row again, in the test rows; and another twice in training, with another label.
    whole, twice = table.loc[train[6]].copy(), table.loc[train[7]].copy()
    shutil.copy(out / whole["photo"], out / "photo" / "whole.png")
    whole["id"], whole["split"], whole["photo"] = "copy", "test", "photo/whole.png"
    twice["id"], twice["category"] = "other", "north" if twice["category"] != "north" else "south"
    table = pd.concat([table, pd.DataFrame([whole, twice])], ignore_index=True)
    # A group that straddles; columns that say nothing; names of files that say the class.
    table["group"] = ["g" if i in (train[8], test[8]) else "" for i in table.index]
    table["unit"], table["remark"] = "7", ""
    for row, name in enumerate(table["voice"]):
        new = f"voice/{table['category'][row]}_{row}.wav"
        shutil.copy(out / name, out / new)
        table.loc[row, "voice"] = new
    facts = Tabular(numeric=("n", "e", "s", "w", "p", "q", "unit"), categorical=("remark",))
    recipe = mm.load_recipe(folder / "recipe.yaml")
    recipe = recipe.model_copy(update={"inputs": {**recipe.inputs, "facts": facts}})
    ids = {k: [table["id"][i] for i in (train[k], test[k])] for k in range(9)}
    return table, mm.inspect(table, recipe, root=out), ids, [table["id"][longest], table["id"][test[5]]]


def test_nearly_equal_pictures_are_found_however_disguised(spoilt):
    _, checked, ids, _ = spoilt
    finding = found_by(checked, "near_duplicates", "photo")
    assert {frozenset(s) for s in finding.sets} == {frozenset(ids[k]) for k in range(4)}
    assert finding.splits == ("train", "test")
    assert sum("again" in f for f in finding.files) == 4


def test_equal_files_are_found_under_other_names(spoilt):
    _, checked, ids, _ = spoilt
    (finding,) = [f for f in checked.findings if f.check == "duplicates" and f.inputs == ("voice",)]
    assert finding.sets == (tuple(ids[4]),)


def test_nearly_equal_texts_are_found(spoilt):
    _, checked, _, pair = spoilt
    finding = found_by(checked, "near_duplicates", "title")
    assert finding.sets == (tuple(pair),)
    assert finding.columns == ("title",)


def test_copies_of_rows_and_contradictions_are_found(spoilt):
    _, checked, ids, _ = spoilt
    (whole,) = [f for f in checked.findings if f.check == "duplicates" and len(f.inputs) == 5]
    assert whole.sets == ((ids[6][0], "copy"),)
    twice = found_by(checked, "contradictions")
    assert twice.sets == ((ids[7][0], "other"),)
    assert "category" in twice.what


def test_straddling_groups_are_found(spoilt):
    _, checked, ids, _ = spoilt
    finding = found_by(checked, "groups")
    assert finding.sets == (tuple(ids[8]),)


def test_names_of_files_that_tell_the_label_are_found(spoilt):
    _, checked, _, _ = spoilt
    finding = found_by(checked, "names")
    assert (finding.inputs, finding.severity) == (("voice", "category"), "note")


def test_columns_that_say_nothing_are_found(spoilt):
    _, checked, _, _ = spoilt
    found = {f.columns: f.what for f in checked.findings if f.check == "availability"}
    assert set(found) == {("unit",), ("remark",)}
    assert "always the same" in found["unit",]
    assert "always missing" in found["remark",]


def test_what_is_found_can_be_read_and_saved(spoilt, tmp_path):
    table, checked, _, _ = spoilt
    lines = checked.table()
    assert lines["severity"].tolist() == sorted(lines["severity"], reverse=True)  # warnings first
    assert len(lines) == len(checked.findings) == 9
    content = json.loads(checked.save(tmp_path / "a" / "check.json").read_text())
    assert content["rows"] == table["split"].value_counts()[["train", "validation", "test"]].to_dict()
    assert content["findings"][0]["ids"]
    page = html.unescape(checked.save(tmp_path / "check.html").read_text())
    assert all(f.what in page and f.advice in page for f in checked.findings)
    assert pd.read_csv(checked.save(tmp_path / "check.csv"))["what"].tolist() == lines["what"].tolist()
    with pytest.raises(mm.DataError, match=r"saved as \.html, \.json or \.csv"):
        checked.save(tmp_path / "check.png")


def test_the_clean_set_is_clean(planted):
    folder, _ = planted
    checked = mm.inspect(folder / "manifest.csv", folder / "recipe.yaml")
    assert checked.findings == ()
    assert "nothing" in checked._repr_html_().lower()
    assert (checked.availability == 1).all(axis=None)
    assert checked.classes["category"].to_numpy().sum() == ROWS


def test_the_digits_are_clean(digits_data, digits_folder):
    checked = mm.inspect(digits_data, digits_folder / "recipe.yaml")
    assert checked.findings == ()
    # A tenth of the numbers and words are blank, but hardly a whole card.
    table = pd.read_csv(digits_folder / "manifest.csv", dtype=str, keep_default_na=False)
    shares = (table["word"] != "").groupby(table["split"]).mean()
    np.testing.assert_allclose(checked.availability["word"], shares[checked.availability.index])


@pytest.mark.parametrize("make", [mm.make_xor, mm.make_distractor, mm.make_families])
def test_other_built_in_sets_are_clean(make, tmp_path):
    manifest = make(tmp_path)
    assert mm.inspect(manifest, manifest.parent / "recipe.yaml").findings == ()


@pytest.mark.parametrize("code", ["number", "noisy number", "category", "column of the vector"])
def test_the_label_in_disguise_is_found(code, tmp_path):
    manifest = mm.make_distractor(tmp_path, rows=800)
    table, recipe = pd.read_csv(manifest), mm.load_recipe(manifest.parent / "recipe.yaml")
    numbers = table["label"].map({c: 10 * i for i, c in enumerate(sorted(set(table["label"])))})
    if code == "category":
        table["code"] = numbers.map(lambda n: f"shade {n + 3}")
    elif code == "noisy number":
        table["code"] = numbers + np.random.default_rng(1).normal(0, 1.6, len(table))
    else:
        table["code"] = numbers
    own = {"categorical": ("code",)} if code == "category" else {"numeric": ("code",)}
    inputs = {**recipe.inputs, "facts": Tabular(**own)}
    if code == "column of the vector":
        table["noise_9"], inputs = table.pop("code"), dict(recipe.inputs)
    checked = mm.inspect(table, recipe.model_copy(update={"inputs": inputs}))
    (finding,) = checked.findings
    assert (finding.check, finding.severity) == ("leaks", "warning")
    assert finding.columns == (("noise_9",) if code == "column of the vector" else ("code",))


def test_flipped_labels_are_found(tmp_path):
    """99 % of this set's rows can be told right, so that a flipped label can be seen."""
    manifest = mm.make_distractor(tmp_path, seed=5, rows=2000)
    table = pd.read_csv(manifest, dtype=str)
    rng = np.random.default_rng(2)
    flipped = rng.permutation(len(table))[:40]
    classes = sorted(set(table["label"]))
    for row in flipped:
        table.loc[row, "label"] = classes[(classes.index(table["label"][row]) + rng.integers(1, 4)) % 4]
    checked = mm.inspect(table, manifest.parent / "recipe.yaml")
    (finding,) = checked.findings
    assert (finding.check, finding.severity) == ("label_noise", "note")
    right = set(finding.ids) & set(table["id"][flipped])
    assert len(right) >= 0.9 * len(finding.ids)
    assert len(right) >= 0.65 * len(flipped)  # rows of which the model is not sure are not doubted
