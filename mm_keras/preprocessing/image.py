"""Bytes of a picture -> float32 pixels in [0, 1], of the size that the model takes."""

import json

import numpy as np
import tensorflow as tf

from mm_keras.preprocessing.augmentation import pictures, stream
from mm_keras.preprocessing.picture import decode_color, decode_jpeg, decode_rgba, is_jpeg, why_no_picture
from mm_keras.preprocessing.preprocessor import Preprocessor
from mm_keras.recipe import TensorInfo
from mm_keras.recipe.hub import is_preset, read_part


class ImagePreprocessor(Preprocessor):
    """Decodes, composites, resizes and scales pictures.

    Args:
        name: The input's name, which is also its served field.
        spec: A `recipe.Image`.
        state: `{"network": {...}}` for the preset of an encoder `hub`; else empty, for pictures need no statistics.
    """

    reads_files = True
    row_wise = True
    most_bytes = 2**26

    @property
    def tensor(self):
        network = json.dumps(self.state["network"]) if "network" in self.state else ""
        return TensorInfo(shape=(*self.spec.size, self.spec.channels), network=network)

    def adapt(self, cells):
        """Nothing to learn of the cells; of a KerasHub preset, its network and the scale of its pixels."""
        folder = self.spec.encoder.weights
        if self.spec.encoder_kind == "hub" and folder and is_preset(folder):
            self.state = {"network": {"backbone": read_part(folder, "config"), **_pixel_scale(folder)}}

    def read(self, cell):
        return {self.name: read_file(cell)}

    def decode(self, raw):
        """One row: bytes -> float32 `(height, width, channels)` in [0, 1]; empty bytes give zeros."""
        if self.spec.whole_levels:
            return self.unpack(self.decode_packed(raw))
        return self._unless_empty(raw[self.name], tf.float32, self._pixels)

    @property
    def packed_dtype(self):
        return "uint8" if self.spec.whole_levels else "float32"

    def decode_packed(self, raw):
        """As `decode`, in `packed_dtype`: with `whole_levels` uint8 in 0..255."""
        if not self.spec.whole_levels:
            return self.decode(raw)
        return self._unless_empty(raw[self.name], tf.uint8, self._levels)

    def unpack(self, batch):
        """What `decode_packed` gave, of any leading axes -> what `decode` gives."""
        return tf.cast(batch, tf.float32) / 255.0 if batch.dtype == tf.uint8 else batch

    def _unless_empty(self, contents, dtype, read):
        shape = self.tensor.shape
        empty = tf.equal(tf.strings.length(contents), 0)
        return tf.ensure_shape(tf.cond(empty, lambda: tf.zeros(shape, dtype), lambda: read(contents)), shape)

    def _levels(self, contents):
        def of_any():
            return _rounded(self._pixels(contents))

        def of_jpeg():
            pixels = decode_jpeg(contents, self._enough())
            # Most often nothing is left to do, and no float is made of a pixel.
            return tf.cond(self._fits(pixels), lambda: pixels, lambda: _rounded(self.scale(self.unpack(pixels))))

        return tf.cond(is_jpeg(contents), of_jpeg, of_any) if self.spec.channels == 3 else of_any()

    def why(self, raw):
        """Returns string `(batch,)`: what is wrong with bytes that cannot be decoded."""
        return why_no_picture(raw[self.name])

    def _pixels(self, contents):
        if self.spec.channels == 4:
            pixels = decode_rgba(contents)
        else:
            pixels = decode_color(contents, self.spec.background / 255, self._enough())
        return self.scale(pixels)

    def _enough(self):
        """Returns which sides of a JPEG of some sides suffice, for `decode_jpeg`; `None` takes all of it."""
        if not self.spec.fast_decode:
            return None
        if self.spec.resize == "pad":
            return lambda sides: self._inner(sides)[1]
        return lambda sides: self.spec.size

    def _fits(self, pixels):
        return tf.reduce_all(tf.equal(tf.shape(pixels)[:2], self.spec.size))

    def scale(self, pixels):
        """Opaque RGB, or RGBA where the input has 4 channels, in [0, 1] -> the size and channels of the tensor."""
        if self.spec.channels == 1:
            pixels = tf.reduce_sum(pixels * pictures.GREY, axis=-1, keepdims=True)
        return tf.cond(self._fits(pixels), lambda: pixels, lambda: tf.clip_by_value(self._resized(pixels), 0.0, 1.0))

    def _resized(self, pixels):
        if self.spec.resize == "pad":
            return self._padded(pixels)
        return tf.image.resize(pixels, self.spec.size, antialias=True)

    def _padded(self, pixels):
        (top, left), inner = self._inner(tf.shape(pixels)[:2])
        return tf.image.pad_to_bounding_box(tf.image.resize(pixels, inner, antialias=True), top, left, *self.spec.size)

    def _inner(self, size):
        # `tf.image.resize_with_pad` fails where a side of a very flat picture rounds to zero.
        size = tf.cast(size, tf.float32)
        inner = tf.maximum(tf.cast(tf.floor(size * tf.reduce_min(self.spec.size / size) + 1e-4), tf.int32), 1)
        return tf.unstack((self.spec.size - inner) // 2), inner

    def original(self, contents):
        """Returns a picture as it came, for a person, and where it lies in the tensor.

        Args:
            contents: Bytes, decoded as `decode` does.

        Returns:
            `(uint8 (height, width, 3 or 4), (slice of rows, slice of columns))`.
        """
        if self.spec.channels == 4:
            pixels = decode_rgba(contents)
        else:
            pixels = decode_color(contents, self.spec.background / 255)
        size = pixels.shape[:2]
        if self.spec.channels == 1:
            pixels = tf.reduce_sum(pixels * pictures.GREY, axis=-1, keepdims=True)
        place = slice(0, self.spec.size[0]), slice(0, self.spec.size[1])
        if self.spec.resize == "pad" and tuple(size) != tuple(self.spec.size):
            starts, inner = self._inner(size)
            place = tuple(slice(int(s), int(s) + int(n)) for s, n in zip(starts, inner, strict=True))
        return self.draw(pixels), place

    def augment(self, batch, seed):
        """Batch in training: cropped, shifted, mirrored, recoloured and partly covered, as the recipe says."""
        spec = self.spec
        for change in ("crop", "shift", "brightness", "contrast", "saturation", "cutout"):
            if size := getattr(spec, change):
                batch = getattr(pictures, change)(batch, stream(seed, change), size)
        return pictures.flip(batch, stream(seed, "flip")) if spec.flip else batch

    def draw(self, tensor):
        """Returns uint8 `(height, width, 3 or 4)` for a person to look at."""
        pixels = np.clip(np.rint(np.asarray(tensor) * 255), 0, 255).astype(np.uint8)
        return np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels

    def draw_filled(self, tensors):
        """Returns `draw` of each of several pictures `(n, height, width, channels)`, black ones at the end left out."""
        tensors = np.asarray(tensors)
        count = int(np.flatnonzero(tensors.any(axis=(1, 2, 3))).max(initial=-1)) + 1
        return np.stack([self.draw(tensor) for tensor in tensors[: max(count, 1)]])


def _rounded(pixels):
    return tf.cast(tf.round(pixels * 255.0), tf.uint8)


def _pixel_scale(folder):
    """Returns `{"scale": .., "offset": ..}` for pixels in [0, 1]; presets have theirs for [0, 255]."""
    config = read_part(folder, "image_converter")["config"]
    scale, offset = config.get("scale"), config.get("offset")
    return {
        "scale": (255 * np.asarray(1.0 if scale is None else scale)).tolist(),
        "offset": np.asarray(0.0 if offset is None else offset).tolist(),
    }


def read_file(path):
    """Returns the bytes of a file; an empty path gives empty bytes."""
    return tf.cond(tf.equal(path, ""), lambda: tf.constant(b""), lambda: tf.io.read_file(path))
