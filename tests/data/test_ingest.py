"""MP4 and AVI files, made here, become folders of frames that a manifest takes."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

import mm_keras.recipe as parts
from mm_keras.cli import app
from mm_keras.data.ingest import ingest, ingest_video
from mm_keras.data.manifest import load
from mm_keras.data.shards.prepare import prepare
from mm_keras.data.tables import read_table
from mm_keras.errors import DataError

av = pytest.importorskip("av")  # an extra; `.[dev]` has it


def write_video(path, frames, codec="mpeg4"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def levels(count):
    """Each frame one grey level, 20 more than the one before."""
    return np.stack([np.full((48, 64, 3), 20 * t + 20, np.uint8) for t in range(count)])


def read(folder):
    return [np.asarray(Picture.open(f)).astype(int) for f in sorted(folder.glob("*.png"))]


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize(("most", "expected"), [(32, range(10)), (4, [1, 3, 6, 8]), (1, [5])])
def test_frames_are_taken_evenly(tmp_path, suffix, most, expected):
    write_video(tmp_path / f"v{suffix}", levels(10))
    frames = read(ingest_video(tmp_path / f"v{suffix}", tmp_path / "out", frames=most))
    assert [f.shape for f in frames] == [(48, 64, 3)] * len(expected)
    # A lossy code of flat pictures: a few levels off, where neighbours are 20 apart.
    np.testing.assert_allclose([f.mean() for f in frames], [20 * t + 20 for t in expected], atol=5)


def test_large_frames_are_shrunk(tmp_path):
    write_video(tmp_path / "v.mp4", levels(2))
    assert [f.shape for f in read(ingest_video(tmp_path / "v.mp4", tmp_path / "out", side=32))] == [(24, 32, 3)] * 2
    assert [f.shape for f in read(ingest_video(tmp_path / "v.mp4", tmp_path / "same", side=99))] == [(48, 64, 3)] * 2


def test_faults_are_named(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match=r"text.mp4: cannot be read as a video"):
        ingest_video(tmp_path / "text.mp4", tmp_path / "out")
    with pytest.raises(DataError, match="there is no such file"):
        ingest_video(tmp_path / "none.mp4", tmp_path / "out")
    write_video(tmp_path / "v.mp4", levels(2))
    folder = ingest_video(tmp_path / "v.mp4", tmp_path / "full")
    with pytest.raises(DataError, match="holds pictures already"):
        ingest_video(tmp_path / "v.mp4", folder)
    with pytest.raises(ValueError, match="`frames` must be at least 1"):
        ingest_video(tmp_path / "v.mp4", tmp_path / "out", frames=0)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_manifest_of_videos(tmp_path, suffix):
    write_video(tmp_path / "a.mp4", levels(6))
    (tmp_path / "broken.avi").write_bytes(b"RIFF\0\0\0\0AVI nothing")
    table = pd.DataFrame({"clip": ["a.mp4", "broken.avi", "a.mp4"], "kind": ["x", "y", "y"]})
    source, out = tmp_path / f"m.{suffix}", tmp_path / f"frames.{suffix}"
    if suffix == "csv":
        table.to_csv(source, index=False)
    elif suffix == "jsonl":
        table.to_json(source, orient="records", lines=True)
    else:
        table.to_parquet(source)
    faults = ingest(source, "clip", out, frames=4)
    assert faults[["row", "value"]].to_numpy().tolist() == [[2, "broken.avi"]]
    assert "holds no video, but nothing" in faults["reason"][0]
    for wrong in (out, tmp_path / "other.txt", tmp_path / "deeper" / f"x.{suffix}"):
        with pytest.raises(DataError, match="the manifest to write must be a new"):
            ingest(source, "clip", wrong)
    if suffix != "csv":
        assert read_table(out)[0]["clip"].tolist() == ["frames/000001", "broken.avi", "frames/000001"]
        return
    recipe = parts.Recipe(
        inputs={"clip": parts.Video(frames=2, size=(8, 8))}, tasks={"kind": parts.Classification(classes=("x", "y"))}
    )
    data = load(out, recipe, split=None, max_bad=1.0)
    assert data.rows.numbers.tolist() == [1, 3]
    found = [path.rsplit("/", 2)[1:] for path in data.rows.cells["clip"][0]]
    assert found == [["000001", "0001.png"], ["000001", "0003.png"]]
    assert "mm-keras ingest" in data.quarantine["reason"][0]


def test_the_command_line(tmp_path):
    write_video(tmp_path / "v.mp4", levels(5))
    result = CliRunner().invoke(app, ["ingest", str(tmp_path / "v.mp4"), "--out", str(tmp_path / "o"), "--frames", "3"])
    assert result.exit_code == 0
    assert "3 frames in" in result.output
    pd.DataFrame({"clip": ["v.mp4"]}).to_csv(tmp_path / "m.csv", index=False)
    call = ["ingest", str(tmp_path / "m.csv"), "--out", str(tmp_path / "n.csv")]
    assert isinstance(CliRunner().invoke(app, call).exception, DataError)
    result = CliRunner().invoke(app, [*call, "--column", "clip"])
    assert result.exit_code == 0
    assert "0 videos could not be converted" in result.output
    assert pd.read_csv(tmp_path / "n.csv")["clip"].tolist() == ["n/000001"]


def test_prepare_takes_the_frames_itself(tmp_path):
    write_video(tmp_path / "a.mp4", levels(10))
    (tmp_path / "b.mp4").write_bytes(b"\0\0\0\x18ftypmp42 nothing behind it")
    frame = pd.DataFrame({"clip": ["a.mp4"] * 9 + ["b.mp4"], "kind": list("ababababab")})
    recipe = parts.Recipe(inputs={"clip": parts.Video(frames=4, size=(8, 8))}, tasks={"kind": parts.Classification()})
    shards = prepare(frame, recipe, tmp_path / "out", root=tmp_path, processes=1, max_bad=0.2, image_side=32)
    assert shards.quarantine()["reason"].str.contains("cannot be read as a video").all()
    stored = load(tmp_path / "out", recipe).train.example(0)["clip"]
    frames = [np.asarray(Picture.open(io.BytesIO(c))) for c in stored]
    assert [f.shape for f in frames] == [(24, 32, 3)] * 4
    # The frames that `ingest` takes; a lossy code of flat pictures is a few levels off, neighbours are 20 apart.
    np.testing.assert_allclose([f.mean() for f in frames], [40, 80, 140, 180], atol=5)
