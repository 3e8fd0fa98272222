"""An animated GIF, or frames one by one -> float32 pixels in [0, 1] of the frames that the model sees."""

import tensorflow as tf

from mm_keras.preprocessing.image import ImagePreprocessor, read_file
from mm_keras.preprocessing.picture import MAX_PIXELS, NO_PICTURE, check_size, why_no_picture
from mm_keras.preprocessing.preprocessor import Preprocessor
from mm_keras.recipe import Image, TensorInfo

# Of all frames of a GIF together, which its decoder holds at once: 400 MB.
MAX_CLIP_PIXELS = 2 * MAX_PIXELS
BLACK = 1 / 255


class VideoPreprocessor(Preprocessor):
    """Takes frames evenly from a video, resizes and scales them.

    A value is a list of strings: the bytes of one animated GIF, or of each frame in order (of a GIF among several, the
    first picture); empty strings are left out. A wholly black video is missing; a black frame in another one is lifted
    by one grey level of 255, since a frame of zeros is padding.

    Args:
        name: The input's name, which is also its served field.
        spec: A `recipe.Video`.
        state: Unused; pictures need no statistics.
    """

    reads_files = True
    row_wise = True
    most_bytes = 2**27

    def __init__(self, name, spec, state=None):
        super().__init__(name, spec, state)
        fields = {k: getattr(spec, k) for k in ("size", "channels", "resize", "background")}
        self.single = ImagePreprocessor(name, Image(**fields))
        self.parts = spec.frames

    @property
    def tensor(self):
        return TensorInfo(shape=(self.spec.frames, *self.spec.size, self.spec.channels))

    @property
    def raw_specs(self):
        return {self.name: tf.TensorSpec([None], tf.string)}

    def adapt(self, cells):
        """Nothing to learn."""

    def read(self, cell):
        """Paths `(parts,)` -> their bytes; an empty path gives empty bytes."""
        return {self.name: tf.map_fn(read_file, cell, fn_output_signature=tf.TensorSpec([], tf.string))}

    def decode(self, raw):
        """One row: bytes `(parts,)` -> float32 `(frames, height, width, channels)`; no bytes give zeros."""
        parts = tf.boolean_mask(raw[self.name], tf.strings.length(raw[self.name]) > 0)
        count = tf.size(parts)
        frames = tf.switch_case(
            tf.minimum(count, 2),
            [lambda: tf.zeros([0, *self.tensor.shape[1:]]), lambda: self._one(parts[0]), lambda: self._stills(parts)],
        )
        black = tf.reduce_all(tf.equal(frames, 0.0), axis=(1, 2, 3), keepdims=True)
        frames = tf.where(black & ~tf.reduce_all(black), BLACK, frames)
        missing = self.spec.frames - tf.shape(frames)[0]
        return tf.ensure_shape(tf.pad(frames, [[0, missing], [0, 0], [0, 0], [0, 0]]), self.tensor.shape)

    def why(self, raw):
        """Returns string `(batch,)`: what is wrong with files of which one cannot be decoded."""
        contents = raw[self.name]
        strange = tf.equal(why_no_picture(contents), NO_PICTURE) & (tf.strings.length(contents) > 0)
        cut = f"a frame is cut or corrupt, or all together are over {MAX_CLIP_PIXELS} pixels"
        why = f"a file is {NO_PICTURE} (MP4, AVI and WebM are converted first: mm-keras ingest)"
        return tf.where(tf.reduce_any(strange, axis=1), why, cut)

    def _one(self, contents):
        is_gif = tf.equal(tf.strings.substr(contents, 0, 4), b"GIF8")
        return tf.cond(is_gif, lambda: self._animation(contents), lambda: self._stills(contents[None]))

    def _stills(self, parts):
        chosen = tf.gather(parts, self._chosen(tf.size(parts)))
        one = tf.TensorSpec(self.tensor.shape[1:], tf.float32)

        def still(contents):
            with tf.control_dependencies([_is_no_film(contents)]):
                return self.single.decode({self.name: contents})

        return tf.map_fn(still, chosen, fn_output_signature=one)

    def _animation(self, contents):
        with tf.control_dependencies(_is_whole(contents)):
            pixels = tf.ensure_shape(tf.io.decode_gif(contents), [None, None, None, 3])
        chosen = tf.gather(pixels, self._chosen(tf.shape(pixels)[0]))
        one = tf.TensorSpec(self.tensor.shape[1:], tf.float32)
        return tf.map_fn(lambda p: self.single.scale(tf.cast(p, tf.float32) / 255.0), chosen, fn_output_signature=one)

    def _chosen(self, count):
        """As `parts.sample_evenly`, in the graph."""
        most = tf.minimum(count, self.spec.frames)
        return (2 * tf.range(most) + 1) * count // (2 * most)

    def draw(self, tensor):
        """Returns uint8 `(frames, height, width, 3)` of the frames there are, for a person to look at."""
        return self.single.draw_filled(tensor)


def _is_no_film(contents):
    """Containers of coded video are told apart here, so that the message says what to do."""
    head = tf.strings.substr(tf.strings.join([contents, b"\0" * 12]), 0, 12)
    film = tf.equal(tf.strings.substr(head, 4, 4), b"ftyp") | tf.equal(tf.strings.substr(head, 8, 4), b"AVI ")
    film |= tf.equal(tf.strings.substr(head, 0, 4), b"\x1a\x45\xdf\xa3")
    return tf.debugging.Assert(~film, ["MP4, AVI and WebM are converted first: mm-keras ingest"])


def _is_whole(contents):
    """Asserts what the decoder does not: that a GIF has its end, and that its frames fit in memory."""
    bytes_there = tf.strings.length(contents)
    size = tf.maximum(bytes_there, 8)
    data = tf.cast(tf.io.decode_raw(tf.strings.join([contents, b"\0" * 16]), tf.uint8), tf.int32)
    width, height = data[6] + 256 * data[7], data[8] + 256 * data[9]
    # A frame begins with a comma behind the end of a block, and lies within the picture; the first may follow the
    # header's colours, whatever these end with.
    left, top, wide, high = (data[at : size + at - 8] + 256 * data[at + 1 : size + at - 7] for at in (2, 4, 6, 8))
    begins = tf.equal(data[: size - 8], 0) & tf.equal(data[1 : size - 7], 44)
    begins &= (left + wide <= width) & (top + high <= height) & (wide > 0) & (high > 0)
    frames = 1 + tf.reduce_sum(tf.cast(begins, tf.int64))
    pixels = frames * tf.cast(width, tf.int64) * tf.cast(height, tf.int64)
    return [
        check_size(tf.cast(height, tf.int64), tf.cast(width, tf.int64)),
        tf.debugging.Assert(
            pixels <= MAX_CLIP_PIXELS, ["more pixels than allowed: frames, height, width", frames, height, width]
        ),
        tf.debugging.Assert(
            tf.equal(tf.strings.substr(contents, bytes_there - 1, 1), b";"), ["the GIF is cut: it lacks its end"]
        ),
    ]
