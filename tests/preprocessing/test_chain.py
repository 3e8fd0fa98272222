"""Functions that are compiled again and again, of the same code."""

import logging

import pytest
import tensorflow as tf

from mm_keras.preprocessing.chain import compiled


@pytest.fixture
def said():
    """What TensorFlow logs."""
    lines, handler = [], logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    yield lines
    tf.get_logger().removeHandler(handler)


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_function_of_each_run_is_no_retracing(said, is_ours):
    spec = tf.TensorSpec([None], tf.float32)
    for number in range(12):  # one line of code, as in a comparison of twelve trainings

        def network(x, number=number):
            return x * number

        function = compiled(network, spec) if is_ours else tf.function(network, input_signature=[spec])
        assert function(tf.constant([1.0, 2.0])).numpy().tolist() == [number, 2.0 * number]
        assert function(tf.constant([3.0])).numpy().tolist() == [3.0 * number]
        assert function.experimental_get_tracing_count() == 1
    assert any("triggered tf.function retracing" in line for line in said) == (not is_ours)
