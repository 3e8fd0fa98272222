"""Every kind of picture file against Pillow, the other implementation."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from conftest import png_bytes
from PIL import Image as Picture

import mm_keras.recipe as parts
from mm_keras.errors import RecipeError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.picture import decode_rgba, probe_jpeg
from mm_keras.preprocessing.raw import preprocess

Y, X = np.mgrid[0:20, 0:28]
SMOOTH = np.stack([X * 9, Y * 12, 255 - X * 4], -1).astype(np.uint8)
ALPHA = (X * 9).astype(np.uint8)
RGB = Picture.fromarray(SMOOTH)
RGBA = Picture.fromarray(np.dstack([SMOOTH, ALPHA]))
MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
GREY, PALETTE = RGB.convert("L"), RGB.quantize(32)


def encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_file(width, height, depth, color, rows, *extra):
    """A PNG written by hand, for headers and depths that Pillow does not write."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bmp_file(pixels, bits=32, masks=None, length=40):
    """A BMP written by hand: `pixels` blue, green, red and a fourth byte, from the bottom row up."""
    body = np.ascontiguousarray(pixels[::-1]).tobytes()
    height, width = pixels.shape[:2]
    head = struct.pack("<IiiHHIIiiII", length, width, height, 1, bits, 3 if masks else 0, len(body), 0, 0, 0, 0)
    head += struct.pack("<4I", *masks) if masks else b""
    head += b"\0" * (length - len(head))
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("jpeg", encoded(RGB, "JPEG", quality=90)),
        ("jpeg progressive", encoded(RGB, "JPEG", progressive=True)),
        ("jpeg without chroma halving", encoded(RGB, "JPEG", subsampling=0)),
        ("jpeg grey", encoded(GREY, "JPEG")),
        ("jpeg CMYK", encoded(RGB.convert("CMYK"), "JPEG")),
        ("png", encoded(RGB, "PNG")),
        ("png grey", encoded(GREY, "PNG")),
        ("png alpha", encoded(RGBA, "PNG")),
        ("png grey alpha", encoded(RGBA.convert("LA"), "PNG")),
        ("png palette", encoded(PALETTE, "PNG")),
        ("png palette of 4 bits", encoded(RGB.quantize(13), "PNG", bits=4)),
        ("png palette of 2 bits", encoded(RGB.quantize(4), "PNG", bits=2)),
        ("png palette with a clear color", encoded(PALETTE, "PNG", transparency=5)),
        ("png palette of 4 bits with a clear color", encoded(RGB.quantize(13), "PNG", bits=4, transparency=3)),
        ("png with a clear color", encoded(RGB, "PNG", transparency=tuple(SMOOTH[3, 4].tolist()))),
        ("png of 1 bit", encoded(GREY.convert("1"), "PNG")),
        ("bmp 24", encoded(RGB, "BMP")),
        ("bmp palette", encoded(PALETTE, "BMP")),
        ("bmp grey", encoded(GREY, "BMP")),
        ("bmp 32", encoded(RGBA, "BMP")),
        ("bmp 32, fourth byte zero", bmp_file(np.dstack([SMOOTH[..., ::-1], 0 * ALPHA]))),
        ("bmp 32 masks", bmp_file(np.dstack([SMOOTH[..., ::-1], ALPHA]), masks=MASKS, length=124)),
        ("gif", encoded(PALETTE, "GIF")),
        ("gif of two frames", encoded(PALETTE, "GIF", save_all=True, append_images=[GREY.quantize(9)])),
    ],
)  # fmt: skip
def test_pixels_equal_those_of_pillow(name, contents):
    expected = np.asarray(Picture.open(io.BytesIO(contents)).convert("RGBA"))
    # Exact, the same libjpeg transform included; what is clear has no color.
    got = np.rint(decode_rgba(tf.constant(contents)).numpy() * 255)
    np.testing.assert_array_equal(got[..., 3], expected[..., 3])
    np.testing.assert_array_equal(got[expected[..., 3] > 0], expected[expected[..., 3] > 0])
    # And what the model gets of it, three channels on white.
    alpha = expected[..., 3:] / 255
    p = build_preprocessor("photo", parts.Image(size=(20, 28)))
    got = p.decode({"photo": tf.constant(contents)}).numpy()
    np.testing.assert_allclose(got, expected[..., :3] / 255 * alpha + (1 - alpha), atol=1e-6)


