"""Rows of a batch, decoded so that a bad one leaves the others alone."""

import numpy as np
import pytest
import tensorflow as tf

from mm_keras.preprocessing.guard import decode_rows

BLANK = tf.constant([7.0, 8.0])


def root(row):
    """Fails for a negative number, and where the result has another shape than `BLANK`."""
    with tf.control_dependencies([tf.debugging.Assert(row["x"] >= 0, ["negative"])]):
        return tf.fill([tf.where(row["x"] > 99, 3, 2)], tf.sqrt(row["x"]))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("values", [[4.0, -1.0, 9.0, 100.0, 0.0], [-1.0, -2.0], [1.0], [-1.0], []])
def test_bad_rows_are_blank_and_all_keep_their_places(values, compiled):
    run = tf.function(decode_rows, autograph=False) if compiled else decode_rows
    tensors, ok = run(root, BLANK, {"x": tf.constant(values, tf.float32)})
    fine = [0 <= v <= 99 for v in values]
    wanted = [[np.sqrt(v)] * 2 if f else [7.0, 8.0] for v, f in zip(values, fine, strict=True)]
    np.testing.assert_array_equal(ok, np.array(fine, bool))
    np.testing.assert_array_equal(tensors, np.reshape(wanted, (-1, 2)).astype(np.float32))
