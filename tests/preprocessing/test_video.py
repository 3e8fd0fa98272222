"""GIFs and frames against Pillow and by hand; what is cut, too large or coded is refused."""

import io
from functools import cache

import numpy as np
import pytest
import tensorflow as tf
from conftest import gif_bytes, png_bytes
from PIL import Image as Picture
from PIL import ImageSequence

import mm_keras.recipe as parts
from mm_keras.errors import DataError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.image import ImagePreprocessor
from mm_keras.preprocessing.parts import list_frames, sample_evenly, split_paths
from mm_keras.preprocessing.raw import preprocess, raw_batch

RNG = np.random.default_rng(0)


@cache
def video(**settings):
    return build_preprocessor("clip", parts.Video(**{"frames": 4, "size": (8, 10), **settings}))


@cache
def compiled(p):
    """Traced once: run as it is, `preprocess` would trace the decoder for every row."""
    spec = {"clip": tf.TensorSpec([None, *p.raw_specs["clip"].shape], tf.string)}
    return tf.function(lambda raw: preprocess({"clip": p}, raw), input_signature=[spec], autograph=False)


def encoded(p, *values):
    raw = raw_batch({"clip": p}, [{"clip": value} for value in values])
    tensors, fine = compiled(p)({"clip": tf.constant(raw["clip"])})
    return tensors["clip"].numpy(), fine["clip"].numpy().tolist()


def dots(count, height=8, width=10):
    frames = np.zeros((count, height, width, 3), np.uint8)
    for t in range(count):
        frames[t, t % height, t % width] = 255
    return frames


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(8, 8, range(8)), (3, 8, range(3)), (9, 3, [1, 4, 7]), (10, 4, [1, 3, 6, 8]), (7, 1, [3]), (0, 4, [])],
)
def test_frames_are_the_middles_of_equal_parts(count, most, expected):
    assert sample_evenly(count, most) == list(expected)


def test_a_sample_is_distinct_and_symmetric():
    for count in range(1, 60):
        for most in range(1, 20):
            got = sample_evenly(count, most)
            assert len(set(got)) == len(got) == min(count, most)
            # The same distance to both ends, but for the rounding of half a frame.
            assert abs(got[0] - (count - 1 - got[-1])) <= 1


@pytest.mark.parametrize("count", [1, 3, 4, 11])
def test_a_gif_its_frames_and_an_array_are_one_video(count, tmp_path):
    frames, p = dots(count), video()
    for t, frame in enumerate(frames):
        (tmp_path / f"frame {t}.png").write_bytes(png_bytes(frame))
    paths = [tmp_path / f"frame {t}.png" for t in range(count)]
    texts = ";".join(map(str, paths))
    gif, pngs = gif_bytes(frames), [png_bytes(frame) for frame in frames]
    ways = (gif, [gif, None], pngs, frames, paths, texts, tmp_path)
    got, fine = encoded(p, *ways)
    expected = np.zeros((4, 8, 10, 3), np.float32)
    chosen = sample_evenly(count, 4)
    expected[: len(chosen)] = frames[chosen] / 255
    assert all(fine)
    for row in got:
        np.testing.assert_allclose(row, expected, atol=1e-6)
    assert p.draw(got[0]).shape == (len(chosen), 8, 10, 3)
    np.testing.assert_array_equal(p.draw(got[0]), frames[chosen])


@pytest.mark.slow
def test_frames_are_scaled_as_pictures_are():
    frames = RNG.integers(1, 256, (4, 13, 9, 3), dtype=np.uint8)
    for resize, channels in (("stretch", 3), ("pad", 3), ("stretch", 1)):
        own = {"size": (8, 10), "resize": resize, "channels": channels}
        single = ImagePreprocessor("photo", parts.Image(**own))
        expected = [single.decode({"photo": tf.constant(png_bytes(frame))}).numpy() for frame in frames]
        got, _ = encoded(video(**own), frames)
        np.testing.assert_allclose(got[0], expected, atol=1e-6)