def test_16_bits_keep_the_high_byte():
    levels = (X * 2000 + Y * 31).astype(np.uint16)
    got = decode_rgba(tf.constant(encoded(Picture.fromarray(levels), "PNG"))).numpy()
    np.testing.assert_array_equal(np.rint(got[..., 1] * 255), levels >> 8)


def test_grey_of_2_bits_written_by_hand():
    rows = b"\0\x1b\0\xe4"  # 0 1 2 3 and 3 2 1 0
    got = decode_rgba(tf.constant(png_file(4, 2, 2, 0, rows))).numpy()
    np.testing.assert_allclose(got[..., 0], np.array([[0, 1, 2, 3], [3, 2, 1, 0]]) / 3, atol=1e-7)
    np.testing.assert_array_equal(got[..., 3], 1.0)


def test_a_transparent_gif_is_black_where_it_is_clear():
    contents = encoded(PALETTE, "GIF", transparency=5)
    clear = np.asarray(Picture.open(io.BytesIO(contents)).convert("RGBA"))[..., 3] == 0
    assert clear.any()
    np.testing.assert_array_equal(decode_rgba(tf.constant(contents)).numpy()[clear], [[0, 0, 0, 1]] * clear.sum())


def decoded(spec, *files):
    """The model tensors and verdicts of files, the way the served model takes them."""
    preprocessors = {"photo": build_preprocessor("photo", spec)}
    run = tf.function(lambda raw: preprocess(preprocessors, raw), autograph=False)
    tensors, fine = run({"photo": tf.constant(list(files))})
    return tensors["photo"].numpy(), fine["photo"].numpy()


