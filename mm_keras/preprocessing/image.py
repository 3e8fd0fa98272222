"""JPEG, PNG, GIF and BMP bytes -> float32 pixels in [0, 1]."""

import numpy as np
import tensorflow as tf

from mm_keras.recipe import TensorInfo


class ImagePreprocessor:
    """Decodes, composites, resizes and scales pictures.

    Args:
        name: The input's name, which is also its served field.
        spec: A `recipe.Image`.
        state: Unused; pictures need no statistics.
    """

    reads_files = True
    row_wise = True

    def __init__(self, name, spec, state=None):
        self.name, self.spec, self.state = name, spec, state or {}
        self.raw_specs = {name: tf.TensorSpec([], tf.string)}
        self.blank = {name: b""}

    @property
    def tensor(self):
        return TensorInfo(shape=(*self.spec.size, self.spec.channels))

    @property
    def decoded_shape(self):
        return self.tensor.shape

    def adapt(self, cells):
        """Nothing to learn."""

    def read(self, cell):
        return {self.name: read_file(cell)}

    def decode(self, raw):
        """One row: bytes -> float32 `(height, width, channels)` in [0, 1]; empty bytes give zeros."""
        contents, shape = raw[self.name], self.tensor.shape
        pixels = tf.cond(
            tf.equal(tf.strings.length(contents), 0),
            lambda: tf.zeros(shape),
            lambda: self._pixels(contents),
        )
        return tf.ensure_shape(pixels, shape)

    def finish(self, batch):
        return batch

    def _pixels(self, contents):
        rgba = decode_rgba(contents)
        color, alpha = rgba[..., :3], rgba[..., 3:]
        if self.spec.channels == 4:
            pixels = rgba
        else:
            pixels = color * alpha + self.spec.background / 255 * (1.0 - alpha)
        if self.spec.channels == 1:
            pixels = tf.image.rgb_to_grayscale(pixels)
        if self.spec.resize == "pad":
            pixels = tf.image.resize_with_pad(pixels, *self.spec.size, antialias=True)
        else:
            pixels = tf.image.resize(pixels, self.spec.size, antialias=True)
        return tf.clip_by_value(pixels, 0.0, 1.0)

    def augment(self, pixels, seed):
        """One row in training: a random shift on a border that repeats the edge, and a random mirror."""
        height, width, channels = self.tensor.shape
        if self.spec.shift:
            dy, dx = (int(round(self.spec.shift * side)) for side in (height, width))
            blank = tf.reduce_all(tf.equal(pixels, 0.0))
            padded = tf.pad(pixels, [[dy, dy], [dx, dx], [0, 0]], "SYMMETRIC")
            shifted = tf.image.stateless_random_crop(padded, (height, width, channels), seed)
            pixels = tf.where(blank, pixels, shifted)
        if self.spec.flip:
            pixels = tf.image.stateless_random_flip_left_right(pixels, seed + 1)
        return pixels

    def draw(self, tensor):
        """Returns uint8 `(height, width, 3 or 4)` for a person to look at."""
        pixels = np.clip(np.asarray(tensor) * 255, 0, 255).astype(np.uint8)
        return np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels


def read_file(path):
    """Returns the bytes of a file; an empty path gives empty bytes."""
    return tf.cond(tf.equal(path, ""), lambda: tf.constant(b""), lambda: tf.io.read_file(path))


def decode_rgba(contents):
    """Returns float32 `(height, width, 4)` in [0, 1]; pictures without transparency get alpha 1.

    Raises:
        InvalidArgumentError: In the graph, when the bytes are not a whole picture.
    """
    head = tf.strings.substr(contents, 0, 2)
    decoded = tf.case(
        [(tf.equal(head, b"\x89P"), lambda: tf.io.decode_png(contents, channels=4)), (tf.equal(head, b"BM"), lambda: _bmp(contents))],
        default=lambda: _opaque(tf.io.decode_image(contents, channels=3, expand_animations=False)),
    )
    decoded = tf.ensure_shape(decoded, [None, None, 4])
    return tf.cast(decoded, tf.float32) / 255.0


def _opaque(rgb):
    rgb = tf.ensure_shape(rgb, [None, None, 3])
    return tf.concat([rgb, tf.fill([*tf.unstack(tf.shape(rgb)[:2]), 1], tf.constant(255, tf.uint8))], -1)


def _bmp(contents):
    """BMP of 8, 24 or 32 bits. `decode_bmp` takes the palette's indices of 8-bit files for grey; they are looked up."""
    header = tf.cast(tf.io.decode_raw(tf.strings.substr(contents, 14, 16), tf.uint8), tf.int32)
    bits = header[14]

    def palette():
        indices = tf.io.decode_bmp(contents, channels=1)[..., 0]
        start = 14 + header[0] + 256 * header[1]
        table = tf.io.decode_raw(tf.strings.substr(contents, start, tf.strings.length(contents) - start), tf.uint8)
        table = tf.reshape(table[: tf.size(table) // 4 * 4], [-1, 4])[:256, 2::-1]  # stored as blue, green, red, 0
        return _opaque(tf.gather(table, tf.cast(indices, tf.int32)))

    return tf.switch_case(
        tf.where(tf.equal(bits, 8), 0, tf.where(tf.equal(bits, 32), 1, 2)),
        [palette, lambda: tf.io.decode_bmp(contents, channels=4), lambda: _opaque(tf.io.decode_bmp(contents, channels=3))],
    )