def test_frames_that_hold_only_what_changed_are_as_pillow_shows_them():
    """Encoders crop a frame to what is new and leave the rest clear."""
    frames = np.full((5, 24, 32, 3), 200, np.uint8)
    for t in range(5):
        frames[t, 4 + 2 * t : 8 + 2 * t, 5 * t : 5 * t + 6] = (10 * t, 90, 255 - 40 * t)
    file = io.BytesIO()
    first, *others = [Picture.fromarray(f).quantize(32) for f in frames]
    first.save(file, "GIF", save_all=True, append_images=others, optimize=True, duration=40)
    with Picture.open(io.BytesIO(file.getvalue())) as gif:
        shown = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(gif)]
    assert len(shown) == 5
    got, fine = encoded(video(frames=5, size=(24, 32)), file.getvalue())
    assert fine == [True]
    np.testing.assert_allclose(got[0], np.stack(shown) / 255, atol=1e-6)


def test_a_black_frame_is_a_frame_and_a_black_video_is_missing():
    frames = dots(3)
    frames[1] = 0
    got, fine = encoded(video(), gif_bytes(frames), np.zeros((3, 8, 10, 3), np.uint8), None, [], "")
    assert all(fine)
    np.testing.assert_allclose(got[0, 1], 1 / 255)
    np.testing.assert_allclose(got[0, [0, 2]], frames[[0, 2]] / 255, atol=1e-6)
    np.testing.assert_array_equal(got[0, 3], 0)
    np.testing.assert_array_equal(got[1:], 0)


def message(contents):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        video().decode({"clip": tf.constant([contents])})
    return str(caught.value)


def bomb():
    """The header of a 30000 x 2000 picture, then 5000 frames of one pixel each, 20 bytes a frame."""
    size = (30_000).to_bytes(2, "little") + (2_000).to_bytes(2, "little")
    header = b"GIF89a" + size + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    frame = b"\x21\xf9\x04\0\0\0\0\0" + b"\x2c\0\0\0\0\1\0\1\0\0" + b"\x02\x02\x44\x01\0"
    return header + 5000 * frame + b";"


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"no video at all", "not a JPEG, PNG, GIF or BMP"),
        (gif_bytes(dots(5))[:-30], "the GIF is cut: it lacks its end"),
        (b"GIF8", "the GIF is cut"),
        (b"GIF89a;", "GIF"),
        (gif_bytes(dots(5))[:40] + b";", "Invalid GIF"),
        (bomb(), "more pixels than allowed: frames, height, width"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "MP4, AVI and WebM are converted first: mm-keras ingest"),
        (b"RIFF\x24\0\0\0AVI LIST", "mm-keras ingest"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0", "mm-keras ingest"),
    ],
)
def test_bad_videos_are_refused_with_the_reason(contents, reason):
    assert reason in message(contents)
    good = gif_bytes(dots(2))
    got, fine = encoded(video(), good, contents, [png_bytes(dots(1)[0]), contents])
    assert fine == [True, False, False] if not contents.startswith(b"GIF") else fine[:2] == [True, False]
    assert got[0].any()
    np.testing.assert_array_equal(got[1], 0)


def test_a_large_honest_gif_is_no_bomb():
    noise = RNG.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)  # bytes of every kind between frames
    assert encoded(video(), gif_bytes(noise))[1] == [True]


def test_folders_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("frame10.png", "frame9.PNG", "frame1.jpg", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    assert [path.rsplit("/", 1)[-1] for path in list_frames(tmp_path)] == ["frame1.jpg", "frame9.PNG", "frame10.png"]
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="the folder holds no pictures"):
        list_frames(tmp_path / "none")


def test_paths_of_a_cell():
    assert split_paths("a.png; b c.png;;") == ["a.png", "b c.png", "", ""]
    assert split_paths(" ") == []
    assert split_paths(["a;b.png", None]) == ["a;b.png", ""]
    for wrong in (3, {"a": 1}, [1.5]):
        with pytest.raises(ValueError, match="expected"):
            split_paths(wrong)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "example 0, field 'clip': expected a list of paths, or a text with ';' between them. Received: 3"),
        (["/none/1.png"], "example 0, field 'clip': cannot read '/none/1.png': No such file or directory"),
        (np.zeros((2, 8, 10, 3)), "expected uint8 (height, width), or with 1, 3 or 4 channels"),
    ],
)
def test_faults_of_an_example_are_named(value, text):
    with pytest.raises(DataError) as caught:
        raw_batch({"clip": video()}, [{"clip": value}])
    assert text in str(caught.value)
