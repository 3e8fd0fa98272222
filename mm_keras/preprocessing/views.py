"""Several pictures of one thing -> float32 pixels in [0, 1], absent ones zero."""

from dataclasses import replace

import tensorflow as tf

from mm_keras.preprocessing.augmentation import keep_presence
from mm_keras.preprocessing.image import ImagePreprocessor
from mm_keras.preprocessing.picture import MAX_PIXELS, NO_PICTURE, why_no_picture
from mm_keras.preprocessing.preprocessor import Preprocessor


class ViewsPreprocessor(Preprocessor):
    """Prepares each view as `ImagePreprocessor` does one picture. One bad view makes the whole value bad.

    Args:
        name: The input's name, which is also its served field.
        spec: A `recipe.Image` with `views`.
        state: As that of `ImagePreprocessor`.
    """

    reads_files = True
    row_wise = True
    most_bytes = 2**27

    def __init__(self, name, spec, state=None):
        self.single = ImagePreprocessor(name, spec.model_copy(update={"views": None}))
        super().__init__(name, spec, state)
        self.parts = spec.views

    @property
    def state(self):
        return self.single.state

    @state.setter
    def state(self, state):
        self.single.state = state

    @property
    def tensor(self):
        return replace(self.single.tensor, shape=(self.spec.views, *self.single.tensor.shape))

    @property
    def raw_specs(self):
        return {self.name: tf.TensorSpec([self.spec.views], tf.string)}

    def adapt(self, cells):
        """As `ImagePreprocessor.adapt`, which looks at no cells."""
        self.single.adapt(cells)

    def read(self, cell):
        """Paths `(views,)` -> their bytes; an empty path gives empty bytes."""
        one = tf.TensorSpec([], tf.string)
        return {self.name: tf.map_fn(lambda path: self.single.read(path)[self.name], cell, fn_output_signature=one)}

    def decode(self, raw):
        """One row: bytes `(views,)` -> float32 `(views, height, width, channels)`; empty bytes give zeros."""
        return self.unpack(self.decode_packed(raw))

    @property
    def packed_dtype(self):
        return self.single.packed_dtype

    def decode_packed(self, raw):
        """As `decode`, in `packed_dtype`."""
        one = tf.TensorSpec(self.single.decoded_shape, self.packed_dtype)
        pixels = tf.map_fn(lambda c: self.single.decode_packed({self.name: c}), raw[self.name], fn_output_signature=one)
        return tf.ensure_shape(pixels, self.tensor.shape)

    def unpack(self, batch):
        """As that of `ImagePreprocessor`."""
        return self.single.unpack(batch)

    def why(self, raw):
        """Returns string `(batch,)`: what is wrong with files of which one cannot be decoded."""
        contents = raw[self.name]
        strange = tf.equal(why_no_picture(contents), NO_PICTURE) & (tf.strings.length(contents) > 0)
        cut = f"a picture is cut, corrupt or over {MAX_PIXELS} pixels"
        return tf.where(tf.reduce_any(strange, axis=1), f"a file is {NO_PICTURE}", cut)

    def augment(self, batch, seed):
        """Batch in training: each view is changed as one picture is, by a draw of its own; none comes or goes."""
        flat = tf.reshape(batch, [-1, *self.single.tensor.shape])
        changed = keep_presence(flat, self.single.augment(flat, seed))
        return batch if changed is flat else tf.reshape(changed, tf.shape(batch))

    def draw(self, tensor):
        """Returns uint8 `(views, height, width, 3 or 4)` up to the last one given, for a person to look at."""
        return self.single.draw_filled(tensor)
