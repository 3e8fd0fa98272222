"""JPEG, PNG, GIF and BMP bytes -> RGBA pixels, in core graph ops, so that training and TF Serving see the same."""

import tensorflow as tf

# Checked in the header, since decoders take the memory that a file declares before they read it. 64 megapixels are
# 1 GiB as float32 RGBA.
MAX_PIXELS = 2**26
NO_PICTURE = "not a JPEG, PNG, GIF or BMP"


def why_no_picture(contents):
    """Returns string of the shape of `contents`: why bytes that are not empty could not be decoded."""
    known = tf.zeros(tf.shape(contents), tf.bool)
    for magic in (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM"):
        known |= tf.equal(tf.strings.substr(contents, 0, len(magic)), magic)
    return tf.where(known, f"cut, corrupt or over {MAX_PIXELS} pixels", NO_PICTURE)


def decode_rgba(contents):
    """Returns float32 `(height, width, 4)` in [0, 1]; pictures without transparency get alpha 1.

    A transparent GIF is black where it is clear, since the decoder does not tell. EXIF orientation is not applied.

    Args:
        contents: Scalar string, the bytes of the file.

    Raises:
        InvalidArgumentError: In the graph, when the bytes are not a whole picture or declare more than `MAX_PIXELS`.
    """
    formats = {b"\xff\xd8\xff": _jpeg, b"\x89PNG": _png, b"GIF8": _gif, b"BM": _bmp}
    branches = [
        (tf.equal(tf.strings.substr(contents, 0, len(magic)), magic), lambda read=read: read(contents))
        for magic, read in formats.items()
    ]
    decoded = tf.case(branches, default=_unknown)
    return tf.cast(tf.ensure_shape(decoded, [None, None, 4]), tf.float32) / 255.0


def decode_color(contents, background, least=None):
    """Returns float32 `(height, width, 3)` in [0, 1], transparency composited on a grey level.

    Equal to compositing `decode_rgba`, without its detours for the opaque files that most pictures are.

    Args:
        contents: Scalar string, the bytes of the file.
        background: Grey level in [0, 1].
        least: As `decode_jpeg` takes it. Defaults to `None`.

    Raises:
        InvalidArgumentError: As `decode_rgba`.
    """
    # Told apart first: most files are JPEG, and need none of the look at a PNG's header.
    return tf.cond(
        is_jpeg(contents),
        lambda: _opaque(decode_jpeg(contents, least)),
        lambda: _no_jpeg_color(contents, background),
    )


def is_jpeg(contents):
    """Whether the bytes, a scalar string, begin as those of a JPEG do."""
    return tf.equal(tf.strings.substr(contents, 0, 3), b"\xff\xd8\xff")


def _opaque(pixels):
    return tf.cast(tf.ensure_shape(pixels, [None, None, 3]), tf.float32) / 255.0


def _no_jpeg_color(contents, background):
    head = tf.strings.substr(contents, 0, 41)
    ints = tf.cast(tf.io.decode_raw(tf.strings.join([head, b"\0" * 41]), tf.uint8), tf.int32)
    # 8 bits, grey or RGB, at most 4095 x 4095, and the pixels right behind the header: no clear colour between.
    plain_png = tf.reduce_all(tf.equal(tf.gather(ints, _PLAIN_AT), _PLAIN))
    plain_png &= tf.reduce_all(tf.gather(ints, (18, 22)) < 16) & (tf.equal(ints[25], 0) | tf.equal(ints[25], 2))

    def composited():
        rgba = decode_rgba(contents)
        return rgba[..., :3] * rgba[..., 3:] + background * (1.0 - rgba[..., 3:])

    return tf.cond(plain_png, lambda: _opaque(tf.io.decode_png(contents, channels=3)), composited)


def probe_picture(contents):
    """Returns a number that costs what proving takes: that `decode_color` and `decode_rgba` do not fail.

    Args:
        contents: Scalar string, the bytes of the file.

    Raises:
        InvalidArgumentError: As `decode_rgba`.
    """
    return tf.size(decode_rgba(contents))


def probe_jpeg(contents):
    """As `probe_picture` of a JPEG: it is read to its end, but put together at an eighth of its size."""
    height, width, _ = tf.unstack(tf.image.extract_jpeg_shape(contents))
    with tf.control_dependencies([check_size(height, width)]):
        return _eighth(contents)


def probe_jpegs(contents):
    """As `probe_jpeg` of each of a few, strings `(count,)`; fails when one does. It takes fewer steps for each."""
    each = tf.unstack(contents)
    sides = tf.cast(tf.stack([tf.image.extract_jpeg_shape(content)[:2] for content in each]), tf.int64)
    with tf.control_dependencies([check_size(tf.reduce_max(tf.reduce_prod(sides, axis=1)), 1)]):
        return tf.add_n([_eighth(content) for content in each])


def _eighth(contents):
    return tf.size(tf.io.decode_jpeg(contents, channels=3, ratio=8))


# Bytes of a PNG: signature and IHDR, the high bytes of width and height, the bit depth, and `IDAT`.
_PLAIN_AT = (*range(16), 16, 17, 20, 21, 24, *range(37, 41))
_PLAIN = (*b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 0, 0, 0, 0, 8, *b"IDAT")


def _unknown():
    with tf.control_dependencies([tf.debugging.Assert(False, ["not a JPEG, PNG, GIF or BMP"])]):
        return tf.zeros([0, 0, 4], tf.uint8)


def _jpeg(contents):
    return _rgba(decode_jpeg(contents))


def decode_jpeg(contents, least=None):
    """Returns uint8 `(height, width, 3)`.

    Args:
        contents: Scalar string, the bytes of a JPEG file.
        least: Function of the declared `(height, width)`, int32, that gives which sides are enough. The picture is
            then decoded at a half, a quarter or an eighth, the smallest that has them: the decoder leaves out the
            fine frequencies, which costs a fraction of the time. Defaults to `None`, the full size.
    """
    height, width, _ = tf.unstack(tf.image.extract_jpeg_shape(contents))
    with tf.control_dependencies([check_size(height, width)]):
        if least is None:
            return _jpeg_at(contents, 1)
        sides = tf.stack([height, width])
        enough = tf.convert_to_tensor(least(sides))
        # The decoder rounds up. Each of the three must suffice; larger ones suffice when smaller ones do.
        fits = [tf.reduce_all((sides + ratio - 1) // ratio >= enough) for ratio in (2, 4, 8)]
        steps = tf.reduce_sum(tf.cast(tf.stack(fits), tf.int32))
        return tf.switch_case(steps, [lambda ratio=ratio: _jpeg_at(contents, ratio) for ratio in (1, 2, 4, 8)])


def _jpeg_at(contents, ratio):
    # The accurate transform is the one of Pillow and of phones; the default is off by up to 4 of 255.
    pixels = tf.io.decode_jpeg(contents, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(pixels, [None, None, 3])


def _png(contents):
    header = _bytes(contents, 16, 9)
    width, height = (tf.reduce_sum(header[at : at + 4] * [2**24, 2**16, 2**8, 1]) for at in (0, 4))
    with tf.control_dependencies([check_size(height, width)]):
        # `channels=4` gives files of less than 8 bits a wrong alpha, `channels=0` forgets the clear colour of others.
        return tf.cond(
            header[8] < 8,
            lambda: _rgba(tf.io.decode_png(contents, channels=0)),
            lambda: tf.io.decode_png(contents, channels=4),
        )


def _gif(contents):
    width, height = (tf.reduce_sum(_bytes(contents, at, 2) * [1, 2**8]) for at in (6, 8))
    with tf.control_dependencies([check_size(height, width)]):
        return _rgba(tf.io.decode_image(contents, channels=3, expand_animations=False))


def _bmp(contents):
    """BMP of 8 bits with a palette, of 24, or of 32 with or without alpha; the decoder knows no palettes, no masks."""
    header = _bytes(tf.strings.join([contents, b"\0" * 70]), 14, 56)
    length, bits, coding = tf.reduce_sum(header[:2] * [1, 2**8]), header[14], header[16]
    usual = tf.reduce_all(tf.equal(header[40:52], [0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0]))
    plain = tf.equal(coding, 0) | (tf.equal(coding, 3) & tf.equal(bits, 32) & usual)
    with tf.control_dependencies([tf.debugging.Assert(plain, ["BMP coding is not read: coding, bits", coding, bits])]):
        pixels = tf.io.decode_bmp(contents, channels=0)
    # Without a mask that says so, the fourth byte is padding, whatever it holds.
    has_alpha = tf.equal(coding, 3) & (length >= 56) & tf.reduce_all(tf.equal(header[52:56], [0, 0, 0, 255]))

    def palette():
        start = 14 + tf.cast(length, tf.int32)
        table = tf.io.decode_raw(tf.strings.substr(contents, start, tf.strings.length(contents) - start), tf.uint8)
        table = tf.reshape(table[: tf.size(table) // 4 * 4], [-1, 4])[:256, 2::-1]  # stored as blue, green, red, 0
        return _rgba(tf.gather(table, tf.cast(pixels[..., 0], tf.int32)))

    def colors():
        return _rgba(tf.cond(has_alpha, lambda: pixels, lambda: pixels[..., :3]))

    return tf.cond(tf.equal(bits, 8), palette, colors)


def _rgba(pixels):
    """Turns grey, grey and alpha, RGB or RGBA, told by the number of channels, into RGBA."""
    channels = tf.shape(pixels)[-1]
    color = tf.gather(pixels, tf.where(channels < 3, [0, 0, 0], [0, 1, 2]), axis=-1)
    return tf.concat([color, tf.where(tf.equal(channels % 2, 0), pixels[..., -1:], 255)], -1)


def _bytes(contents, at, count):
    return tf.cast(tf.io.decode_raw(tf.strings.substr(contents, at, count), tf.uint8), tf.int64)


def check_size(height, width):
    """Returns the op that fails where a picture declares more than `MAX_PIXELS`."""
    small = tf.cast(height, tf.int64) * tf.cast(width, tf.int64) <= MAX_PIXELS
    return tf.debugging.Assert(small, ["more pixels than allowed: height, width", height, width])
