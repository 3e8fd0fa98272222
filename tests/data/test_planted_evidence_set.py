"""The built-in planted evidence: the files hold it where the manifest says."""

import io
import wave

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Picture

import mm_keras as mm
from mm_keras.data.catalog import evidence as planted


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    manifest = mm.make_planted(tmp_path_factory.mktemp("planted"), rows=120)
    return manifest, pd.read_csv(manifest, dtype=str, keep_default_na=False)


def test_it_is_a_manifest_that_loads(written):
    manifest, table = written
    data = mm.load(manifest, manifest.parent / "recipe.yaml")
    assert len(data.quarantine) == 0
    assert [len(part) for part in (data.train, data.validation, data.test)] == [72, 12, 36]
    assert set(table["category"]) == set(planted.CLASSES)


def test_each_input_carries_evidence_half_of_the_time_and_every_row_some(written):
    _, table = written
    carries = np.stack([table[f"{n}_evidence"] != "" for n in planted.INPUTS], axis=1)
    assert carries.any(axis=1).all()
    assert (np.abs(carries.mean(axis=0) - 0.51) < 0.2).all()


def test_the_files_hold_it_where_the_manifest_says(written):
    manifest, table = written
    for row in table.to_dict("records"):
        number = planted.CLASSES.index(row["category"])
        pixels = np.asarray(Picture.open(manifest.parent / row["photo"])) / 255
        assert pixels.shape == (32, 32, 3)
        bright = (pixels > 0.16).any(axis=2)
        if where := row["photo_evidence"]:
            top, left, bottom, right = map(int, where.split())
            patch = pixels[top:bottom, left:right]
            assert patch.shape == (8, 8, 3)
            lit = np.array(planted.COLOURS[number], bool)
            assert (patch[..., lit] >= 0.59).all()
            assert (patch[..., ~lit] <= 0.16).all()
            bright[top:bottom, left:right] = False
        assert not bright.any()

        words = row["title"].split()
        assert 8 <= len(words) <= 15
        assert [w for w in words if w in planted.CLASSES] == ([row["category"]] if row["title_evidence"] else [])

        with wave.open(io.BytesIO((manifest.parent / row["voice"]).read_bytes())) as sound:
            waveform = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32767
        assert len(waveform) == 5120
        loud = np.abs(waveform) > 0.002
        assert loud.any() == bool(row["voice_evidence"])
        if where := row["voice_evidence"]:
            start, end, low, high = map(float, where.split())
            at = np.flatnonzero(loud) / planted.RATE
            assert start - 0.001 <= at.min() < start + 0.02
            assert end - 0.02 < at.max() <= end + 0.001
            power = np.abs(np.fft.rfft(waveform))
            assert low < power.argmax() * planted.RATE / len(waveform) < high
            assert (low + high) / 2 == planted.HERTZ[number]

        facts = np.array([float(row[f]) for f in planted.FIELDS])
        features = np.array([float(row[f"feature_{i}"]) for i in range(planted.FEATURES)])
        assert facts.argmax() == number if row["facts_evidence"] else facts.max() < 66
        assert row["facts_evidence"] in ("", planted.FIELDS[number])
        assert features.argmax() == number if row["features_evidence"] else features.max() < 1.6
        assert row["features_evidence"] in ("", f"feature_{number}")


def test_a_seed_makes_the_same_files(written, tmp_path):
    manifest, _ = written
    again = mm.make_planted(tmp_path / "again", rows=120)
    other = mm.make_planted(tmp_path / "other", seed=1, rows=120)
    assert again.read_text() == manifest.read_text() != other.read_text()
    for name in ("photo/e00007.png", "voice/e00007.wav"):
        assert (again.parent / name).read_bytes() == (manifest.parent / name).read_bytes()
