"""Bad files and rows never end a training, and every one of them is named."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

import mm_keras.recipe as parts
from mm_keras.data.catalog.digits import make_digits
from mm_keras.data.manifest import load
from mm_keras.errors import DataError
from mm_keras.training.fit import fit

CACHES = [pytest.param(0.0, marks=pytest.mark.slow), pytest.param(1.0, marks=pytest.mark.long)]


def recipe_of(*names, **training):
    own = {
        "scan": parts.Image(size=(16, 16), channels=1, encoder={"size": "tiny"}),
        "tone": parts.Audio(
            seconds=0.4, sampling_rate=8000, num_mel_bins=16, hop_ms=40, encoder={"kind": "cnn", "size": "tiny"}
        ),
        "card": parts.Tabular(numeric=("seconds",), encoder={"size": "tiny"}),
    }
    return parts.Recipe(
        inputs={name: own[name] for name in names},
        tasks={"digit": parts.Classification(classes=tuple("0123456789"))},
        fusion=parts.Fusion("concat", units=8),
        training=parts.Training(**{"epochs": 1, **training}),
    )


def corrupt(folder):
    """Spoils 1 % of the 400 files, five labels and three ids; returns `{row: part of the reason}`."""
    table = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
    scan, tone = ([folder / path for path in table[name]] for name in ("scan", "tone"))
    tone[10].write_bytes(tone[10].read_bytes()[:2000])
    scan[20].write_bytes(tone[0].read_bytes())
    scan[30].write_bytes(b"")
    tone[40].unlink()
    expected = {11: "WAVE data is cut", 21: "", 31: "the file is empty", 41: "there is no such file"}
    for row, label in zip((50, 60, 70, 80, 90), ("11", "x", "one", "-1", "1.5"), strict=True):
        table.loc[row, "digit"] = label
        expected[row + 1] = "unknown label"
    for row in (100, 110, 120):
        table.loc[row, "id"] = table.loc[row - 1, "id"]
        expected[row + 1] = "an earlier row has this id"
    table.to_csv(folder / "manifest.csv", index=False)
    return expected


@pytest.mark.slow
def test_a_corrupted_copy_trains_and_the_quarantine_names_exactly_its_rows(tmp_path, capsys):
    folder = make_digits(tmp_path / "digits", rows=200).parent
    expected = corrupt(folder)
    recipe = recipe_of("scan", "tone")
    with pytest.raises(DataError, match="12 of 200 rows are bad"):
        load(folder / "manifest.csv", recipe, max_bad=0.05)
    run = fit(recipe, load(folder / "manifest.csv", recipe, max_bad=0.06), tmp_path / "run")
    assert "12 bad rows are left out" in capsys.readouterr().out
    assert (run.info["quarantined"], run.info["epochs"], sum(run.info["rows"].values())) == (12, 1, 188)
    history = pd.read_csv(tmp_path / "run/history.csv")
    assert np.isfinite(history["loss"]).all()
    quarantine = pd.read_csv(tmp_path / "run/quarantine.csv", dtype={"id": str}, keep_default_na=False)
    assert quarantine["row"].tolist() == sorted(expected)
    for _, fault in quarantine.iterrows():
        assert expected[fault["row"]] in fault["reason"], fault
        assert fault["reason"]
    table = pd.read_csv(folder / "manifest.csv", dtype=str)
    assert quarantine["id"].tolist() == [table["id"][row - 1] for row in sorted(expected)]
    named = {row: Path(value).name for row, value in zip(quarantine["row"], quarantine["value"], strict=True)}
    assert (named[11], named[21]) == ("d0010.wav", "d0020.png")


@pytest.fixture
def digits(tmp_path):
    """A hundred rows, loaded."""
    manifest = make_digits(tmp_path / "digits", rows=100)
    return manifest.parent, load(manifest, recipe_of("scan", "card"))


def quarantined(folder):
    table = pd.read_csv(folder / "quarantine.csv", keep_default_na=False)
    return table[["row", "id", "column", "reason"]].to_numpy().tolist()


@pytest.mark.parametrize("cache_gb", CACHES)
def test_files_that_go_bad_between_loading_and_training(digits, tmp_path, cache_gb, capsys):
    folder, data = digits
    (folder / "scan/d0003.png").unlink()
    (folder / "scan/d0007.png").write_bytes(b"no picture")
    run = fit(recipe_of("scan", "card", cache_gb=cache_gb), data, tmp_path / "run")
    assert "2 bad rows are left out" in capsys.readouterr().out
    (gone, spoilt) = quarantined(tmp_path / "run")
    assert gone == [4, "d0003", "scan", "after it was checked: there is no such file"]
    assert spoilt[:3] == [8, "d0007", "scan"]
    assert spoilt[3].startswith("after it was checked: ")
    assert run.info["quarantined"] == 2
    kept = {i for split in ("train", "validation", "test") for i in run.rows(split).ids}
    assert len(kept) == 98
    assert not kept & {"d0003", "d0007"}


@pytest.mark.parametrize("cache_gb", CACHES)
def test_files_that_go_bad_during_training(digits, tmp_path, cache_gb, capsys):
    _, data = digits
    train = data.train
    losses = []

    class Vandal(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                for path in train.cells["scan"][:3]:
                    Path(path).unlink()

        def on_epoch_end(self, epoch, logs=None):
            losses.append(logs["loss"])

    recipe = recipe_of("scan", "card", cache_gb=cache_gb, epochs=3, batch_size=8)
    run = fit(recipe, data, tmp_path / "run", callbacks=[Vandal()])
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    assert min(losses) > 0.5  # the loss goes on over the rows that are left
    assert "3 rows lost a file during training" in capsys.readouterr().out
    reason = "after it was checked: there is no such file"
    assert quarantined(tmp_path / "run") == [
        [int(n), i, "scan", reason] for n, i in zip(train.numbers[:3], train.ids[:3], strict=True)
    ]
    assert run.info["quarantined"] == 3
    assert not set(train.ids[:3]) & set(run.examples().ids)


def test_a_folder_that_has_moved_is_an_error_and_not_an_empty_training(digits, tmp_path):
    folder, data = digits
    folder.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"100 of 100 rows are bad.*after it was checked: there is no such file"):
        fit(recipe_of("scan", "card"), data, tmp_path / "run", verbose=False)


def test_unchanged_files_are_not_read_again(digits, monkeypatch):
    _, data = digits
    seen = []
    monkeypatch.setattr("mm_keras.data.cells.file_faults", lambda p, paths: seen.extend(p for p in paths if p) or {})
    later = type(data)(**{**vars(data), "seen": data.seen + 10})
    assert len(later.recheck(recipe_of("scan", "card")).rows) == 100
    assert seen == []
    data.recheck(recipe_of("scan", "card"))  # made just before they were checked, so that they may have changed since
    assert len(seen) == 100
