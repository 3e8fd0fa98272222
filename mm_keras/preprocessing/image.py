"""Bytes of a picture -> float32 pixels in [0, 1], of the size that the model takes."""

import numpy as np
import tensorflow as tf

from mm_keras.preprocessing.picture import decode_rgba
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
            pixels = self._padded(pixels)
        else:
            pixels = tf.image.resize(pixels, self.spec.size, antialias=True)
        return tf.clip_by_value(pixels, 0.0, 1.0)

    def _padded(self, pixels):
        # `tf.image.resize_with_pad` fails where a side of a very flat picture rounds to zero.
        size = tf.cast(tf.shape(pixels)[:2], tf.float32)
        inner = tf.maximum(tf.cast(tf.floor(size * tf.reduce_min(self.spec.size / size) + 1e-4), tf.int32), 1)
        top, left = tf.unstack((self.spec.size - inner) // 2)
        return tf.image.pad_to_bounding_box(tf.image.resize(pixels, inner, antialias=True), top, left, *self.spec.size)

    def augment(self, pixels, seed):
        """One row in training: a random shift on a border that repeats the edge, and a random mirror."""
        height, width, channels = self.tensor.shape
        if self.spec.shift:
            dy, dx = (round(self.spec.shift * side) for side in (height, width))
            blank = tf.reduce_all(tf.equal(pixels, 0.0))
            padded = tf.pad(pixels, [[dy, dy], [dx, dx], [0, 0]], "SYMMETRIC")
            shifted = tf.image.stateless_random_crop(padded, (height, width, channels), seed)
            pixels = tf.where(blank, pixels, shifted)
        if self.spec.flip:
            pixels = tf.image.stateless_random_flip_left_right(pixels, seed + 1)
        return pixels

    def draw(self, tensor):
        """Returns uint8 `(height, width, 3 or 4)` for a person to look at."""
        pixels = np.clip(np.rint(np.asarray(tensor) * 255), 0, 255).astype(np.uint8)
        return np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels


def read_file(path):
    """Returns the bytes of a file; an empty path gives empty bytes."""
    return tf.cond(tf.equal(path, ""), lambda: tf.constant(b""), lambda: tf.io.read_file(path))
