"""Holds back what TensorFlow's own logger says of a step that is meant as it is."""

import logging
from contextlib import contextmanager

import tensorflow as tf


@contextmanager
def quiet():
    """Lets only errors through while the block runs."""
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