LARGE = np.asarray(Picture.fromarray(SMOOTH).resize((28 * 9, 20 * 9), Picture.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("size", "resize", "ratio"),
    [
        ((20, 28), "stretch", 8),  # 23 x 32, an eighth of 180 x 252 rounded up
        ((40, 28), "stretch", 4),  # the height forbids the eighth
        ((23, 32), "stretch", 8),
        ((24, 32), "stretch", 4),
        ((91, 28), "stretch", 1),
        ((23, 100), "pad", 8),  # 23 x 32 on black
        ((200, 300), "stretch", 1),
    ],
)
def test_a_large_jpeg_is_decoded_at_the_smallest_size_that_suffices(size, resize, ratio):
    """Which libjpeg does by leaving out frequencies: the same pixels as Pillow's `draft`, then the same resizing."""
    contents = encoded(Picture.fromarray(LARGE), "JPEG", quality=95)
    spec = parts.Image(size=size, resize=resize, fast_decode=True)
    p = build_preprocessor("photo", spec)
    drafted = Picture.open(io.BytesIO(contents))
    drafted.draft("RGB", (252 // ratio, 180 // ratio))
    drafted = np.asarray(drafted)
    assert drafted.shape[:2] == (-(-180 // ratio), -(-252 // ratio))
    expected = p.scale(tf.constant(drafted, tf.float32) / 255).numpy()
    np.testing.assert_allclose(p.decode({"photo": tf.constant(contents)}).numpy(), expected, atol=1e-6)
    served, fine = decoded(spec, contents, contents)
    assert fine.all()
    np.testing.assert_allclose(served[1], expected, atol=1e-6)  # what is trained is what is served
    whole = build_preprocessor("photo", parts.Image(size=size, resize=resize))
    near = np.abs(whole.decode({"photo": tf.constant(contents)}).numpy() - expected)
    assert near.mean() < 3 / 255


def test_fast_decode_leaves_other_files_as_they_are():
    files = encoded(RGB, "PNG"), encoded(RGBA, "PNG"), encoded(PALETTE, "GIF"), encoded(RGB, "JPEG")
    one, two = (decoded(parts.Image(size=(20, 28), fast_decode=fast), *files)[0] for fast in (False, True))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(RecipeError, match="1 and 3 channels"):
        parts.Image(channels=4, fast_decode=True)


@pytest.mark.parametrize(("background", "level"), [(255, 1.0), (0, 0.0), (51, 0.2)])
def test_transparency_is_composited_on_the_background(background, level):
    spec = parts.Image(size=(20, 28), background=background)
    got, _ = decoded(spec, encoded(RGBA, "PNG"))
    alpha = ALPHA[..., None] / 255
    np.testing.assert_allclose(got[0], SMOOTH / 255 * alpha + level * (1 - alpha), atol=1e-6)


def test_one_and_four_channels():
    got, _ = decoded(parts.Image(size=(20, 28), channels=4), encoded(RGBA, "PNG"))
    np.testing.assert_allclose(got[0], np.asarray(RGBA) / 255, atol=1e-6)
    got, _ = decoded(parts.Image(size=(20, 28), channels=1), encoded(RGB, "PNG"))
    # Pillow rounds its grey to whole levels and weighs 0.299 where TensorFlow has 0.2989.
    np.testing.assert_allclose(got[0, ..., 0], np.asarray(GREY) / 255, atol=1.1 / 255)


def test_stretch_averages_what_it_shrinks():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    got, _ = decoded(parts.Image(size=(4, 4)), png_bytes(pixels))
    with_pillow = Picture.fromarray(pixels).resize((4, 4), Picture.Resampling.BILINEAR)
    np.testing.assert_allclose(got[0], np.asarray(with_pillow) / 255, atol=1 / 255)  # Pillow rounds twice


def test_pad_keeps_the_aspect_on_black():
    white = np.full((10, 30, 3), 255, np.uint8)
    got, _ = decoded(parts.Image(size=(12, 12), resize="pad"), png_bytes(white))
    expected = np.zeros((12, 12, 3))
    expected[4:8] = 1.0
    np.testing.assert_allclose(got[0], expected, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(20, 10), (5, 40), (12, 12), (3, 3)])
def test_the_original_lies_where_the_padded_picture_does(height, width):
    white = np.full((height, width, 3), 255, np.uint8)
    p = build_preprocessor("photo", parts.Image(size=(12, 12), resize="pad"))
    original, place = p.original(png_bytes(white))
    np.testing.assert_array_equal(original, white)
    seen = p.decode({"photo": tf.constant(png_bytes(white))}).numpy()
    inside = np.zeros(seen.shape, bool)
    inside[place] = True
    np.testing.assert_array_equal(seen > 0.5, inside)


def test_a_very_flat_picture_can_be_padded():
    white = np.full((1, 300, 3), 255, np.uint8)
    got, fine = decoded(parts.Image(size=(12, 12), resize="pad"), png_bytes(white))
    assert fine.tolist() == [True]
    assert got[0].max() == 1.0


GOOD = [encoded(RGB, "PNG"), encoded(RGB, "JPEG")]
BAD = {
    "text": b"hello, I am no picture",
    "one byte": b"\x89",
    "cut jpeg": GOOD[1][: len(GOOD[1]) // 2],
    "cut png": GOOD[0][: len(GOOD[0]) // 2],
    "png header alone": GOOD[0][:30],
    "cut bmp": encoded(RGB, "BMP")[:300],
    "bmp header alone": b"BM" + b"\0" * 20,
    "bmp in other masks": bmp_file(np.dstack([SMOOTH, ALPHA]), masks=(0xFF, 0xFF00, 0xFF0000, 0), length=56),
    "bmp run lengths": encoded(PALETTE, "BMP")[:30] + b"\1" + encoded(PALETTE, "BMP")[31:],
    "cut gif": encoded(PALETTE, "GIF")[:40],
    "webp": encoded(RGB, "WEBP"),
    "sound": b"RIFF\x24\0\0\0WAVEfmt ",
    "png of 40000 x 40000": png_file(40_000, 40_000, 8, 2, b"\0" * 100),
    "png of negative size": png_file(2**31 + 5, 1, 8, 2, b"\0" * 100),
    "gif of 65535 x 65535": b"GIF89a\xff\xff\xff\xff" + encoded(PALETTE, "GIF")[10:],
    "jpeg of 65500 x 65500": GOOD[1].replace(struct.pack(">HH", 20, 28), struct.pack(">HH", 65500, 65500), 1),
}


def test_bad_files_leave_their_neighbours_alone():
    spec = parts.Image(size=(8, 8))
    alone, _ = decoded(spec, *GOOD)
    got, fine = decoded(spec, GOOD[0], *BAD.values(), GOOD[1])
    assert dict(zip(BAD, fine[1:-1], strict=True)) == dict.fromkeys(BAD, False)
    assert fine[[0, -1]].tolist() == [True, True]
    np.testing.assert_array_equal(got[[0, -1]], alone)
    np.testing.assert_array_equal(got[1:-1], 0.0)


def test_empty_bytes_are_missing_and_fine():
    got, fine = decoded(parts.Image(size=(8, 8)), b"", GOOD[0])
    assert fine.tolist() == [True, True]
    np.testing.assert_array_equal(got[0], 0.0)
    assert got[1].max() > 0


def test_draw_inverts():
    spec = parts.Image(size=(20, 28))
    got, _ = decoded(spec, encoded(RGB, "PNG"))
    np.testing.assert_array_equal(build_preprocessor("photo", spec).draw(got[0]), SMOOTH)
    grey = build_preprocessor("photo", parts.Image(channels=1)).draw(np.full((2, 2, 1), 0.5))
    assert grey.shape == (2, 2, 3)
    assert (grey == 128).all()


def test_augmentation_moves_pixels_but_not_blanks():
    p = build_preprocessor("photo", parts.Image(size=(8, 8), shift=0.25, flip=True))
    column = np.tile(np.arange(1, 9, dtype=np.float32)[None, :, None] / 8, (8, 1, 3))
    seen = p.augment(tf.constant(np.stack([column] * 200)), tf.constant([3, 1]))
    seen = {tuple(row) for row in np.rint(seen.numpy()[:, 0, :, 0] * 8)}
    rows = [np.pad(np.arange(1, 9), 2, "symmetric")[i : i + 8] for i in range(5)]
    assert seen == {tuple(float(v) for v in r) for row in rows for r in (row, row[::-1])}
    np.testing.assert_array_equal(p.augment(tf.zeros([2, 8, 8, 3]), tf.constant([3, 1])), 0.0)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_is_proven_at_an_eighth_of_its_size(options):
    """What the cheap proof takes is what the decoder takes, cut and corrupt files included."""
    rng, verdicts = np.random.default_rng(0), []
    whole = encoded(Picture.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)), "JPEG", **options)
    cases = [whole, whole[:-1], whole[:-2], *(whole[:size] for size in rng.integers(10, len(whole), 15))]
    for place in rng.integers(2, len(whole), 25):
        cases.append(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
    one = [tf.TensorSpec([], tf.string)]
    proven, decoded = (tf.function(f, input_signature=one) for f in (probe_jpeg, decode_rgba))
    for case in cases:
        found = []
        for function in (proven, decoded):
            try:
                function(case)
                found.append(True)
            except tf.errors.InvalidArgumentError:
                found.append(False)
        assert found[0] == found[1]
        verdicts.append(found[0])
    assert 5 < sum(verdicts) < len(cases) - 5
