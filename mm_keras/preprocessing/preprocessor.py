"""What the preprocessors of most inputs have in common; the whole face is described in `mm_keras.preprocessing`."""

import tensorflow as tf


class Preprocessor:
    """An input whose raw value is one string, taken from its cell as it is.

    Args:
        name: The input's name, which is also its served field.
        spec: Its part of the recipe.
        state: What an earlier one learned.
    """

    reads_files = False
    row_wise = False
    most_bytes = None  # one value may have; of numbers none is long
    packed_dtype = "float32"

    def __init__(self, name, spec, state=None):
        self.name, self.spec, self.state = name, spec, state or {}

    @property
    def raw_specs(self):
        return {self.name: tf.TensorSpec([], tf.string)}

    @property
    def blank(self):
        return {self.name: b""}

    @property
    def decoded_shape(self):
        return self.tensor.shape

    def read(self, cell):
        return {self.name: cell}

    def decode(self, raw):
        return raw[self.name]

    def decode_packed(self, raw):
        return self.decode(raw)

    def unpack(self, batch):
        return batch

    def finish(self, batch):
        return batch
