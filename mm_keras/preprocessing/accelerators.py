"""Who computes on the accelerator."""

import warnings

import keras
import tensorflow as tf


def leave_accelerators():
    """Leaves the GPUs to Keras when it does not run on TensorFlow, which else takes their memory for its pipelines.

    Warns when TensorFlow has taken them already.
    """
    if keras.backend.backend() == "tensorflow" or not tf.config.get_visible_devices("GPU"):
        return
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:
        warnings.warn(
            "TensorFlow was at work before mm_keras was, and keeps memory of the GPUs that Keras on "
            f"{keras.backend.backend()} computes on. Call tf.config.set_visible_devices([], 'GPU') first.",
            stacklevel=3,
        )
