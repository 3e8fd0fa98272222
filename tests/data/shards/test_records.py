"""Rows are encoded as TensorFlow's own messages are, to the byte."""

import numpy as np
import pytest
import tensorflow as tf

from mm_keras.data.shards.records import encode_row


def message(values):
    """The bytes of an Example as protocol buffers write it, its map sorted."""
    features = {}
    for name, value in values.items():
        if isinstance(value, int):
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        elif isinstance(value, bytes | list):
            parts = [value] if isinstance(value, bytes) else value
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=parts))
        else:
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(value)))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"id": b"", "row": 0, "group": b"", "": b"no name"},
        {"row": -1, "least": -(2**63), "most": 2**63 - 1, "b": 127, "a": 128},
        {"none": [], "blanks": [b"", b""], "frames": [b"\x89PNG", b"", b"x" * 300]},
        {"nothing": np.zeros(0, np.float32), "one": np.float32(-0.5), "absent": np.asarray(np.nan, np.float32)},
        {"series": np.array([[1.5, np.inf], [-np.inf, np.nan]], np.float32), "view": np.ones((4, 4), np.float32)[::2]},
        {
            "Z": b"1",
            "a": b"2",
            "_": b"3",
            "input/a/b": b"4",
            "input/a": b"5",
            "ü": b"6",
            "\U0001f600": b"7",
            "\uffff": b"8",
        },
    ],
)
def test_any_row_is_the_message_of_it(values):
    assert encode_row(values) == message(values)


def test_lengths_of_every_size():
    rng = np.random.default_rng(0)
    # Around each place where a length, here or a level above, takes one byte more.
    for size in [*range(100, 140), *range(16360, 16400), *range(2**21 - 24, 2**21 + 2)]:
        values = {"input/photo": rng.bytes(size), "row": int(rng.integers(1, 2**62)), "id": rng.bytes(size % 7)}
        assert encode_row(values) == message(values)
